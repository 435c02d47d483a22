"""The evaluation stage: what it measures, shows and hands on, and that measuring twice is free."""

from __future__ import annotations

import base64
import json
import math
import re
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from mlops_assets.artifacts import Candidate, Dataset, Evaluation
from mlops_assets.errors import ArtifactError
from mlops_assets.pipeline.evaluation import measure
from mlops_assets_tests.pipeline.modelling import ModelStages
from mlops_assets_tests.pipeline.running import failure, metadata


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[ModelStages, dg.ExecuteInProcessResult]:
    stages = ModelStages(tmp_path_factory.mktemp("measured"))
    stages.prepare()
    return stages, stages.model()


def test_an_evaluation_is_bound_to_candidate_and_data(measured: Any) -> None:
    stages, result = measured
    assert result.success
    candidate, dataset = stages.value("candidate", Candidate), stages.value("dataset", Dataset)
    evaluation = stages.value("evaluation", Evaluation)
    assert evaluation.candidate_digest == candidate.digest
    assert (evaluation.dataset_version, evaluation.data_digest) == (dataset.version, dataset.data_digest)
    assert evaluation.digest == evaluation.content_digest("digest", "uri")
    assert evaluation.rows == dataset.split("test").rows
    assert sum(evaluation.slice_rows.values()) == evaluation.rows
    assert set(evaluation.slices) == {"region=north", "region=south", "region=west"}
    r2 = evaluation.metrics["r2"]
    assert r2.low <= r2.value <= r2.high
    assert r2.value > evaluation.baseline["r2"]


def test_the_ui_gets_tables_plots_card_and_finite_numbers(measured: Any) -> None:
    _, result = measured
    shown = metadata(result, "evaluation")
    assert "| rmse |" in shown["metrics"]
    assert shown["model_card"].startswith("# homes")
    images = re.findall(r"data:image/png;base64,([A-Za-z0-9+/=]+)\)", shown["plots"])
    assert len(images) == 3
    assert all(base64.b64decode(image).startswith(b"\x89PNG") for image in images)
    assert all(math.isfinite(value) for value in shown.values() if isinstance(value, float))


def test_smoke_rows_and_their_offline_answers_lie_beside_the_report(measured: Any) -> None:
    stages, _ = measured
    folder = stages.value("evaluation", Evaluation).uri
    samples, expected = (
        json.loads(stages.platform.store.read(folder.join(f"{name}.json")))
        for name in ("samples", "expected")
    )
    assert len(samples) == len(expected) == 20
    assert set(samples[0]) == set(stages.value("dataset", Dataset).features)
    assert all(isinstance(answer["prediction"], float) for answer in expected)


def test_measuring_the_same_again_runs_no_job(measured: Any) -> None:
    stages, _ = measured
    candidate, dataset = stages.value("candidate", Candidate), stages.value("dataset", Dataset)
    before = sorted(
        info.uri for info in stages.platform.store.list(stages.platform.store.root.join("evaluations"))
    )
    again = measure(
        dg.build_asset_context(),
        stages.platform,
        stages.loaded,
        candidate_uri=candidate.uri,
        candidate_digest=candidate.digest,
        dataset=dataset,
    )
    assert again == stages.value("evaluation", Evaluation)
    after = sorted(
        info.uri for info in stages.platform.store.list(stages.platform.store.root.join("evaluations"))
    )
    assert before == after
    assert metadata(stages.model("evaluation"), "evaluation")["mlops/skipped"]


def test_a_model_of_another_digest_is_not_measured(measured: Any) -> None:
    stages, _ = measured
    candidate, dataset = stages.value("candidate", Candidate), stages.value("dataset", Dataset)
    with pytest.raises(ArtifactError, match="not those of candidate"):
        measure(
            dg.build_asset_context(),
            stages.platform,
            stages.loaded,
            candidate_uri=candidate.uri,
            candidate_digest="0" * 64,
            dataset=dataset,
        )


def test_a_model_file_changed_on_disk_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    stages = ModelStages(tmp_path)
    stages.prepare()
    assert stages.model("candidate").success
    path = stages.value("candidate", Candidate).uri.path / "model.skops"
    path.write_bytes(path.read_bytes() + b"\0")
    result = stages.model("evaluation")
    assert not result.success
    assert "not the recorded file" in failure(result)
