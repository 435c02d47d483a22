"""The endpoint on Vertex AI: the contract, and what only a traffic split elsewhere can show."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from google.cloud.aiplatform_v1 import EndpointServiceClient

from mlops_assets.errors import DeploymentError
from mlops_assets.platforms.binding import build_platform
from mlops_assets.platforms.gcp import endpoint as endpoint_module
from mlops_assets.platforms.gcp.hosted_endpoint import HostedEndpoint, endpoint_id
from mlops_assets.platforms.gcp.settings import current_gcp_settings
from mlops_assets.platforms.gcp.vertex_client import place_of
from mlops_assets.platforms.gcp.vertex_settings import current_vertex_settings
from mlops_assets.platforms.ports import Platform
from mlops_assets.settings import Settings
from mlops_assets_tests.platforms.contracts.endpoint import Ask, EndpointContract
from mlops_assets_tests.runtime.models import ROWS
from mlops_assets_tests.served import deployable
from mlops_assets_tests.standins.faults import Fault
from mlops_assets_tests.standins.gcp.fixtures import Gcp


def on_gcp(gcp: Gcp, folder: Path) -> Iterator[Platform]:
    """A platform on the stand-in; every endpoint's containers end after the test."""
    current_gcp_settings.cache_clear()
    current_vertex_settings.cache_clear()
    yield build_platform(Settings(root=folder / "mlops", platform="gcp"))
    gcp.server.vertex.endpoints.close()


def hosted(platform: Platform) -> HostedEndpoint:
    """The endpoint of `homes`."""
    gcp, vertex = current_gcp_settings(), current_vertex_settings()
    return HostedEndpoint(place_of(gcp, vertex), vertex, gcp, endpoint_id(platform.store.root, "homes"))


def asking(platform: Platform) -> Ask:
    """Asks the endpoint of `homes`."""

    def ask(row: dict[str, Any]) -> float:
        return hosted(platform).invoke([row])[0][0]["prediction"]

    return ask


@pytest.fixture
def platform(gcp: Gcp, tmp_path: Path) -> Iterator[Platform]:
    yield from on_gcp(gcp, tmp_path)


class TestVertexEndpoint(EndpointContract):
    @pytest.fixture
    def platform(self, gcp: Gcp, tmp_path: Path) -> Iterator[Platform]:
        yield from on_gcp(gcp, tmp_path)

    @pytest.fixture
    def ask(self, platform: Platform) -> Ask:
        return asking(platform)


def splits(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The traffic splits that are set from now on, as sorted shares."""
    seen: list[list[int]] = []
    real = HostedEndpoint.split

    def recorded(self: HostedEndpoint, shares: dict[str, int]) -> None:
        seen.append(sorted(shares.values()))
        real(self, shares)

    monkeypatch.setattr(HostedEndpoint, "split", recorded)
    return seen


def test_a_new_version_takes_its_traffic_over_in_steps_and_nothing_else_stays(
    gcp: Gcp, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployable(platform, 1).deploy(platform)
    seen = splits(platform, monkeypatch)
    deployable(platform, 2).deploy(platform)
    assert seen == [[10, 90], [50, 50], [100]]
    deployed = hosted(platform).deployed()
    assert deployed is not None
    assert [(item.config[:3], item.share) for item in deployed] == [("v2-", 100)]
    there = gcp.server.vertex_client(EndpointServiceClient).list_endpoints(
        parent=hosted(platform).name.rpartition("/endpoints/")[0]
    )
    assert hosted(platform).name in [item.name for item in there]
    assert not [item for item in there if item.name == f"{hosted(platform).name}-rehearsal"]
    assert len(gcp.server.vertex.endpoints.containers) == 1


def test_a_version_that_goes_wrong_at_a_step_gives_the_traffic_back(
    gcp: Gcp, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = deployable(platform, 1)
    first.deploy(platform)
    seen = splits(platform, monkeypatch)
    real = endpoint_module._watch

    def wrong_at_half(endpoint: HostedEndpoint, new: str, share: int, smoke: Any) -> None:
        real(endpoint, new, share, smoke if share < 50 else replace(smoke, answers=[{"prediction": -1.0}]))

    monkeypatch.setattr(endpoint_module, "_watch", wrong_at_half)
    with pytest.raises(DeploymentError, match=r"Version 2 did not take over.*Version 1 goes on serving"):
        deployable(platform, 2).deploy(platform)
    assert seen == [[10, 90], [50, 50], [100]]
    deployed = hosted(platform).deployed()
    assert deployed is not None
    assert [(item.config[:3], item.share) for item in deployed] == [("v1-", 100)]
    assert asking(platform)(ROWS[0]) == pytest.approx(first.prediction(platform), rel=1e-9)
    assert len(gcp.server.vertex.endpoints.containers) == 1


def test_a_server_that_does_not_start_is_reported_with_its_log(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlops_assets.platforms.gcp.endpoint.check_files", lambda *_: None)
    second = deployable(platform, 2)
    platform.store.delete(second.version.uri.join("model.skops"))
    with pytest.raises(DeploymentError, match=r"(?s)It did not start.*Nothing serves.*Its log ends:.*skops"):
        second.deploy(platform)
    assert platform.endpoint.status("homes").status == "stopped"


def test_what_a_dead_deployer_left_half_way_is_cleared(
    gcp: Gcp, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = deployable(platform, 1), deployable(platform, 2)
    first.deploy(platform)

    def dies(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(HostedEndpoint, "undeploy", dies)  # neither back nor forth
        patched.setattr(endpoint_module, "_watch", dies)
        patched.setattr(HostedEndpoint, "delete", lambda _: None)
        with pytest.raises(KeyboardInterrupt):
            second.deploy(platform)
    assert len(hosted(platform).deployed() or []) == 2
    assert platform.endpoint.status("homes").version == 1
    assert second.deploy(platform).version == 2
    assert len(hosted(platform).deployed() or []) == 1
    assert len(gcp.server.vertex.endpoints.containers) == 1


def test_a_registered_version_is_what_is_deployed(gcp: Gcp, platform: Platform) -> None:
    from mlops_assets.platforms.gcp.model_messages import model_message
    from mlops_assets.platforms.gcp.model_versions import ModelVersions

    first = deployable(platform, 1)
    gcp_settings, vertex = current_gcp_settings(), current_vertex_settings()
    versions = ModelVersions(place_of(gcp_settings, vertex), platform.store.root)
    message = model_message(
        platform.settings, vertex, model="homes", uri=first.version.uri, files=first.version.files
    )
    versions.upload("homes", message)
    before = gcp.server.faults.calls["aiplatform.UploadModel"]
    first.deploy(platform)
    assert gcp.server.faults.calls["aiplatform.UploadModel"] == before
    found = gcp.server.vertex_client(EndpointServiceClient).get_endpoint(name=hosted(platform).name)
    (deployed,) = found.deployed_models
    assert (deployed.model, deployed.model_version_id) == (versions.name("homes"), "1")


def test_a_refused_call_is_said_with_its_mend(gcp: Gcp, platform: Platform) -> None:
    gcp.server.faults.add(Fault("aiplatform.CreateEndpoint", 403, "PERMISSION_DENIED"))
    with pytest.raises(Exception, match=r"denies the call.*deploy/gcp"):
        deployable(platform).deploy(platform)
