"""Batch scoring on Vertex AI: the contract, and what a batch prediction job does its own way."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from google.cloud import aiplatform_v1 as v1

from mlops_assets.errors import JobFailedError, SignatureError
from mlops_assets.pipes.vertex_jobs import VertexJobs
from mlops_assets.platforms.gcp import batch as batch_module
from mlops_assets.platforms.gcp.batch_rows import read_predictions
from mlops_assets.platforms.ports import Platform
from mlops_assets.runtime.model import LoadedModel
from mlops_assets_tests.platforms.contracts.batch import BatchContract, offline, scorer
from mlops_assets_tests.platforms.gcp.test_endpoint import on_gcp
from mlops_assets_tests.runtime.models import ROWS, homes_model, sizes_model
from mlops_assets_tests.served import Deployable, deployable
from mlops_assets_tests.standins.faults import Fault
from mlops_assets_tests.standins.gcp.fixtures import Gcp
from mlops_assets_tests.standins.gcp.server import LOCATION, PROJECT
from mlops_assets_tests.waiting import eventually

PARENT = f"projects/{PROJECT}/locations/{LOCATION}"
CREATE = "aiplatform.CreateBatchPredictionJob"


@pytest.fixture
def platform(gcp: Gcp, tmp_path: Path) -> Iterator[Platform]:
    yield from on_gcp(gcp, tmp_path)


class TestVertexBatch(BatchContract):
    @pytest.fixture
    def platform(self, gcp: Gcp, tmp_path: Path) -> Iterator[Platform]:
        yield from on_gcp(gcp, tmp_path)

    @pytest.fixture
    def created(self, gcp: Gcp) -> Callable[[], int]:
        return lambda: gcp.server.faults.calls[CREATE]


def given(platform: Platform, *, rows: int = 1) -> Deployable:
    """A model, and `rows` times `ROWS` as `in.jsonl`."""
    lines = "".join(f"{json.dumps(row)}\n" for row in ROWS) * rows
    platform.store.write(platform.store.root.join("in.jsonl"), lines.encode())
    return deployable(platform)


def score(platform: Platform, model: Deployable) -> list[float]:
    """The predictions of `in.jsonl`, by way of `out.jsonl`."""
    root = platform.store.root
    scorer(platform).score(model.version, root.join("in.jsonl"), root.join("out.jsonl"))
    lines = platform.store.read(root.join("out.jsonl")).decode().splitlines()
    return [json.loads(line)["prediction"] for line in lines]


def jobs(gcp: Gcp) -> list[Any]:
    """The batch predictions of this test's bucket, newest first."""
    found = gcp.server.vertex_client(v1.JobServiceClient).list_batch_prediction_jobs(parent=PARENT)
    return [job for job in found if gcp.bucket in job.output_config.gcs_destination.output_uri_prefix]


def test_rows_come_back_in_their_order_from_several_files_and_a_lost_answer_makes_no_second_job(
    gcp: Gcp, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_module, "_AT_ONCE", 2)
    model = given(platform, rows=3)
    gcp.server.faults.add(Fault(CREATE, 503, "UNAVAILABLE", afterwards=True))
    assert score(platform, model) == pytest.approx(offline(platform, model) * 3, rel=1e-9)
    assert len(jobs(gcp)) == 1


def test_a_value_that_does_not_fit_is_named_before_a_job_starts(gcp: Gcp, platform: Platform) -> None:
    model, before = given(platform), gcp.server.faults.calls[CREATE]
    bad = [ROWS[0], ROWS[1] | {"square_feet": "large"}]
    body = "".join(f"{json.dumps(row)}\n" for row in bad)
    platform.store.write(platform.store.root.join("in.jsonl"), body.encode())
    with pytest.raises(SignatureError, match=r"^gs://.*/in.jsonl, row 2, column square_feet: 'large'"):
        score(platform, model)
    assert gcp.server.faults.calls[CREATE] == before


def test_rows_that_the_server_refuses_fail_with_its_words_and_the_next_try_is_another_job(
    gcp: Gcp, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_module, "_AT_ONCE", 2)
    model = given(platform)
    real = batch_module.write_instances

    def last_one_broken(data: Path, signature: Any, out: Path) -> int:
        rows = real(data, signature, out)
        out.write_text(out.read_text().replace("2400.0", '"large"'))
        return rows

    with monkeypatch.context() as patched:
        patched.setattr(batch_module, "write_instances", last_one_broken)
        with pytest.raises(JobFailedError, match=r"(?s)2 rows have a prediction, 1 have none.*square_feet"):
            score(platform, model)
    assert platform.store.head(platform.store.root.join("out.jsonl")) is None
    assert score(platform, model) == pytest.approx(offline(platform, model), rel=1e-9)
    assert [job.labels["dagster-attempt"] for job in jobs(gcp)] == ["2", "1"]


@pytest.mark.parametrize("make", [homes_model, sizes_model])
def test_predictions_come_back_as_the_model_gives_them_and_each_row_has_one(
    make: Callable[[Path], dict[str, str]], tmp_path: Path
) -> None:
    model = LoadedModel.load(tmp_path / "model", files=make(tmp_path / "model"))
    answers = model.predict_records(ROWS)
    lines = [json.dumps({"key": str(row), "prediction": found}) for row, found in enumerate(answers)]

    def read(*texts: list[str]) -> Any:
        files = [tmp_path / str(number) for number in range(len(texts))]
        for file, text in zip(files, texts, strict=True):
            file.write_text("".join(f"{line}\n" for line in text))
        return read_predictions(files, model.signature, len(ROWS))

    table = read([lines[2], lines[0]], [], [lines[1]])
    assert table.schema == model.answer_schema
    assert table.to_pylist() == answers
    assert read(lines[:2]) is None
    assert read([*lines[:2], lines[0]]) is None
    assert read() is None


def test_a_job_that_fails_says_why_in_the_services_words(platform: Platform) -> None:
    model = given(platform)
    scoring = scorer(platform)
    assert isinstance(scoring, batch_module.VertexBatchScorer)
    scoring._vertex = scoring._vertex.model_copy(update={"image": "somewhere/missing:1"})
    root = platform.store.root
    with pytest.raises(JobFailedError, match=r"somewhere/missing:1' not found"):
        scoring.score(model.version, root.join("in.jsonl"), root.join("out.jsonl"))


def test_who_asks_again_finds_the_job_that_runs_and_an_interrupt_cancels_it(
    gcp: Gcp, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = given(platform)

    def killed(*_: Any) -> None:
        raise OSError("killed")

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    for dying, error in ((killed, OSError), (interrupted, KeyboardInterrupt)):
        with monkeypatch.context() as patched, pytest.raises(error):
            patched.setattr(VertexJobs, "wait", dying)
            score(platform, model)
    eventually(lambda: [job.state.name for job in jobs(gcp)] == ["JOB_STATE_CANCELLED"])
    # An output that could not be written costs no other job either.
    with monkeypatch.context() as patched, pytest.raises(OSError, match="killed"):
        patched.setattr(batch_module, "write_scored", killed)
        score(platform, model)
    assert score(platform, model) == pytest.approx(offline(platform, model), rel=1e-9)
    assert [job.state.name for job in jobs(gcp)] == ["JOB_STATE_SUCCEEDED", "JOB_STATE_CANCELLED"]
