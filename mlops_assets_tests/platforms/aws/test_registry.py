"""The registry on SageMaker: the contract, and what only a service that people use beside us can show."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from pydantic import SecretStr

from mlops_assets.errors import ArtifactError, ConflictError, GateRefusedError
from mlops_assets.pipeline.approval import approval_sensor
from mlops_assets.platforms.aws.registry import SageMakerRegistry
from mlops_assets.platforms.aws.settings import current_aws_settings
from mlops_assets.platforms.binding import build_platform
from mlops_assets.platforms.local.endpoint import LocalEndpoint
from mlops_assets.platforms.ports import Adapters, Platform
from mlops_assets.platforms.registry_objects import RegistryObjects
from mlops_assets.settings import Settings
from mlops_assets_tests.judged import judged
from mlops_assets_tests.pipeline.bypass_graph import small
from mlops_assets_tests.platforms.aws.sagemaker_console import Console
from mlops_assets_tests.platforms.contracts.registry import RegistryContract, register
from mlops_assets_tests.standins.aws.fixtures import Aws
from mlops_assets_tests.standins.aws.server import IMAGE


@pytest.fixture
def platform(aws: Aws, tmp_path: Path) -> Platform:
    """An AWS platform of its own, with nothing registered."""
    current_aws_settings.cache_clear()
    return build_platform(Settings(root=tmp_path / "mlops", platform="aws"))


@pytest.fixture
def console(aws: Aws, platform: Platform) -> Console:
    return Console(aws, platform)


class TestSageMakerRegistry(RegistryContract):
    @pytest.fixture
    def platform(self, aws: Aws, tmp_path: Path) -> Platform:
        current_aws_settings.cache_clear()
        return build_platform(Settings(root=tmp_path / "mlops", platform="aws"))


def champion(platform: Platform) -> int | None:
    """The version that is champion."""
    found = platform.registry.champion("homes")
    return found.version if found else None


def events(platform: Platform, console: Console, version: int) -> list[tuple[str, str, str]]:
    """Who did what to a version, and why."""
    history = console.shown(version)["CustomerMetadataProperties"]["mlops.history"]
    kept = RegistryObjects(platform.store).history("homes", history)
    assert all(item["at"] for item in kept)
    return [(item["event"], item["by"], item["reason"]) for item in kept]


# --- what people see --------------------------------------------------------------------------------------


def test_what_sagemaker_shows_is_what_we_read(platform: Platform, console: Console) -> None:
    one, measured, _ = judged(platform)
    version = register(platform)
    shown = console.shown(1)
    assert shown["ModelPackageGroupName"] == console.group
    assert shown["ModelApprovalStatus"] == "Approved"
    assert shown["ApprovalDescription"] == "approved by gates: every gate passed"
    assert shown["ModelLifeCycle"] == {"Stage": "mlops-assets", "StageStatus": "approved"}
    assert one.digest in shown["ModelPackageDescription"]
    assert shown["MetadataProperties"] == {"CommitId": "c0ffee"}
    reports = {
        "ModelQuality": {"Statistics": ("application/json", "evaluation.json")},
        "Explainability": {"Report": ("text/markdown", "model_card.md")},
    }
    assert shown["ModelMetrics"] == {
        part: {
            name: {"ContentType": kind, "S3Uri": str(measured.uri.join(file))}
            for name, (kind, file) in files.items()
        }
        for part, files in reports.items()
    }
    (container,) = shown["InferenceSpecification"]["Containers"]
    assert container["Image"] == IMAGE
    assert container["Environment"] == {"MLOPS_MODEL_DIGEST": one.digest}
    assert container["ModelDataSource"]["S3DataSource"]["S3Uri"] == f"{one.uri}/"
    metadata = shown["CustomerMetadataProperties"]
    assert metadata["mlops.candidate"] == one.digest
    assert metadata["mlops.decision"] == version.decision_digest
    assert metadata["dagster.run_id"] == "run-1"
    assert console.tags() == {
        "mlops-assets/model": "homes",
        "mlops-assets/champion": "1",
        "mlops-assets/champions": "1",
    }


def test_the_console_is_a_command_that_lists_the_versions(platform: Platform, aws: Aws) -> None:
    register(platform)
    program, *arguments = platform.registry.console("homes").split()
    listed = subprocess.run(
        [str(Path(sys.executable).with_name(program)), *arguments, "--output", "json"],
        env={**os.environ, **aws.environment},
        capture_output=True,
        text=True,
        check=True,
    )
    assert '"ModelApprovalStatus": "Approved"' in listed.stdout


def test_a_decision_keeps_who_why_and_when(platform: Platform, console: Console) -> None:
    register(platform, manual=True)
    platform.registry.approve("homes", 1, by="anna", reason="looks right")
    register(platform, content="second", champion=1)
    platform.registry.rollback("homes", by="ben", reason="complaints")
    assert events(platform, console, 1) == [
        ("pending", "gates", "waits for a person"),
        ("approved", "anna", "looks right"),
    ]
    assert events(platform, console, 2)[1:] == [("rolled back to 1", "ben", "complaints")]
    assert console.status(1) == ("Approved", "approved by anna: looks right")


def test_two_deployments_in_one_account_do_not_see_each_other(
    platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(platform)
    monkeypatch.setenv("MLOPS_AWS_ROOT", f"{platform.store.root}/other")
    current_aws_settings.cache_clear()
    other = build_platform(Settings(root=tmp_path / "other", platform="aws"))
    assert list(other.registry.versions()) == []
    assert other.registry.champion("homes") is None
    assert register(other).version == 1
    assert len(platform.registry.versions()) == 1


def test_a_long_name_with_underscores_is_a_group(platform: Platform) -> None:
    for model in ("a__", "a" * 63, "a" * 62 + "b"):
        version = platform.registry.register(
            *(one := judged(platform, model=model)), policy_digest=one[2].policy_digest, approval="automatic"
        )
        assert (version.model, version.version) == (model, 1)
    assert {item.model for item in platform.registry.versions()} == {"a__", "a" * 63, "a" * 62 + "b"}


# --- what people do in SageMaker --------------------------------------------------------------------------


def test_an_approval_in_the_console_makes_champion_and_is_remembered(
    platform: Platform, console: Console
) -> None:
    register(platform)
    register(platform, content="second", champion=1, manual=True)
    assert champion(platform) == 1
    console.decide(2, "Approved", "checked in Studio")
    assert champion(platform) == 2
    assert platform.registry.get("homes", 2).approval == "approved"
    assert console.tags()["mlops-assets/champions"] == "1 2"
    assert events(platform, console, 2)[-1] == ("approved", "somebody in SageMaker", "checked in Studio")
    assert platform.registry.rollback("homes").version == 1


def test_a_list_of_versions_shows_what_was_decided_in_the_console(
    platform: Platform, console: Console
) -> None:
    register(platform, manual=True)
    console.decide(1, "Approved")
    (version,) = platform.registry.versions("homes")
    assert (version.approval, version.aliases) == ("approved", ("champion",))


def test_an_approval_in_the_console_counts_before_the_next_candidate_is_compared(
    platform: Platform, console: Console
) -> None:
    register(platform, manual=True)
    console.decide(1, "Approved")
    with pytest.raises(GateRefusedError, match="the champion is now 1"):
        register(platform, content="second")


def test_the_sensor_deploys_what_was_approved_in_the_console(
    platform: Platform, console: Console, tmp_path: Path
) -> None:
    unused: Any = None
    adapters = Adapters(
        store=lambda _: platform.store,
        warehouse=unused,
        trainer=unused,
        registry=lambda *_: platform.registry,
        endpoint=LocalEndpoint,
    )
    served = Platform(platform.settings, adapters)
    sensor = approval_sensor(small(tmp_path))

    def asked() -> Any:
        with dg.instance_for_test() as instance:
            context = dg.build_sensor_context(instance=instance, resources={"platform": served})
            return sensor(context)

    register(platform, manual=True)
    assert isinstance(asked(), dg.SkipReason)
    console.decide(1, "Approved")
    (request,) = asked().run_requests
    assert request.asset_selection == [dg.AssetKey(["homes", "endpoint"])]
    assert request.tags["mlops/version"] == "1"


def test_a_console_approval_of_changed_files_is_set_back_and_says_why(
    platform: Platform, console: Console
) -> None:
    waiting = register(platform, manual=True)
    platform.store.write(waiting.uri.join("model.skops"), b"swapped")
    console.decide(1, "Approved")
    assert champion(platform) is None
    status, said = console.status(1)
    assert status == "PendingManualApproval"
    assert "model.skops was changed after it was judged. Train again" in said
    assert platform.registry.get("homes", 1).approval == "pending"
    assert "mlops-assets/champion" not in console.tags()


def test_a_rejection_in_the_console_is_for_good(platform: Platform, console: Console) -> None:
    register(platform)
    register(platform, content="second", champion=1, manual=True)
    console.decide(2, "Rejected", "biased")
    assert champion(platform) == 1
    assert events(platform, console, 2)[-1] == ("rejected", "somebody in SageMaker", "biased")
    console.decide(2, "Approved")
    assert champion(platform) == 1
    assert console.status(2) == (
        "Rejected",
        "rejected by mlops_assets: Not made champion: it was rejected. Train a new candidate.",
    )


def test_a_former_champion_rejected_in_the_console_is_not_rolled_back_to(
    platform: Platform, console: Console
) -> None:
    for number, content in enumerate(["one", "two", "three"]):
        register(platform, content=content, champion=number or None)
    console.decide(2, "Rejected")
    assert platform.registry.rollback("homes").version == 1


def test_the_champion_rejected_in_the_console_stays_and_the_console_says_what_to_do(
    platform: Platform, console: Console
) -> None:
    register(platform)
    register(platform, content="second", champion=1)
    console.decide(2, "Rejected")
    assert champion(platform) == 2
    status, said = console.status(2)
    assert status == "Approved"
    assert "homes version 2 is the champion. Roll back first: mlops-assets rollback homes." in said


def test_an_approval_taken_back_in_the_console_changes_nothing(platform: Platform, console: Console) -> None:
    register(platform)
    console.decide(1, "PendingManualApproval")
    assert champion(platform) == 1


def test_a_version_made_by_hand_is_no_version(platform: Platform, console: Console) -> None:
    register(platform)
    console.client.create_model_package(
        ModelPackageGroupName=console.group,
        ModelApprovalStatus="Approved",
        InferenceSpecification={"Containers": [{"Image": IMAGE}]},
    )
    console.tag(2)
    assert champion(platform) == 1
    assert [item.version for item in platform.registry.versions("homes")] == [1]


def test_a_tag_moved_by_hand_counts_for_an_approved_version_and_no_other(
    platform: Platform, console: Console
) -> None:
    register(platform)
    register(platform, content="second", champion=1)
    register(platform, content="third", champion=2, manual=True)
    console.tag(1)
    assert champion(platform) == 1
    console.tag(3)
    assert champion(platform) == 2


def test_a_version_deleted_in_sagemaker_is_gone_and_its_candidate_becomes_a_new_one(
    platform: Platform, console: Console
) -> None:
    register(platform)
    console.delete(1)
    assert champion(platform) is None
    assert register(platform).version == 2
    assert champion(platform) == 2


# --- what was edited is not trusted -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "edit",
    [
        {"state": "approved"},
        {"state": "anything"},
        {"record": "0" * 64},
        {"history": "0" * 64},
        {"candidate": "0" * 64},
        {"seal": "0" * 64},
    ],
)
def test_metadata_edited_by_hand_is_refused_and_never_champion(
    platform: Platform, console: Console, edit: dict[str, str]
) -> None:
    waiting = register(platform, manual=True)
    console.edit(1, **edit)
    console.decide(1, "Approved")
    console.tag(1)
    assert list(platform.registry.versions()) == []
    for look in (
        lambda: platform.registry.champion("homes"),
        lambda: platform.registry.get("homes", 1),
        lambda: platform.registry.find("homes", waiting.candidate_digest),
        lambda: platform.registry.approve("homes", 1, by="anna"),
    ):
        with pytest.raises(ArtifactError, match="record was edited"):
            look()


def test_the_seal_of_one_version_does_not_hold_for_another(platform: Platform, console: Console) -> None:
    register(platform)
    register(platform, content="second", champion=1, manual=True)
    sealed = console.shown(1)["CustomerMetadataProperties"]
    console.edit(2, **{key.removeprefix("mlops."): text for key, text in sealed.items() if "mlops." in key})
    with pytest.raises(ArtifactError, match="record was edited"):
        platform.registry.get("homes", 2)


def test_a_record_edited_in_the_store_is_refused(platform: Platform, aws: Aws) -> None:
    register(platform)
    (record,) = platform.store.list(platform.store.root.join("registry", "records", "homes"))
    platform.store.write(record.uri, platform.store.read(record.uri).replace(b"model.skops", b"other.skops"))
    fresh = build_platform(platform.settings)
    with pytest.raises(ArtifactError, match="record was edited"):
        fresh.registry.champion("homes")


def test_another_gate_key_finds_nothing_to_trust(platform: Platform) -> None:
    register(platform)
    other = build_platform(platform.settings.model_copy(update={"gate_key": SecretStr("x" * 64)}))
    with pytest.raises(ArtifactError, match="another gate key"):
        other.registry.champion("homes")


def test_an_edited_list_of_champions_is_named(platform: Platform, console: Console) -> None:
    register(platform)
    arn = console.client.describe_model_package_group(ModelPackageGroupName=console.group)
    console.client.add_tags(
        ResourceArn=arn["ModelPackageGroupArn"],
        Tags=[{"Key": "mlops-assets/champions", "Value": "all of them"}],
    )
    with pytest.raises(ArtifactError, match="mlops-assets/champions was edited"):
        platform.registry.champion("homes")


def test_a_candidate_pointed_at_another_version_is_not_taken_for_it(platform: Platform) -> None:
    first, second = register(platform), register(platform, content="second", champion=1)
    objects = RegistryObjects(platform.store)
    objects.write_version_of("homes", first.candidate_digest, second.version)
    assert platform.registry.find("homes", first.candidate_digest) is None


def test_a_lost_entry_of_a_candidate_is_written_again_and_makes_no_second_version(
    platform: Platform, console: Console
) -> None:
    first = register(platform)
    objects = RegistryObjects(platform.store)
    platform.store.delete(objects.entry("homes", first.candidate_digest))
    with pytest.raises(ConflictError, match="version 1 already"):
        register(platform, champion=1)
    assert register(platform) == first
    assert len(platform.registry.versions()) == 1


def test_the_champions_that_a_tag_holds_are_the_latest(platform: Platform) -> None:
    register(platform)
    registry = platform.registry
    assert isinstance(registry, SageMakerRegistry)
    with registry.lock("homes"):
        registry._crown("homes", 1, [*range(1000, 1100), 1])
    kept = registry._champions("homes")
    assert kept[-1] == 1
    assert kept[:-1] == list(range(1100 - len(kept[:-1]), 1100))
    assert len(kept) > 50
