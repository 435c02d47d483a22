"""What `mlops-assets doctor` says of Google Cloud: what is well, and what is wrong with its mend."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mlops_assets.platforms.binding import build_platform
from mlops_assets.platforms.gcp.bigquery_settings import current_bigquery_settings
from mlops_assets.platforms.gcp.settings import current_gcp_settings
from mlops_assets.platforms.gcp.vertex_settings import current_vertex_settings
from mlops_assets.platforms.health import Finding, examined
from mlops_assets.platforms.ports import Platform
from mlops_assets.settings import Settings
from mlops_assets_tests.platforms.contracts.object_store import keys
from mlops_assets_tests.standins.gcp.faults import Fault
from mlops_assets_tests.standins.gcp.fixtures import Gcp
from mlops_assets_tests.standins.gcp.server import PROJECT

Look = Callable[..., dict[str, Finding]]


@pytest.fixture
def look(gcp: Gcp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Look:
    """Looks at some subjects (default: all) with variables changed as given."""

    def found(*subjects: str, **changed: str) -> dict[str, Finding]:
        for name, value in changed.items():
            monkeypatch.setenv(name, value)
        for settings in (current_gcp_settings, current_bigquery_settings, current_vertex_settings):
            settings.cache_clear()
        checks = build_platform(Settings(root=tmp_path / "mlops", platform="gcp")).checks()
        return {name: examined(name, checks[name]) for name in subjects or checks}

    return found


def test_everything_is_looked_at_and_nothing_is_left(gcp: Gcp, platform: Platform, look: Look) -> None:
    account = "jobs@mlops-project.iam.gserviceaccount.com"
    found = look(MLOPS_VERTEX_SERVICE_ACCOUNT=account)
    assert {name: item.mend for name, item in found.items()} == dict.fromkeys(found, "")
    assert found["credentials"].found == gcp.server.account.email
    assert found["project"].found == f"{PROJECT}, by MLOPS_GCP_PROJECT"
    assert "bucket lies in europe-west4" in found["location"].found
    assert "mlops_staging is not there yet" in found["datasets"].found
    assert f"projects/{PROJECT}/locations/europe-west4" in found["vertex"].found
    assert account in found["service account"].found
    assert "mlops_staging lies in europe-west4" in look("datasets")["datasets"].found
    assert keys(platform.store, platform.store.root) == []
    assert "PRIVATE KEY" not in str(found)


@pytest.mark.parametrize(
    ("subject", "changed", "said", "mend"),
    [
        ("region", {"MLOPS_GCP_LOCATION": "EU"}, "eu is no region", "MLOPS_VERTEX_REGION"),
        ("location", {"MLOPS_GCP_LOCATION": "us-east1"}, "bucket lies in europe-west4", "MLOPS_GCP_LOCATION"),
        ("location", {"MLOPS_GCP_ROOT": "gs://nobodys/mlops"}, "bucket does not exist", "Create the bucket"),
        ("image", {"MLOPS_VERTEX_IMAGE": ""}, "MLOPS_VERTEX_IMAGE is not set", "Artifact"),
    ],
)
def test_a_wrong_setting_comes_with_its_mend(
    look: Look, subject: str, changed: dict[str, str], said: str, mend: str
) -> None:
    found = look(subject, **changed)[subject]
    assert said in found.found
    assert mend in found.mend


def test_datasets_of_another_location_are_named(gcp: Gcp, look: Look) -> None:
    gcp.server.bigquery.catalogue.create_dataset(
        {"datasetReference": {"datasetId": "mlops_staging"}, "location": "US"}
    )
    found = look("datasets")["datasets"]
    assert "mlops_staging lies in US, not in europe-west4" in found.found
    assert "MLOPS_BIGQUERY_STAGING_DATASET" in found.mend


@pytest.mark.parametrize(
    ("subject", "call", "status", "said", "mend"),
    [
        ("credentials", "oauth2.token", 400, "missing or refused", "gcloud auth application-default login"),
        ("vertex", "aiplatform.ListCustomJobs", 403, "denies the call", "services enable aiplatform"),
        ("vertex", "aiplatform.ListCustomJobs", 404, "call failed", "services enable aiplatform"),
        ("location", "storage.buckets.get", 403, "is not told", ""),
        ("datasets", "bigquery.datasets.get", 403, "denies the call", "deploy/gcp"),
    ],
)
def test_a_refused_call_comes_with_its_mend(
    gcp: Gcp, look: Look, subject: str, call: str, status: int, said: str, mend: str
) -> None:
    gcp.server.faults.add(Fault(call, status, "PERMISSION_DENIED"))
    found = look(subject)[subject]
    assert said in found.found
    assert mend in found.mend
    assert bool(found.mend) is bool(mend)
