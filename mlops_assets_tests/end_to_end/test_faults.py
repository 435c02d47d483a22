"""Killed in every stage, cancelled, tampered with, out of space: the next run comes to the same end."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest

from mlops_assets.artifacts import ArtifactUri, digest_file
from mlops_assets_tests.commands import PROGRAM, Deployment
from mlops_assets_tests.end_to_end.small import Run, declare, declare_waiting, deliver, run, unfinished
from mlops_assets_tests.end_to_end.watching import processes_below, until
from mlops_assets_tests.factories import csv_text, home_rows

pytestmark = pytest.mark.slow

STAGES = ("arrivals", "home_features", "dataset", "candidate", "evaluation", "registered_model", "endpoint")
SERVED = {"enabled": True, "smoke_rows": 3}


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    deployment = Deployment(tmp_path)
    yield deployment
    deployment.command("endpoints", "stop", "homes")
    assert processes_below(deployment.folder) == []


def test_killed_in_every_stage_the_model_comes_to_the_same_end(
    deployment: Deployment, tmp_path_factory: pytest.TempPathFactory
) -> None:
    untouched = Deployment(tmp_path_factory.mktemp("untouched"))
    for place in (untouched, deployment):
        declare(place, endpoint=SERVED)
        deliver(place)
    try:
        reference = run(untouched)
        assert reference.status == 0, reference.stderr
        seen = _state(untouched, reference)
    finally:
        untouched.command("endpoints", "stop", "homes")

    for stage in STAGES:
        # Half of the time that the stage took: somewhere within its work.
        _kill_within(deployment, stage, reference.seconds[stage] / 2)
        assert unfinished(deployment) == []
        until(lambda: processes_below(deployment.folder, "--watch-stdin") == [])
    last = run(deployment)
    assert last.status == 0, last.stderr
    assert _state(deployment, last) == seen
    assert unfinished(deployment) == []
    assert [item["status"] for item in deployment.json("endpoints")] == ["serving"]


def test_a_training_ends_with_its_orchestrator_and_is_done_again(deployment: Deployment) -> None:
    declare_waiting(deployment)
    deliver(deployment)
    trainer = _end_while_training(deployment, signal.SIGKILL)
    until(lambda: not psutil.pid_exists(trainer))
    assert deployment.json("models") == []
    (deployment.folder / "go").touch()
    again = run(deployment)
    assert (again.status, again.report["version"]) == (0, 1), again.stderr
    assert {"home_features", "dataset"} <= set(again.report["skipped"])
    assert list((deployment.root / "jobs").iterdir()) == []
    assert unfinished(deployment) == []


def test_ctrl_c_ends_the_training_and_the_next_run_goes_on(deployment: Deployment) -> None:
    declare_waiting(deployment)
    deliver(deployment)
    trainer = _end_while_training(deployment, signal.SIGINT)
    assert not psutil.pid_exists(trainer)
    assert list((deployment.root / "jobs").iterdir()) == []
    (deployment.folder / "go").touch()
    again = run(deployment)
    assert (again.status, again.report["version"]) == (0, 1), again.stderr


def test_a_changed_model_file_is_neither_used_nor_served_nor_registered(
    deployment: Deployment,
) -> None:
    declare(deployment, endpoint=SERVED)
    deliver(deployment)
    first = run(deployment)
    assert first.status == 0, first.stderr
    rows = deployment.folder / "rows.parquet"
    rows.write_bytes(_local(first, "dataset", "test/data.parquet").read_bytes())
    deployment.command("endpoints", "stop", "homes")
    model = _local(first, "candidate", "model.skops")
    original = model.read_bytes()
    model.write_bytes(original + b"\0")

    scored = deployment.folder / "scored.csv"
    predicted = deployment.command("predict", "homes", "--data", str(rows), "--out", str(scored))
    restarted = deployment.command("endpoints", "restart", "homes")
    for refused in (predicted, restarted):
        assert refused.returncode == 1, refused.stdout
        assert "model.skops" in refused.stderr
        assert "Traceback" not in refused.stderr
    assert not scored.exists()
    assert [item["status"] for item in deployment.json("endpoints")] != ["serving"]

    model.write_bytes(original)
    done = deployment.json("predict", "homes", "--data", str(rows), "--out", str(scored))
    assert done["rows"] == len(pd.read_csv(scored))

    # A candidate that passed its gates, and whose file was changed before it was registered.
    declare(deployment, endpoint={"enabled": False}, parameters={"max_depth": 8})
    judged = run(deployment, "--upto", "evaluation")
    assert judged.status == 0, judged.stderr
    second = _local(judged, "candidate", "model.skops")
    second.write_bytes(second.read_bytes() + b"\0")
    refused_run = run(deployment)
    assert refused_run.status == 1, refused_run.stderr
    assert "model.skops" in refused_run.report["error"]
    assert [item["version"] for item in deployment.json("models")] == [1]


def test_a_full_disk_is_named_and_the_next_run_goes_on(deployment: Deployment) -> None:
    """No file may grow beyond a megabyte: to a program that writes, a disk that is full."""
    declare(deployment, endpoint={"enabled": False})
    deliver(deployment, text=csv_text(home_rows(20_000)))
    begun = time.monotonic()
    full = subprocess.run(
        [*PROGRAM, "run", "homes", "--json"],
        cwd=deployment.folder,
        env=deployment.environment(),
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20)),
    )
    assert full.returncode == 1, full.stdout + full.stderr
    assert time.monotonic() - begun < 55, "it waited for a disk to empty itself"
    assert "Traceback" not in full.stderr
    said = (json.loads(full.stdout)["error"] if full.stdout else full.stderr).lower()
    assert any(word in said for word in ("file too large", "no space", "disk")), said
    assert unfinished(deployment) == []
    again = run(deployment)
    assert (again.status, again.report["version"]) == (0, 1), again.stderr
    assert again.report["rows"]["loaded"] == 20_000


# --- what was left behind ---------------------------------------------------------------------------------


def _state(deployment: Deployment, last: Run) -> dict[str, Any]:
    """Everything that people see of a model, wherever its root lies."""
    report, root = last.report, str(deployment.root)
    versions = deployment.json("models")
    kept = ("version", "approval", "aliases", "metrics")
    return {
        "rows": {name: count for name, count in report["rows"].items() if name != "new"},
        "dataset": report["dataset"],
        "metrics": report["metrics"],
        "uris": {k: v.replace(root, "") for k, v in report["uris"].items() if k != "endpoint"},
        "versions": [{name: version[name] for name in kept if name in version} for version in versions],
        "model": digest_file(_local(last, "candidate", "model.skops")),
    }


def _local(done: Run, kind: str, name: str) -> Path:
    return Path(str(ArtifactUri(done.report["uris"][kind]).join(name)).removeprefix("file://"))


# --- ending a run from outside ----------------------------------------------------------------------------


@contextmanager
def started(deployment: Deployment, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """A `run homes` that goes on in the background, and the lines that it has printed so far."""
    process = subprocess.Popen(
        [*PROGRAM, "run", "homes", *arguments],
        cwd=deployment.folder,
        env=deployment.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines: list[str] = []
    assert process.stdout is not None
    reader = threading.Thread(target=lines.extend, args=(process.stdout,), daemon=True)
    reader.start()
    try:
        yield process, lines
    finally:
        process.kill()
        process.wait()
        reader.join(10)


def _kill_within(deployment: Deployment, stage: str, seconds: float) -> None:
    """SIGKILL the run `seconds` after `stage` began."""
    begins = f'Started execution of step "homes__{stage}"'
    with started(deployment, "--verbose") as (process, lines):
        until(lambda: any(begins in line for line in list(lines)) or process.poll() is not None)
        assert process.poll() is None, "".join(lines)
        with suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
        process.send_signal(signal.SIGKILL)
        assert process.wait(30) == -signal.SIGKILL, "".join(lines)


def _end_while_training(deployment: Deployment, number: signal.Signals) -> int:
    """Send a signal to the run while its training waits; the training's process id."""
    marker = deployment.folder / "training"
    with started(deployment) as (process, lines):
        until(lambda: (marker.exists() and marker.read_text()) or process.poll() is not None)
        assert process.poll() is None, "".join(lines)
        process.send_signal(number)
        status = process.wait(60)
        assert status == (130 if number == signal.SIGINT else -number), "".join(lines)
    return int(marker.read_text())
