"""What goes wrong between us and SageMaker's registry: throttling, lost answers, deaths, two at once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mlops_assets.errors import ConflictError, SettingsError
from mlops_assets.platforms import lease, model_locks
from mlops_assets.platforms.aws.settings import current_aws_settings
from mlops_assets.platforms.binding import build_platform
from mlops_assets.platforms.ports import Platform
from mlops_assets.settings import Settings
from mlops_assets_tests.platforms.aws.sagemaker_console import Console
from mlops_assets_tests.platforms.contracts.registry import register
from mlops_assets_tests.standins.aws.faults import Fault
from mlops_assets_tests.standins.aws.fixtures import Aws

ACTOR = [sys.executable, "-m", "mlops_assets_tests.platforms.aws.registry_actor"]
CHECKOUT = Path(__file__).parents[3]


@pytest.fixture
def platform(aws: Aws, tmp_path: Path) -> Platform:
    """An AWS platform of its own, with nothing registered."""
    current_aws_settings.cache_clear()
    return build_platform(Settings(root=tmp_path / "mlops", platform="aws"))


def environment(aws: Aws, root: Path, kill_at: int = 0) -> dict[str, str]:
    own = {"PYTHONPATH": str(CHECKOUT), "MLOPS_ROOT": str(root), "KILL_AT": str(kill_at)}
    return {**os.environ, **aws.environment, **own}


def act(aws: Aws, platform: Platform, *arguments: str, kill_at: int = 0) -> subprocess.CompletedProcess[str]:
    """Let another process of this machine do something with the registry."""
    return subprocess.run(
        [*ACTOR, *arguments],
        env=environment(aws, platform.settings.root, kill_at),
        capture_output=True,
        text=True,
        check=False,
    )


def packages(aws: Aws, platform: Platform) -> int:
    """How many versions SageMaker has, those that nobody committed included."""
    console = Console(aws, platform)
    listed = console.client.list_model_packages(ModelPackageGroupName=console.group, MaxResults=100)
    return len(listed["ModelPackageSummaryList"])


def test_throttled_calls_are_tried_again(aws: Aws, platform: Platform) -> None:
    aws.server.faults.add(Fault("sagemaker:.*", 400, "ThrottlingException", 4))
    aws.server.faults.add(Fault("s3:PUT", 503, "SlowDown", 2))
    assert register(platform).aliases == ("champion",)
    assert packages(aws, platform) == 1


@pytest.mark.parametrize(
    "call", ["CreateModelPackageGroup", "CreateModelPackage", "UpdateModelPackage", "AddTags"]
)
def test_a_call_whose_answer_was_lost_is_done_once(aws: Aws, platform: Platform, call: str) -> None:
    aws.server.faults.add(Fault(f"sagemaker:{call}", 500, "InternalFailure", 2, afterwards=True))
    assert register(platform).version == 1
    assert packages(aws, platform) == 1
    assert [item.version for item in platform.registry.versions()] == [1]


@pytest.mark.parametrize("call", ["CreateModelPackage", "UpdateModelPackage", "AddTags"])
def test_a_call_that_is_denied_leaves_nothing_to_see_and_is_completed_later(
    aws: Aws, platform: Platform, call: str
) -> None:
    aws.server.faults.add(Fault(f"sagemaker:{call}", 400, "AccessDeniedException"))
    with pytest.raises(SettingsError, match=f"AWS denies {call}"):
        register(platform)
    assert list(platform.registry.versions()) == []
    assert platform.registry.champion("homes") is None
    assert register(platform).aliases == ("champion",)
    assert packages(aws, platform) == 1


def test_an_unfinished_version_taken_up_later_carries_the_later_decision(
    aws: Aws, platform: Platform
) -> None:
    first = register(platform, content="first", manual=True)
    aws.server.faults.add(Fault("sagemaker:AddTags", 400, "AccessDeniedException"))
    with pytest.raises(SettingsError):
        register(platform, content="second")
    platform.registry.approve("homes", first.version, by="anna")
    taken = register(platform, content="second", champion=1)
    assert (taken.version, taken.aliases) == (2, ("champion",))
    assert packages(aws, platform) == 2


def test_of_two_processes_that_promote_at_once_one_is_refused(aws: Aws, platform: Platform) -> None:
    platform.settings.seal_key()
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda content: act(aws, platform, "register", content), ["one", "other"]))
    outcomes = sorted(item.stdout.strip() for item in done)
    assert outcomes[0] == "1", [item.stderr for item in done]
    assert "the champion is now 1" in outcomes[1]
    assert packages(aws, platform) == 1


def test_of_two_machines_that_promote_at_once_one_is_refused(
    aws: Aws, platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLOPS_GATE_KEY", "k" * 64)
    roots = [tmp_path / "one", tmp_path / "other"]  # nothing is shared but the bucket and the registry

    def promote(root: Path) -> subprocess.CompletedProcess[str]:
        command = [*ACTOR, "register", root.name]
        return subprocess.run(
            command, env=environment(aws, root), capture_output=True, text=True, check=False
        )

    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(promote, roots))
    outcomes = sorted(item.stdout.strip() for item in done)
    assert outcomes[0] == "1", [item.stderr for item in done]
    assert "the champion is now 1" in outcomes[1]
    assert packages(aws, platform) == 1


def test_a_process_killed_while_it_holds_the_model_gives_it_back_at_once(
    aws: Aws, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_locks, "PATIENCE", 5.0)  # less than a lease lives without a beat
    platform.settings.seal_key()
    assert act(aws, platform, "register", "first", kill_at=6).returncode == -signal.SIGKILL
    assert register(platform).version == 1
    assert packages(aws, platform) == 1


def test_the_model_of_another_machine_that_died_is_free_once_it_shows_no_life(
    aws: Aws, platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder = subprocess.Popen(
        [*ACTOR, "hold"], env=environment(aws, tmp_path / "elsewhere"), stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        monkeypatch.setattr(model_locks, "PATIENCE", 1.0)
        with pytest.raises(ConflictError, match="held this lease for 1 s"):
            register(platform)
    finally:
        holder.kill()
        holder.wait()
        if holder.stdout is not None:
            holder.stdout.close()
    monkeypatch.setattr(lease, "SECONDS", 1.0)
    monkeypatch.setattr(model_locks, "PATIENCE", 20.0)
    assert register(platform).version == 1


def test_a_holder_that_was_silent_for_too_long_writes_nothing(
    aws: Aws, platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLOPS_GATE_KEY", "k" * 64)
    one, other = (
        build_platform(Settings(root=tmp_path / name, platform="aws")) for name in ("paused", "awake")
    )
    register(one)
    with monkeypatch.context() as patch:
        patch.setattr(lease, "SECONDS", 600.0)  # its heart does not beat while it is paused
        with pytest.raises(ConflictError, match="another took its lease over"), one.registry.lock("homes"):
            patch.setattr(lease, "SECONDS", 0.5)
            assert register(other, content="second", champion=1).version == 2
            one.registry.set_champion("homes", 1, expected=2)
    assert other.registry.champion("homes").version == 2  # type: ignore[union-attr]


@pytest.mark.slow
@pytest.mark.parametrize(("action", "writes"), [("register", 17), ("approve", 7), ("rollback", 7)])
def test_killed_after_any_write_and_done_again_the_state_is_the_same(
    aws: Aws, platform: Platform, action: str, writes: int
) -> None:
    done = act(aws, platform, "crash", action)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["wrong"] == []
    assert told["kills"] >= writes  # and what a slow lease beats meanwhile
