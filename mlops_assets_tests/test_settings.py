"""Settings: every one documented, a wrong one named with its mend, none leaking a secret."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from pydantic.fields import FieldInfo

from mlops_assets.errors import NotInstalledError, SettingsError
from mlops_assets.platforms import binding
from mlops_assets.platforms.aws.redshift_settings import RedshiftSettings
from mlops_assets.platforms.aws.settings import AwsSettings
from mlops_assets.platforms.binding import build_platform
from mlops_assets.platforms.gcp.bigquery_settings import BigQuerySettings
from mlops_assets.platforms.gcp.settings import GcpSettings
from mlops_assets.platforms.gcp.vertex_settings import VertexSettings
from mlops_assets.settings import Settings, load_settings, read_settings

DOCS = Path(__file__).parent.parent / "docs" / "settings.md"


def every_field() -> dict[str, FieldInfo]:
    """Variable -> field, of every platform's settings."""
    return {
        f"{kind.model_config.get('env_prefix')}{name.upper()}": field
        for kind in (Settings, AwsSettings, RedshiftSettings, GcpSettings, BigQuerySettings, VertexSettings)
        for name, field in kind.model_fields.items()
    }


def test_every_setting_is_documented_with_the_words_of_the_code():
    text = DOCS.read_text(encoding="utf-8")
    missing = [
        variable
        for variable, field in every_field().items()
        if f"| `{variable}` |" not in text or (field.description or "?") not in text
    ]
    assert missing == []


def test_the_documentation_names_no_setting_that_is_not_there():
    named = {
        line.split("`")[1]
        for line in DOCS.read_text(encoding="utf-8").splitlines()
        if line.startswith("| `MLOPS_")
    }
    assert named == every_field().keys()


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("MLOPS_PLATFORM", "azure", "'local', 'aws' or 'gcp'"),
        ("MLOPS_SENSOR_BATCH", "0", "greater than or equal to 1"),
        ("MLOPS_EXECUTOR", "threads", "in_process"),
        ("MLOPS_MEMORY_LIMIT", "lots", "pattern"),
    ],
)
def test_a_wrong_setting_names_itself_and_the_mend(monkeypatch, variable, value, says):
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert variable in str(caught.value)
    assert says in str(caught.value)
    assert "docs/settings.md" in str(caught.value)


def test_a_platform_whose_packages_are_missing_says_so(tmp_path, monkeypatch):
    monkeypatch.setitem(binding._NEEDS, "gcp", "google.cloud.not_there")
    with pytest.raises(NotInstalledError, match=r"gcp.*not installed.*pip install 'mlops-assets\[gcp\]'"):
        build_platform(Settings(platform="gcp", root=tmp_path))


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("MLOPS_AWS_ROOT", None, "Field required"),
        ("MLOPS_AWS_ROOT", "bucket/prefix", "not an artifact URI"),
        ("MLOPS_AWS_ROOT", "s3://bucket/", "s3://bucket/mlops"),
        ("MLOPS_AWS_ROOT", "gs://bucket/prefix", "s3://bucket/mlops"),
        ("MLOPS_AWS_ROLE_ARN", "sagemaker", "pattern"),
        ("MLOPS_AWS_TRAINING_INSTANCE", "m5.large", "pattern"),
    ],
)
def test_a_wrong_or_missing_setting_of_aws_names_itself_and_the_mend(monkeypatch, variable, value, says):
    monkeypatch.setenv("MLOPS_AWS_ROOT", "s3://bucket/prefix")
    if value is None:
        monkeypatch.delenv(variable)
    else:
        monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as caught:
        read_settings(AwsSettings)
    assert variable in str(caught.value)
    assert says in str(caught.value)
    assert "docs/settings.md" in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("MLOPS_GCP_ROOT", None, "Field required"),
        ("MLOPS_GCP_ROOT", "bucket/prefix", "not an artifact URI"),
        ("MLOPS_GCP_ROOT", "gs://bucket/", "gs://bucket/mlops"),
        ("MLOPS_GCP_ROOT", "s3://bucket/prefix", "gs://bucket/mlops"),
        ("MLOPS_GCP_LOCATION", None, "Field required"),
        ("MLOPS_GCP_LOCATION", "europe west", "pattern"),
        ("MLOPS_GCP_KMS_KEY", "key", "pattern"),
        ("MLOPS_GCP_EVENT_SUBSCRIPTIONS", '{"landing/homes": "arrivals"}', "pattern"),
    ],
)
def test_a_wrong_or_missing_setting_of_gcp_names_itself_and_the_mend(monkeypatch, variable, value, says):
    monkeypatch.setenv("MLOPS_GCP_ROOT", "gs://bucket/prefix")
    monkeypatch.setenv("MLOPS_GCP_LOCATION", "europe-west4")
    if value is None:
        monkeypatch.delenv(variable)
    else:
        monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as caught:
        read_settings(GcpSettings)
    assert variable in str(caught.value)
    assert says in str(caught.value)
    assert "docs/settings.md" in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("MLOPS_VERTEX_REGION", "EU", "pattern"),
        ("MLOPS_VERTEX_TRAFFIC_STEPS", "[50, 10]", "growing percentages"),
        ("MLOPS_VERTEX_TRAFFIC_STEPS", "[100]", "growing percentages"),
        ("MLOPS_VERTEX_SERVICE_ACCOUNT", "jobs", "pattern"),
        ("MLOPS_VERTEX_MAX_RUNTIME", "700000", "less than or equal"),
    ],
)
def test_a_wrong_setting_of_vertex_names_itself_and_the_mend(monkeypatch, variable, value, says):
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as caught:
        read_settings(VertexSettings)
    assert variable in str(caught.value)
    assert says in str(caught.value)
    assert "docs/settings.md" in str(caught.value)


def test_a_setting_that_only_jobs_need_is_asked_for_when_a_job_needs_it(monkeypatch):
    monkeypatch.setenv("MLOPS_AWS_ROOT", "s3://bucket/prefix")
    monkeypatch.setenv("MLOPS_AWS_ROLE_ARN", "")
    settings = read_settings(AwsSettings)
    with pytest.raises(SettingsError, match=r"MLOPS_AWS_ROLE_ARN is not set.*Mend: Set it: IAM role"):
        settings.needed("role_arn")


def test_the_gate_key_is_made_once_and_readable_by_its_owner_alone(tmp_path):
    settings = Settings(root=tmp_path / "new")
    key = settings.seal_key()
    assert len(key) == 64
    assert settings.seal_key() == key
    assert stat.S_IMODE((tmp_path / "new" / "gate.key").stat().st_mode) == 0o600


def test_a_short_gate_key_is_refused_without_being_shown(tmp_path):
    settings = Settings.model_validate({"root": tmp_path, "gate_key": "too-short-secret"})
    with pytest.raises(SettingsError) as caught:
        settings.seal_key()
    assert "too-short-secret" not in str(caught.value) + repr(settings)
