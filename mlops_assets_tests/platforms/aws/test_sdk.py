"""SageMaker's own SDK reads what we registered, takes what we trained, and reports nothing to its makers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mlops_assets.errors import ArtifactError, SettingsError
from mlops_assets.platforms.aws import sdk
from mlops_assets.platforms.aws.settings import current_aws_settings
from mlops_assets.platforms.binding import build_platform
from mlops_assets.platforms.local import build_platform as build_local
from mlops_assets.platforms.ports import Platform
from mlops_assets.settings import Settings
from mlops_assets_tests.judged import candidate
from mlops_assets_tests.platforms.contracts.registry import register
from mlops_assets_tests.standins.aws.fixtures import Aws
from mlops_assets_tests.standins.aws.server import IMAGE

# Every host that is looked up or connected to is noted, and none but this machine is reached.
LISTENS = """
import json, sys
hosts = []
def note(event, args):
    if event in ("socket.getaddrinfo", "socket.connect"):
        host = args[0] if event == "socket.getaddrinfo" else args[1][0]
        if host not in ("127.0.0.1", "localhost"):
            hosts.append(host)
            raise OSError("no network in tests")
sys.addaudithook(note)
from pathlib import Path
from mlops_assets.platforms.aws.sdk import without_telemetry
if sys.argv[1] == "off":
    without_telemetry(Path(sys.argv[2]))
from sagemaker.core.helper.session_helper import Session
from sagemaker.core.telemetry.constants import Feature
from sagemaker.core.telemetry import telemetry_logging
threads = []
send = telemetry_logging._send_telemetry_request
telemetry_logging._send_telemetry_request = lambda *args: threads.append(send(*args))
session = Session()
@telemetry_logging._telemetry_emitter(Feature.MLOPS, "experiment.create")
def create(sagemaker_session): return 42
assert create(sagemaker_session=session) == 42
for thread in threads:
    thread.join(20)
print(json.dumps(hosts))
"""


@pytest.fixture
def platform(aws: Aws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Platform:
    current_aws_settings.cache_clear()
    for name in sdk._OVERRIDES:
        monkeypatch.setenv(name, "to be restored")
        monkeypatch.delenv(name)
    return build_platform(Settings(root=tmp_path / "mlops", platform="aws"))


def test_the_sdk_reads_a_version_that_we_registered(platform: Platform) -> None:
    version = register(platform, manual=True)
    package: Any = sdk.model_package(platform, version)
    assert package.model_approval_status == "PendingManualApproval"
    assert package.model_package_version == 1
    assert package.customer_metadata_properties["mlops.candidate"] == version.candidate_digest
    (container,) = package.inference_specification.containers
    assert container.image == IMAGE
    assert container.model_data_source.s3_data_source.s3_uri == f"{version.uri}/"
    assert package.model_metrics.model_quality.statistics.s3_uri == f"{version.uri}/evaluation.json"
    group: Any = sdk.model_package_group(platform, "homes")
    assert group.model_package_group_name == package.model_package_group_name
    assert group.model_package_group_status == "Completed"


def test_what_the_sdk_approves_becomes_champion(platform: Platform) -> None:
    version = register(platform, manual=True)
    package: Any = sdk.model_package(platform, version)
    package.update(model_approval_status="Approved", approval_description="from a notebook")
    champion = platform.registry.champion("homes")
    assert champion is not None
    assert (champion.version, champion.approval) == (1, "approved")
    package.refresh()
    assert package.approval_description == "approved by somebody in SageMaker: from a notebook"


def test_a_version_and_a_candidate_are_handed_to_the_sdks_models(platform: Platform) -> None:
    version, trained = register(platform), candidate(platform, content="second")
    by_package: Any = sdk.container_definition(platform, version)
    assert by_package.model_package_name.endswith("/1")
    by_files: Any = sdk.container_definition(platform, trained)
    assert by_files.image == IMAGE
    assert by_files.model_data_source.s3_data_source.s3_uri == f"{trained.uri}/"


def test_a_version_that_is_not_there_and_a_platform_without_packages_are_said(
    platform: Platform, tmp_path: Path
) -> None:
    version = register(platform)
    with pytest.raises(ArtifactError, match="no version 7"):
        sdk.model_package(platform, version.model_copy(update={"version": 7}))
    with pytest.raises(SettingsError, match="Only the platform 'aws'"):
        sdk.model_package(build_local(Settings(root=tmp_path / "local")), version)


@pytest.mark.parametrize("telemetry", ["off", "on"])
def test_the_sdk_asks_no_host_of_its_makers(aws: Aws, tmp_path: Path, telemetry: str) -> None:
    environment = {name: text for name, text in os.environ.items() if name not in sdk._OVERRIDES}
    done = subprocess.run(
        [sys.executable, "-c", LISTENS, telemetry, str(tmp_path)],
        env={**environment, **aws.environment, "XDG_CONFIG_HOME": str(tmp_path), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    hosts = json.loads(done.stdout.splitlines()[-1])
    if telemetry == "off":
        assert hosts == []
    else:  # it would have: what is listened for is there to be heard
        assert any("sm-pysdk" in host for host in hosts)


def test_defaults_that_somebody_chose_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    admin, user = sdk._OVERRIDES
    monkeypatch.setenv(admin, "/their/own.yaml")
    monkeypatch.setenv(user, "")
    sdk.without_telemetry(tmp_path)
    assert os.environ[admin] == "/their/own.yaml"
    assert "TelemetryOptOut: true" in Path(os.environ[user]).read_text()
    monkeypatch.setenv(user, "/their/other.yaml")
    sdk.without_telemetry(tmp_path)
    assert os.environ[user] == "/their/other.yaml"
