"""A platform of its own per test, and assets materialised on it: tests here run on every platform.

Those that say `on_local_and_aws` would tell nothing more on Google Cloud than its contracts and the tests
that do run there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from mlops_assets.io_managers import dataset_io_manager, model_io_manager, table_io_manager
from mlops_assets.platforms.binding import build_platform
from mlops_assets.platforms.gcp.bigquery_settings import current_bigquery_settings
from mlops_assets.platforms.gcp.settings import current_gcp_settings
from mlops_assets.platforms.ports import Platform
from mlops_assets.settings import Settings
from mlops_assets_tests.factories import aws_platform, local_platform
from mlops_assets_tests.standins.gcp.fixtures import Gcp
from mlops_assets_tests.standins.redshift.fixtures import s3, s3_address, shared_standin, standin

__all__ = ["s3", "s3_address", "shared_standin", "standin"]

Materialise = Callable[..., dg.ExecuteInProcessResult]
on_local_and_aws = pytest.mark.parametrize("platform", ["local", "aws"], indirect=True)


@pytest.fixture(params=["local", "aws", "gcp"])
def platform(request: pytest.FixtureRequest, tmp_path: Path) -> Platform:
    if request.param == "local":
        return local_platform(tmp_path)
    if request.param == "aws":
        return aws_platform(request.getfixturevalue("standin"), tmp_path)
    return request.getfixturevalue("gcp_platform")


@pytest.fixture
def gcp_platform(gcp: Gcp, tmp_path: Path) -> Iterator[Platform]:
    """Cloud Storage and BigQuery on the stand-in."""
    cached = (current_gcp_settings, current_bigquery_settings)
    for settings in cached:
        settings.cache_clear()
    yield build_platform(Settings(root=tmp_path / "mlops", platform="gcp"))
    for settings in cached:
        settings.cache_clear()


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
