"""The local trainer: the contract, and what only processes on one machine can show."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from threading import Thread

import dagster as dg
import pytest

from mlops_assets.errors import JobFailedError
from mlops_assets.platforms.local.object_store import LocalObjectStore
from mlops_assets.platforms.local.trainer import SubprocessTrainer
from mlops_assets.runtime.job_environment import job_environment, redacted
from mlops_assets.settings import Settings
from mlops_assets_tests.platforms.contracts.trainer import TrainerContract, train_request, write_splits
from mlops_assets_tests.waiting import eventually, gone

WAITS = """
import os, pathlib, threading
pathlib.Path({marker!r}).write_text(str(os.getpid()))
threading.Event().wait()
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(root=tmp_path / "mlops")  # type: ignore[call-arg]


@pytest.fixture
def store(settings: Settings) -> LocalObjectStore:
    return LocalObjectStore(settings)


@pytest.fixture
def trainer(settings: Settings, store: LocalObjectStore) -> SubprocessTrainer:
    return SubprocessTrainer(settings, store)


class TestSubprocessTrainer(TrainerContract):
    """The contract on this machine."""


def test_work_folders_are_removed_whether_a_job_succeeds_or_fails(
    settings: Settings, store: LocalObjectStore, trainer: SubprocessTrainer, tmp_path: Path
) -> None:
    dataset = write_splits(store, tmp_path)
    trainer.run(None, train_request(store, dataset))
    with pytest.raises(JobFailedError):
        trainer.run(None, train_request(store, dataset, parameters={"nonsense": 1}))
    assert list((settings.root / "jobs").iterdir()) == []


@pytest.mark.parametrize("restarts", [False, True], ids=["", "system calls restart"])
def test_an_interrupted_run_ends_the_job_and_its_children(
    store: LocalObjectStore, trainer: SubprocessTrainer, tmp_path: Path, restarts: bool
) -> None:
    marker = tmp_path / "pids"
    program = (
        "import subprocess, sys, os, pathlib, threading\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"aside = pathlib.Path({str(marker)!r} + '.part')\n"
        "aside.write_text(f'{os.getpid()} {child.pid}')\n"
        f"aside.rename({str(marker)!r})\n"
        "threading.Event().wait()\n"
    )
    request = train_request(
        store, write_splits(store, tmp_path), code={"train.py": program}, estimator=None, program="train.py"
    )

    def interrupt() -> None:
        eventually(marker.exists)
        os.kill(os.getpid(), signal.SIGINT)

    interrupter = Thread(target=interrupt)
    # As libraries leave it that install a handler of their own (polars does when it is imported).
    signal.siginterrupt(signal.SIGINT, not restarts)
    try:
        interrupter.start()
        with pytest.raises(KeyboardInterrupt):
            trainer.run(None, request)
    finally:
        signal.siginterrupt(signal.SIGINT, True)
    interrupter.join()
    for pid in map(int, marker.read_text().split()):
        eventually(lambda pid=pid: gone(pid))
    assert store.published(request.output) is None


def test_a_job_ends_when_its_orchestrator_is_killed_and_the_next_job_cleans_up(
    settings: Settings, store: LocalObjectStore, trainer: SubprocessTrainer, tmp_path: Path
) -> None:
    dataset = write_splits(store, tmp_path)
    marker = tmp_path / "pid"
    program = WAITS.format(marker=str(marker))
    script = f"""
from pathlib import Path
from mlops_assets.settings import Settings
from mlops_assets.platforms.local.object_store import LocalObjectStore
from mlops_assets.platforms.local.trainer import SubprocessTrainer
from mlops_assets.artifacts import ArtifactUri
from mlops_assets_tests.platforms.contracts.trainer import train_request
settings = Settings(root=Path({str(settings.root)!r}))
store = LocalObjectStore(settings)
request = train_request(store, ArtifactUri({str(dataset)!r}), code={{"train.py": {program!r}}},
                        estimator=None, program="train.py")
SubprocessTrainer(settings, store).run(None, request)
"""
    orchestrator = subprocess.Popen([sys.executable, "-c", script], cwd=Path(__file__).parents[3])
    try:
        eventually(lambda: marker.exists() and marker.read_text() != "")
        orchestrator.kill()
        orchestrator.wait()
        eventually(lambda: gone(int(marker.read_text())))
    finally:
        orchestrator.kill()
    assert len([path for path in (settings.root / "jobs").iterdir() if path.is_dir()]) == 1
    trainer.run(None, train_request(store, dataset))
    assert list((settings.root / "jobs").iterdir()) == []


def test_logs_and_metrics_reach_dagster_while_the_job_runs(
    store: LocalObjectStore, trainer: SubprocessTrainer, tmp_path: Path
) -> None:
    request = train_request(store, write_splits(store, tmp_path))
    seen: dict[str, object] = {}

    @dg.asset
    def candidate(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        seen.update(trainer.run(context, request).metadata)
        return dg.MaterializeResult()

    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([candidate], instance=instance)
        logged = [record.user_message for record in instance.all_logs(result.run_id)]
    assert any("300 rows to train on" in message for message in logged)
    assert seen["validation"]["r2"] > 0.8  # type: ignore[index]


def test_a_trainer_reports_from_an_asset_check_too(
    store: LocalObjectStore, trainer: SubprocessTrainer, tmp_path: Path
) -> None:
    request = train_request(store, write_splits(store, tmp_path))

    @dg.asset
    def model() -> None: ...

    @dg.asset_check(asset=model)
    def gate(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=bool(trainer.run(context, request).files))

    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([model, gate], instance=instance)
        logged = [record.user_message for record in instance.all_logs(result.run_id)]
    assert result.get_asset_check_evaluations()[0].passed
    assert any("300 rows to train on" in message for message in logged)


def test_no_secret_reaches_the_job_or_its_error(
    store: LocalObjectStore, trainer: SubprocessTrainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLOPS_ENDPOINT_TOKEN", "correct-horse-battery")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "staple-staple-staple")
    assert not {"MLOPS_ENDPOINT_TOKEN", "AWS_SECRET_ACCESS_KEY"} & job_environment(tmp_path).keys()
    program = (
        "import os, sys\n"
        "print('secrets:', [n for n in os.environ if 'TOKEN' in n or 'SECRET' in n], file=sys.stderr)\n"
        "print('leak: correct-horse-battery postgresql://me:hunter22@host/db', file=sys.stderr, flush=True)\n"
        "os._exit(3)\n"
    )
    request = train_request(
        store, write_splits(store, tmp_path), code={"train.py": program}, estimator=None, program="train.py"
    )
    with pytest.raises(JobFailedError) as caught:
        trainer.run(None, request)
    assert "secrets: []" in str(caught.value)
    assert "correct-horse" not in str(caught.value)
    assert "hunter22" not in str(caught.value)


def test_redaction_leaves_short_values_and_plain_text_alone() -> None:
    assert redacted("key is a", {"API_KEY": "a"}) == "key is a"
    assert redacted("x sesame-open y", {"API_KEY": "sesame-open"}) == "x *** y"
