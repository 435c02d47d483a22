"""Batch scoring on SageMaker: the contract, and what a transform job does its own way."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mlops_assets.errors import DataError, JobFailedError
from mlops_assets.platforms.aws import build_platform
from mlops_assets.platforms.aws.settings import current_aws_settings
from mlops_assets.platforms.ports import Platform
from mlops_assets.settings import Settings
from mlops_assets_tests.platforms.contracts.batch import BatchContract, scorer
from mlops_assets_tests.runtime.models import ROWS
from mlops_assets_tests.served import deployable
from mlops_assets_tests.standins.aws.fixtures import Aws


class TestSageMakerBatch(BatchContract):
    @pytest.fixture
    def platform(self, aws: Aws, tmp_path: Path) -> Iterator[Platform]:
        current_aws_settings.cache_clear()
        yield build_platform(Settings(platform="aws", root=tmp_path / "mlops"))
        current_aws_settings.cache_clear()

    @pytest.fixture
    def created(self, aws: Aws) -> Callable[[], int]:
        return lambda: aws.server.faults.calls["sagemaker:CreateTransformJob"]

    def prediction(self, record: dict[str, Any]) -> float:
        return record.pop("SageMakerOutput")["prediction"]

    def test_rows_that_do_not_fit_the_model_fail_with_the_servers_words(self, platform: Platform) -> None:
        model, root = deployable(platform), platform.store.root
        bad = json.dumps(ROWS[0] | {"square_feet": "large"})
        platform.store.write(root.join("in", "bad.jsonl"), f"{bad}\n".encode())
        with pytest.raises(JobFailedError, match=r"(?s)log ends.*square_feet"):
            scorer(platform).score(model.version, root.join("in", "bad.jsonl"), root.join("out", "bad.jsonl"))
        assert platform.store.head(root.join("out", "bad.jsonl")) is None

    def test_parquet_is_no_format_of_a_transform_job(self, platform: Platform) -> None:
        model, root = deployable(platform), platform.store.root
        with pytest.raises(DataError, match="CSV or JSON lines"):
            scorer(platform).score(model.version, root.join("a.parquet"), root.join("b.parquet"))
