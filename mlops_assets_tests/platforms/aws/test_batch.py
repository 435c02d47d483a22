"""Batch scoring on SageMaker: a transform job gives what the model gives offline."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlops_assets.errors import ArtifactError, DataError, JobFailedError
from mlops_assets.platforms.aws import build_platform
from mlops_assets.platforms.aws.settings import current_aws_settings
from mlops_assets.platforms.ports import BatchScorer, Platform
from mlops_assets.settings import Settings
from mlops_assets_tests.runtime.models import ROWS
from mlops_assets_tests.served import Deployable, deployable
from mlops_assets_tests.standins.aws.fixtures import Aws

NAMES = ("square_feet", "bedrooms", "region")


@pytest.fixture
def platform(aws: Aws, tmp_path: Path) -> Iterator[Platform]:
    current_aws_settings.cache_clear()
    yield build_platform(Settings(platform="aws", root=tmp_path / "mlops"))
    current_aws_settings.cache_clear()


def scorer(platform: Platform) -> BatchScorer:
    assert platform.batch is not None
    return platform.batch


def offline(platform: Platform, item: Deployable) -> list[float]:
    return [row["prediction"] for row in json.loads(platform.store.read(item.expected))]


def test_objects_are_scored_to_objects_as_offline(platform: Platform) -> None:
    model, root = deployable(platform), platform.store.root
    lines = "".join(f"{json.dumps(row)}\n" for row in ROWS)
    text = ",".join(NAMES) + "\n" + "".join(f"{','.join(str(row[n]) for n in NAMES)}\n" for row in ROWS)
    for name, body in (("rows.jsonl", lines), ("rows.csv", text)):
        platform.store.write(root.join("in", name), body.encode())
        scorer(platform).score(model.version, root.join("in", name), root.join("out", name))
    expected = offline(platform, model)
    answered = platform.store.read(root.join("out", "rows.jsonl")).decode().splitlines()
    records = [json.loads(line) for line in answered]
    assert [record.pop("SageMakerOutput")["prediction"] for record in records] == pytest.approx(
        expected, rel=1e-9
    )
    assert records == ROWS
    table = list(csv.DictReader(io.StringIO(platform.store.read(root.join("out", "rows.csv")).decode())))
    assert [float(row["prediction"]) for row in table] == pytest.approx(expected, rel=1e-9)
    assert [row["region"] for row in table] == [str(row["region"]) for row in ROWS]
    assert list(platform.store.list(root.join("staging"))) == []


def test_rows_that_do_not_fit_the_model_fail_with_the_servers_words(platform: Platform) -> None:
    model, root = deployable(platform), platform.store.root
    bad = json.dumps(ROWS[0] | {"square_feet": "large"})
    platform.store.write(root.join("in", "bad.jsonl"), f"{bad}\n".encode())
    with pytest.raises(JobFailedError, match=r"(?s)log ends.*square_feet"):
        scorer(platform).score(model.version, root.join("in", "bad.jsonl"), root.join("out", "bad.jsonl"))
    assert platform.store.head(root.join("out", "bad.jsonl")) is None


def test_what_cannot_be_scored_is_refused_before_a_job_starts(platform: Platform, aws: Aws) -> None:
    model, root = deployable(platform), platform.store.root
    aws.server.faults.calls.clear()
    with pytest.raises(DataError, match="CSV or JSON lines"):
        scorer(platform).score(model.version, root.join("a.parquet"), root.join("b.parquet"))
    with pytest.raises(ArtifactError, match="no such object"):
        scorer(platform).score(model.version, root.join("a.csv"), root.join("b.csv"))
    assert aws.server.faults.calls["sagemaker:CreateTransformJob"] == 0
