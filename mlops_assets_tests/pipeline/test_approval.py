"""The approval sensor: asks once for each change of champion, and what a person stopped stays stopped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from mlops_assets.artifacts import Deployment, ModelVersion
from mlops_assets.declaration.loaded import LoadedDeclaration
from mlops_assets.pipeline.approval import _Seen, _waits, approval_sensor
from mlops_assets.platforms.local import endpoint_state
from mlops_assets.platforms.ports import Platform
from mlops_assets_tests.judged import registry_platform
from mlops_assets_tests.pipeline.bypass_graph import small
from mlops_assets_tests.platforms.contracts.registry import register

ENDPOINT = dg.AssetKey(["homes", "endpoint"])


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    return registry_platform(tmp_path)


@pytest.fixture
def loaded(tmp_path: Path) -> LoadedDeclaration:
    return small(tmp_path)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as made:
        yield made


def _tick(
    loaded: LoadedDeclaration, platform: Platform, instance: dg.DagsterInstance, cursor: str | None = None
) -> dg.SensorResult | dg.SkipReason:
    context = dg.build_sensor_context(instance=instance, cursor=cursor, resources={"platform": platform})
    return approval_sensor(loaded)(context)  # type: ignore[return-value]


def test_without_an_approved_version_there_is_nothing_to_deploy(
    platform: Platform, loaded: LoadedDeclaration, instance: dg.DagsterInstance
) -> None:
    register(platform, manual=True)
    result = _tick(loaded, platform, instance)
    assert isinstance(result, dg.SkipReason)
    assert result.skip_message == "homes has no approved version."


def test_an_approved_version_is_asked_for_once_and_again_after_the_champion_changed_back(
    platform: Platform, loaded: LoadedDeclaration, instance: dg.DagsterInstance
) -> None:
    register(platform, manual=True)
    platform.registry.approve("homes", 1, by="anna")
    keys, cursor = [], None

    def asked() -> list[str]:
        nonlocal cursor
        result = _tick(loaded, platform, instance, cursor)
        if isinstance(result, dg.SkipReason):
            assert "was asked for already" in str(result.skip_message)
            return []
        cursor = result.cursor
        requests = list(result.run_requests or [])
        assert [request.asset_selection for request in requests] == [[ENDPOINT]]
        keys.extend(str(request.run_key) for request in requests)
        return [request.tags["mlops/version"] for request in requests]

    assert asked() == ["1"]
    assert asked() == []
    register(platform, content="second", champion=1)
    assert asked() == ["2"]
    platform.registry.rollback("homes")
    assert asked() == ["1"]
    assert asked() == []
    assert len(set(keys)) == 3


@pytest.mark.parametrize("job", ["homes", "__ASSET_JOB"])
def test_while_a_run_that_deploys_is_under_way_it_waits(
    platform: Platform, loaded: LoadedDeclaration, instance: dg.DagsterInstance, job: str
) -> None:
    register(platform)

    @dg.asset(key=ENDPOINT)
    def endpoint() -> None: ...

    definition = dg.Definitions(assets=[endpoint], jobs=[dg.define_asset_job("homes")]).resolve_job_def(job)
    run = instance.create_run_for_job(
        definition, status=dg.DagsterRunStatus.STARTED, asset_selection={ENDPOINT}
    )
    result = _tick(loaded, platform, instance)
    assert isinstance(result, dg.SkipReason)
    assert result.skip_message == "A run that deploys is under way."
    instance.report_run_failed(run)
    result = _tick(loaded, platform, instance)
    assert isinstance(result, dg.SensorResult)
    assert len(result.run_requests or []) == 1


def test_nothing_is_asked_for_while_a_person_wants_it_stopped_and_everything_after_the_restart(
    platform: Platform, loaded: LoadedDeclaration, instance: dg.DagsterInstance
) -> None:
    register(platform)
    asked = _tick(loaded, platform, instance)
    assert isinstance(asked, dg.SensorResult) and asked.run_requests
    platform.endpoint.stop("homes", by="anna")  # before the run that was asked for deployed anything
    held = _tick(loaded, platform, instance, asked.cursor)
    assert isinstance(held, dg.SensorResult) and not held.run_requests
    assert held.skip_reason is not None
    assert "Stopped by anna" in str(held.skip_reason.skip_message)
    _restarted(platform)
    after = _tick(loaded, platform, instance, held.cursor)
    assert isinstance(after, dg.SensorResult)
    assert len(after.run_requests or []) == 1


def _restarted(platform: Platform) -> None:
    """What a restart leaves in the state, without a server: nothing was ever deployed here."""
    folder = platform.settings.root / "endpoints" / "homes"
    state = endpoint_state.load(folder, "homes", "127.0.0.1")
    endpoint_state.save(folder, state.model_copy(update={"stopped_by": None}))


def test_a_cursor_of_another_version_starts_anew(
    platform: Platform, loaded: LoadedDeclaration, instance: dg.DagsterInstance
) -> None:
    register(platform)
    result = _tick(loaded, platform, instance, "not JSON")
    assert isinstance(result, dg.SensorResult)
    assert len(result.run_requests or []) == 1


@pytest.mark.parametrize(
    ("seen", "deployed", "status", "reason"),
    [
        (_Seen(champion=2, deployed=2), None, "stopped", "was stopped"),
        (_Seen(champion=2, deployed=1), 1, "serving", "was asked for already"),
        (_Seen(champion=1, deployed=1), 1, "stopped", None),
        (_Seen(champion=2, deployed=2), 1, "serving", None),
        (_Seen(), None, "stopped", None),
    ],
)
def test_a_server_stopped_by_a_person_stays_stopped_until_the_next_champion(
    platform: Platform, seen: _Seen, deployed: int | None, status: str, reason: str | None
) -> None:
    first = register(platform)
    champion: ModelVersion = first.model_copy(update={"version": 2})
    deployment = Deployment.model_validate({"model": "homes", "version": deployed, "status": status})
    said = _waits(seen, champion, deployment)
    assert said is None if reason is None else reason in str(said)
