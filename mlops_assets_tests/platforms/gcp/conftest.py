"""A platform on the stand-in, with waits that suit a test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mlops_assets.platforms.binding import build_platform
from mlops_assets.platforms.gcp import client
from mlops_assets.platforms.gcp.bigquery_settings import current_bigquery_settings
from mlops_assets.platforms.gcp.settings import current_gcp_settings
from mlops_assets.platforms.ports import Platform
from mlops_assets.settings import Settings
from mlops_assets_tests.standins.gcp.fixtures import Gcp


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(client, "FIRST_WAIT", 0.01)
    for settings in (current_gcp_settings, current_bigquery_settings):
        settings.cache_clear()
    yield
    for settings in (current_gcp_settings, current_bigquery_settings):
        settings.cache_clear()


@pytest.fixture
def platform(gcp: Gcp, tmp_path: Path) -> Platform:
    return build_platform(Settings(root=tmp_path / "mlops", platform="gcp"))
