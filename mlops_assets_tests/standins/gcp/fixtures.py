"""Pytest's way to the stand-in: one server per worker, an empty bucket and the environment per test."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from mlops_assets_tests.standins.gcp.server import GcpServer


@dataclass(frozen=True)
class Gcp:
    """What a test of Google Cloud needs: the server, its own bucket, and the settings to export."""

    server: GcpServer
    bucket: str

    @property
    def environment(self) -> dict[str, str]:
        """Variables of a process that is to use this bucket."""
        return self.server.environment(self.bucket)


@pytest.fixture(scope="session")
def gcp_server() -> Iterator[GcpServer]:
    """The server of this worker."""
    from mlops_assets_tests.standins.gcp.server import GcpServer

    with GcpServer() as server:
        yield server


@pytest.fixture
def gcp(gcp_server: GcpServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gcp]:
    """An empty bucket, exported to this process's environment; no dataset, and no call that fails."""
    found = Gcp(gcp_server, f"test-{uuid.uuid4().hex[:16]}")
    for name, value in found.environment.items():
        monkeypatch.setenv(name, value)
    gcp_server.storage.objects.create_bucket(found.bucket, {"location": "EUROPE-WEST4"})
    yield found
    gcp_server.faults.clear()
    for name in list(gcp_server.bigquery.catalogue.datasets):
        gcp_server.bigquery.catalogue.delete_dataset(name, contents=True)


@pytest.fixture
def vertex_sdk(gcp: Gcp) -> Iterator[Any]:
    """The module `google.cloud.aiplatform`, the high-level SDK, pointed at the stand-in."""
    from google.cloud import aiplatform
    from google.oauth2.service_account import Credentials

    from mlops_assets_tests.standins.gcp.server import LOCATION, PROJECT

    aiplatform.init(
        project=PROJECT,
        location=LOCATION,
        staging_bucket=f"gs://{gcp.bucket}",
        credentials=Credentials.from_service_account_file(str(gcp.server.account.file)),
        api_endpoint=gcp.server.endpoint,
        api_transport="rest",
    )
    yield aiplatform
    gcp.server.vertex.endpoints.close()
