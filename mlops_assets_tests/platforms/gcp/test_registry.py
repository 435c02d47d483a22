"""The registry on Vertex AI: the contract, and what only a service that people use beside us can show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from google.cloud.aiplatform_v1 import ModelServiceClient

from mlops_assets.artifacts import digest_of
from mlops_assets.errors import ArtifactError, StorageError
from mlops_assets.platforms.binding import build_platform
from mlops_assets.platforms.gcp.model_versions import ModelVersions, digest_in, label_of
from mlops_assets.platforms.gcp.settings import current_gcp_settings
from mlops_assets.platforms.gcp.vertex_client import place_of
from mlops_assets.platforms.gcp.vertex_settings import current_vertex_settings
from mlops_assets.platforms.ports import Platform
from mlops_assets.settings import Settings
from mlops_assets_tests.platforms.contracts.registry import RegistryContract, register
from mlops_assets_tests.standins.faults import Fault
from mlops_assets_tests.standins.gcp.fixtures import Gcp


@pytest.fixture
def platform(gcp: Gcp, tmp_path: Path) -> Platform:
    """A platform of its own, with nothing registered."""
    current_gcp_settings.cache_clear()
    current_vertex_settings.cache_clear()
    return build_platform(Settings(root=tmp_path / "mlops", platform="gcp"))


class TestVertexRegistry(RegistryContract):
    @pytest.fixture
    def platform(self, gcp: Gcp, tmp_path: Path) -> Platform:
        current_gcp_settings.cache_clear()
        current_vertex_settings.cache_clear()
        return build_platform(Settings(root=tmp_path / "mlops", platform="gcp"))


class Console:
    """What a person does in Vertex AI."""

    def __init__(self, gcp: Gcp, platform: Platform) -> None:
        self.client: Any = gcp.server.vertex_client(ModelServiceClient)
        place = place_of(current_gcp_settings(), current_vertex_settings())
        self._names = ModelVersions(place, platform.store.root)

    def get(self, version: int) -> Any:
        return self.client.get_model(name=self._names.name("homes", version))

    def label(self, version: int, **labels: str) -> None:
        message = self.get(version)
        found = {**message.labels, **{name.replace("_", "-"): value for name, value in labels.items()}}
        self.client.update_model(
            model={"name": f"{message.name}@{version}", "labels": found}, update_mask={"paths": ["labels"]}
        )

    def alias(self, version: int, *changes: str) -> None:
        name = self._names.name("homes", version)
        self.client.merge_version_aliases(name=name, version_aliases=list(changes))


@pytest.fixture
def console(gcp: Gcp, platform: Platform) -> Console:
    return Console(gcp, platform)


def test_a_version_is_seen_in_vertex_with_its_files_aliases_labels_and_evaluation(
    platform: Platform, console: Console
) -> None:
    version = register(platform)
    there = console.get(1)
    assert there.artifact_uri == version.uri
    assert set(there.version_aliases) == {"champion", "default"}
    assert there.labels["mlops-approval"] == "approved"
    assert digest_in(there.labels["mlops-candidate"]) == version.candidate_digest
    assert there.version_description == "approved by gates: every gate passed"
    environment = {item.name: item.value for item in there.container_spec.env}
    assert environment["MLOPS_MODEL_DIGEST"] == digest_of(version.files)
    (evaluation,) = console.client.list_model_evaluations(parent=f"{there.name}@1")
    assert dict(evaluation.metrics) == {"rootMeanSquaredError": 5.0, "rSquared": 0.9}


def test_the_next_version_is_made_below_the_same_model_in_one_call(
    gcp: Gcp, platform: Platform, console: Console
) -> None:
    register(platform)
    before = gcp.server.faults.calls["aiplatform.UploadModel"]
    register(platform, content="second", champion=1)
    assert gcp.server.faults.calls["aiplatform.UploadModel"] == before + 1
    assert console.get(1).name == console.get(2).name
    assert "champion" in console.get(2).version_aliases
    assert "champion" not in console.get(1).version_aliases


def test_an_approval_given_by_label_in_vertex_is_taken_over(platform: Platform, console: Console) -> None:
    register(platform, manual=True)
    console.label(1, mlops_approval="approved")
    champion = platform.registry.champion("homes")
    assert champion is not None and (champion.version, champion.approval) == (1, "approved")
    assert "champion" in console.get(1).version_aliases
    assert "approved by somebody in Vertex AI" in console.get(1).version_description


def test_an_approval_given_by_alias_in_vertex_is_taken_over(platform: Platform, console: Console) -> None:
    register(platform)
    register(platform, content="second", champion=1, manual=True)
    console.alias(2, "champion")
    assert platform.registry.champion("homes").version == 2  # type: ignore[union-attr]
    assert platform.registry.get("homes", 2).approval == "approved"
    assert platform.registry.rollback("homes").version == 1


def test_a_rejection_given_in_vertex_is_taken_over(platform: Platform, console: Console) -> None:
    register(platform, manual=True)
    console.label(1, mlops_approval="rejected")
    assert platform.registry.champion("homes") is None
    assert platform.registry.get("homes", 1).approval == "rejected"


def test_what_vertex_may_not_decide_is_set_back_with_the_reason(platform: Platform, console: Console) -> None:
    register(platform)
    waiting = register(platform, content="second", champion=1, manual=True)
    platform.store.write(waiting.uri.join("model.skops"), b"swapped")
    console.alias(2, "champion")
    assert platform.registry.champion("homes").version == 1  # type: ignore[union-attr]
    there = console.get(2)
    assert there.labels["mlops-approval"] == "pending"
    assert "model.skops was changed" in there.version_description
    assert list(there.version_aliases) == []
    assert "champion" in console.get(1).version_aliases


def test_a_label_of_a_persons_own_stays(platform: Platform, console: Console) -> None:
    register(platform, manual=True)
    console.label(1, team="pricing")
    platform.registry.approve("homes", 1, by="anna")
    assert console.get(1).labels["team"] == "pricing"


@pytest.mark.parametrize("label", ["mlops_state", "mlops_seal", "mlops_record", "mlops_candidate"])
def test_an_edited_record_is_refused_and_left_out_of_lists(
    platform: Platform, console: Console, label: str, caplog: pytest.LogCaptureFixture
) -> None:
    register(platform, manual=True)
    console.label(1, **{label: "approved"})
    with pytest.raises(ArtifactError, match=r"record was edited.*gate key"):
        platform.registry.get("homes", 1)
    assert list(platform.registry.versions("homes")) == []
    assert "record was edited" in caplog.text


@pytest.mark.parametrize("call", ["ImportModelEvaluation", "UpdateModel", "MergeVersionAliases"])
def test_a_crash_on_the_way_leaves_nothing_visible_and_the_same_call_completes_it(
    gcp: Gcp, platform: Platform, call: str
) -> None:
    gcp.server.faults.add(Fault(f"aiplatform.{call}", 403, "PERMISSION_DENIED"))
    with pytest.raises(Exception, match="denies the call"):
        register(platform)
    assert list(platform.registry.versions("homes")) == []
    assert platform.registry.champion("homes") is None
    version = register(platform)
    assert (version.version, version.aliases) == (1, ("champion",))
    assert len(platform.registry.versions("homes")) == 1


def test_a_lost_answer_to_the_upload_makes_no_second_version(gcp: Gcp, platform: Platform) -> None:
    gcp.server.faults.add(Fault("aiplatform.UploadModel", 400, "INTERNAL", afterwards=True))
    with pytest.raises(StorageError):
        register(platform)
    assert register(platform).version == 1


def test_two_deployments_in_one_project_have_models_of_their_own(platform: Platform) -> None:
    place = place_of(current_gcp_settings(), current_vertex_settings())
    root = platform.store.root
    names = {ModelVersions(place, uri).id_of("homes") for uri in (root, root.join("other"))}
    assert len(names) == 2


def test_a_digest_fits_into_a_label_and_comes_back() -> None:
    digest = digest_of("x")
    assert len(label_of(digest)) <= 63
    assert digest_in(label_of(digest)) == digest
    with pytest.raises(ValueError, match="approved"):
        digest_in("approved")
