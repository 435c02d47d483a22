"""A platform of its own per test, and assets materialised on it: every test here runs on every platform."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from mlops_assets.io_managers import dataset_io_manager, model_io_manager, table_io_manager
from mlops_assets.platforms.ports import Platform
from mlops_assets_tests.factories import aws_platform, local_platform
from mlops_assets_tests.standins.redshift.fixtures import s3, s3_address, shared_standin, standin

__all__ = ["s3", "s3_address", "shared_standin", "standin"]

Materialise = Callable[..., dg.ExecuteInProcessResult]


@pytest.fixture(params=["local", "aws"])
def platform(request: pytest.FixtureRequest, tmp_path: Path) -> Platform:
    if request.param == "local":
        return local_platform(tmp_path)
    return aws_platform(request.getfixturevalue("standin"), tmp_path)


@pytest.fixture
def materialise(platform: Platform) -> Iterator[Materialise]:
    """Run assets in one instance with all three I/O managers."""
    with dg.DagsterInstance.ephemeral() as instance:

        def run(assets: Sequence[Any], **options: Any) -> dg.ExecuteInProcessResult:
            resources = {
                "platform": platform,
                "tables": table_io_manager,
                "datasets": dataset_io_manager,
                "models": model_io_manager,
            }
            return dg.materialize(assets, resources=resources, **{"instance": instance, **options})

        yield run
