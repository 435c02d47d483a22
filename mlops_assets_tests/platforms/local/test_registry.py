"""The local registry: MLflow's file, read without MLflow; crashes, tampering and other processes survived."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from mlops_assets.artifacts import ArtifactUri
from mlops_assets.errors import ArtifactError, GateRefusedError
from mlops_assets.platforms.local import build_platform
from mlops_assets.platforms.local.registry import MlflowRegistry
from mlops_assets.platforms.ports import Platform
from mlops_assets.settings import Settings
from mlops_assets_tests.judged import registry_platform
from mlops_assets_tests.platforms.contracts.registry import RegistryContract, register

ACTOR = "mlops_assets_tests.platforms.local.registry_actor"
CHECKOUT = Path(__file__).parents[3]


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    """A local platform whose registry file is there and empty."""
    return registry_platform(tmp_path)


class TestMlflowRegistry(RegistryContract):
    @pytest.fixture
    def platform(self, tmp_path: Path) -> Platform:
        return registry_platform(tmp_path)


def _client(platform: Platform) -> Any:
    """MLflow's own client, as `mlflow ui` uses it."""
    from mlflow import MlflowClient

    registry = platform.registry
    assert isinstance(registry, MlflowRegistry)
    return MlflowClient(registry.tracking_uri, registry.tracking_uri)


def _act(
    platform: Platform, *arguments: str, kill_at: int | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Let another process do something with the registry, killed after its `kill_at`th write."""
    return subprocess.run(
        [sys.executable, "-m", ACTOR, *arguments],
        env={
            **os.environ,
            "PYTHONPATH": str(CHECKOUT),
            "MLOPS_ROOT": str(platform.settings.root),
            "KILL_AT": str(kill_at or 0),
        },
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


def test_what_mlflow_shows_is_what_we_read(platform: Platform) -> None:
    version = register(platform)
    client = _client(platform)
    shown = client.get_model_version_by_alias("homes", "champion")
    assert int(shown.version) == version.version
    assert shown.source == version.uri
    run = client.get_run(shown.run_id)
    assert run.data.metrics == {"rmse": 5.0, "r2": 0.9, "validation_rmse": 4.5, "baseline_rmse": 20.0}
    assert run.data.params == {"max_depth": "6", "criterion": "squared_error"}
    assert run.info.status == "FINISHED"
    tags = {
        "mlops.candidate": version.candidate_digest,
        "mlops.decision": version.decision_digest,
        "mlops.dataset_version": version.dataset_version,
        "dagster.run_id": "run-1",
        "git.commit": "c0ffee",
    }
    assert tags.items() <= shown.tags.items()
    assert tags.items() <= run.data.tags.items()
    assert json.loads(shown.tags["signature"])["target"] == {"name": "price"}


def test_an_approval_keeps_who_why_and_when(platform: Platform) -> None:
    register(platform, manual=True)
    platform.registry.approve("homes", 1, by="anna", reason="looks right")
    register(platform, content="second", champion=1)
    platform.registry.rollback("homes", by="ben", reason="complaints")
    client = _client(platform)
    events = [json.loads(client.get_model_version("homes", n).tags["mlops.approval"])["events"] for n in "12"]
    assert [(item["event"], item["by"], item["reason"]) for item in events[0][1:]] == [
        ("approved", "anna", "looks right")
    ]
    assert [(item["event"], item["by"], item["reason"]) for item in events[1][1:]] == [
        ("rolled back to 1", "ben", "complaints")
    ]
    assert all(item["at"] for version in events for item in version)


def test_reading_and_refusing_need_no_mlflow(platform: Platform) -> None:
    register(platform)
    done = _act(platform, "read")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"champion": 1, "again": 1, "refused": True, "mlflow": False}


def test_a_version_made_by_hand_in_mlflow_is_no_version(platform: Platform) -> None:
    register(platform)
    client = _client(platform)
    client.create_model_version("homes", source="file:///elsewhere", await_creation_for=0)
    client.set_registered_model_alias("homes", "champion", "2")
    assert [item.version for item in platform.registry.versions("homes")] == [1]
    assert platform.registry.champion("homes").version == 1  # type: ignore[union-attr]


def test_an_alias_moved_by_hand_to_an_approved_version_counts(platform: Platform) -> None:
    register(platform)
    register(platform, content="second", champion=1)
    _client(platform).set_registered_model_alias("homes", "champion", "1")
    assert platform.registry.champion("homes").version == 1  # type: ignore[union-attr]


def test_an_alias_moved_by_hand_to_a_waiting_version_does_not_count(platform: Platform) -> None:
    register(platform)
    register(platform, content="second", champion=1, manual=True)
    _client(platform).set_registered_model_alias("homes", "champion", "2")
    assert platform.registry.champion("homes").version == 1  # type: ignore[union-attr]


def test_a_version_deleted_in_mlflow_is_gone_and_its_number_is_not_used_again(platform: Platform) -> None:
    register(platform)
    _client(platform).delete_model_version("homes", "1")
    assert platform.registry.champion("homes") is None
    assert register(platform).version == 2


@pytest.mark.parametrize(
    ("tag", "edit"),
    [
        ("mlops.approval", lambda text: text.replace("pending", "approved")),
        ("mlops.approval", lambda text: "approved"),
        ("mlops.approval", lambda text: "[]"),
        ("mlops.record", lambda text: text.replace("model.skops", "other.skops")),
        ("mlops.record", lambda text: "{}"),
    ],
)
def test_a_record_edited_by_hand_is_refused_and_never_champion(
    platform: Platform, tag: str, edit: Any
) -> None:
    waiting = register(platform, manual=True)
    client = _client(platform)
    text = client.get_model_version("homes", "1").tags[tag]
    client.set_model_version_tag("homes", "1", tag, edit(text))
    client.set_registered_model_alias("homes", "champion", "1")
    assert list(platform.registry.versions("homes")) == []
    for look in (
        lambda: platform.registry.champion("homes"),
        lambda: platform.registry.get("homes", 1),
        lambda: platform.registry.find("homes", waiting.candidate_digest),
        lambda: platform.registry.approve("homes", 1, by="anna"),
    ):
        with pytest.raises(ArtifactError, match="record was edited"):
            look()


def test_another_gate_key_finds_nothing_to_trust(platform: Platform) -> None:
    register(platform)
    other = build_platform(platform.settings.model_copy(update={"gate_key": _secret("x" * 64)}))
    with pytest.raises(ArtifactError, match="another gate key"):
        other.registry.champion("homes")


def _secret(text: str) -> Any:
    from pydantic import SecretStr

    return SecretStr(text)


def test_a_registry_file_that_is_none_is_named(tmp_path: Path) -> None:
    root = tmp_path / "mlops"
    root.mkdir()
    (root / "mlflow.db").write_bytes(b"not a database" * 100)
    with pytest.raises(ArtifactError, match=r"mlflow\.db"):
        build_platform(Settings(root=root)).registry.champion("homes")


def test_tables_that_are_not_mlflows_are_not_taken_for_an_empty_registry(tmp_path: Path) -> None:
    root = tmp_path / "mlops"
    root.mkdir()
    with closing(sqlite3.connect(root / "mlflow.db")) as connection:
        connection.execute("CREATE TABLE other (name TEXT)")
    with pytest.raises(ArtifactError, match="cannot be read"):
        build_platform(Settings(root=root)).registry.champion("homes")


def test_two_processes_make_the_file_and_register_one_candidate_once(tmp_path: Path) -> None:
    platform = build_platform(Settings(root=tmp_path / "mlops"))
    platform.settings.seal_key()
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda _: _act(platform, "register", "first"), range(2)))
    assert [item.stdout.strip() for item in done] == ["1", "1"], [item.stderr for item in done]
    assert len(platform.registry.versions()) == 1
    assert not list(platform.settings.root.glob("*.new"))


def test_of_two_processes_that_promote_at_once_one_is_refused(platform: Platform) -> None:
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda content: _act(platform, "register", content), ["one", "other"]))
    outcomes = sorted(item.stdout.strip() for item in done)
    assert outcomes[0] == "1", [item.stderr for item in done]
    assert "the champion is now 1" in outcomes[1]
    assert _counts(platform)["model_versions"] == 1


def test_a_process_killed_while_it_holds_the_lock_gives_it_back(platform: Platform) -> None:
    assert _act(platform, "register", "first", kill_at=3).returncode == -9
    assert register(platform).version == 1


def _counts(platform: Platform) -> dict[str, int]:
    tables = ("model_versions", "registered_model_aliases", "runs", "experiments", "registered_models")
    with closing(sqlite3.connect(platform.settings.root / "mlflow.db")) as connection:
        return {name: connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in tables}


@pytest.mark.slow
@pytest.mark.parametrize(("action", "writes"), [("register", 9), ("approve", 3), ("rollback", 3)])
def test_killed_after_any_write_and_done_again_the_state_is_the_same(
    platform: Platform, action: str, writes: int, tmp_path: Path
) -> None:
    register(platform)
    if action != "register":
        register(platform, content="second", champion=1, manual=action == "approve")
    kept = tmp_path / "kept"
    shutil.copytree(platform.settings.root, kept)
    done = _act(platform, "crash", action, str(kept))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"kills": writes, "wrong": []}


def test_registering_writes_nothing_outside_the_root(platform: Platform, tmp_path: Path) -> None:
    cwd = tmp_path / "elsewhere"
    cwd.mkdir()
    assert _act(platform, "register", "first", cwd=cwd).stdout.strip() == "1"
    assert list(cwd.iterdir()) == []


WARM = """
import sys, threading
from mlops_assets.platforms.local import build_platform
from mlops_assets.settings import Settings
registry = build_platform(Settings(root=sys.argv[1])).registry
registry.warm()
for thread in threading.enumerate():
    if thread.name == "mlflow-warm":
        thread.join()
print("mlflow.tracking" in sys.modules)
"""


def test_warming_imports_mlflow_in_the_background_and_makes_nothing(tmp_path: Path) -> None:
    root = tmp_path / "mlops"
    done = subprocess.run([sys.executable, "-c", WARM, str(root)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"
    assert not (root / "mlflow.db").exists()


IMPORTS = """
import sys, threading
from mlops_assets.platforms.local import build_platform
from mlops_assets.settings import Settings
registry = build_platform(Settings(root=sys.argv[1])).registry
seen = []
class Watch:
    def find_spec(name, path, target=None):
        seen.append((name, threading.current_thread().name))
sys.meta_path.insert(0, Watch)
registry.warm()
with registry.opening():
    pass
mappers = {thread for name, thread in seen if name.startswith("sqlalchemy.orm")}
order = [thread for name, thread in seen if name.split(".")[0] in ("mlflow", "sqlalchemy", "alembic")]
threads = [thread for at, thread in enumerate(order) if at == 0 or order[at - 1] != thread]
print(mappers, threads)
"""


def test_no_two_threads_import_the_same_packages_at_once(tmp_path: Path) -> None:
    """Half imported, SQLAlchemy's mappers answer what Dagster's storage asks with an AttributeError."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "{'MainThread'} ['MainThread', 'mlflow-warm', 'mlflow-open']"


def test_a_registry_that_was_warmed_registers(tmp_path: Path) -> None:
    platform = build_platform(Settings(root=tmp_path / "mlops"))
    platform.registry.warm()
    assert register(platform).version == 1


def test_the_file_is_made_whole_while_something_else_is_waited_for(tmp_path: Path) -> None:
    platform = build_platform(Settings(root=tmp_path / "mlops"))
    file = tmp_path / "mlops" / "mlflow.db"
    with pytest.raises(ValueError, match="the job failed"), platform.registry.opening():
        raise ValueError("the job failed")
    assert file.exists()
    made = file.stat().st_ino
    assert register(platform).version == 1
    assert file.stat().st_ino == made


@pytest.fixture(autouse=True)
def _no_threads_left(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    import threading

    assert not [item for item in threading.enumerate() if item.name.startswith("mlflow-")]


def test_the_console_is_a_command_that_names_the_file(platform: Platform) -> None:
    assert platform.registry.console("homes").startswith(
        f"mlflow ui --backend-store-uri sqlite:///{platform.settings.root / 'mlflow.db'}"
    )


def test_an_edited_list_of_champions_is_named(platform: Platform) -> None:
    register(platform)
    _client(platform).set_registered_model_tag("homes", "mlops.champions", "all of them")
    with pytest.raises(ArtifactError, match=r"mlops\.champions was edited"):
        platform.registry.champion("homes")


def test_an_unfinished_version_taken_up_later_carries_the_later_decision(platform: Platform) -> None:
    assert _act(platform, "register", "second", kill_at=8).returncode == -9
    assert _counts(platform)["model_versions"] == 1
    assert list(platform.registry.versions()) == []
    register(platform, content="first")
    with pytest.raises(GateRefusedError, match="the champion is now"):
        register(platform, content="second")
    taken = register(platform, content="second", champion=platform.registry.champion("homes").version)  # type: ignore[union-attr]
    assert taken.aliases == ("champion",)
    assert isinstance(taken.uri, ArtifactUri)
    assert len(platform.registry.versions()) == 2
