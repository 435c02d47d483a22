"""Runs from the command line, end to end: registered, refused, failed, interrupted, and what follows."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from filelock import FileLock

from mlops_assets_tests.commands import PROGRAM, Deployment, stray_lines
from mlops_assets_tests.factories import csv_text, declaration, home_attributes, home_rows

pytestmark = pytest.mark.slow

SHARED = Path(__file__).parents[2] / "shared" / "data"
WAITS = """
import os, pathlib, time

def train(train, validation, parameters):
    pathlib.Path(parameters["marker"]).write_text(str(os.getpid()))
    while True:
        time.sleep(0.05)
"""


def _homes(deployment: Deployment, program: str | None = None, **training: Any) -> None:
    """Declare `homes` with one file of 300 rows; `training` and the rest of the attributes can be changed."""
    attributes = home_attributes()
    for name in ("gates", "registry", "endpoint"):
        if name in training:
            attributes[name] = training.pop(name)
    attributes["training"] |= training
    if program is not None:
        del attributes["training"]["estimator"]
        attributes["training"]["program"] = "train.py"
    attributes["evaluation"]["bootstrap"] = 0
    attributes["evaluation"]["importance"] = False
    declaration(deployment.folder, attributes, program=program)
    arrive(deployment, "first.csv", csv_text(home_rows(300)))


def arrive(deployment: Deployment, name: str, text: str) -> None:
    """Let a file arrive."""
    path = deployment.root / "store/landing/homes" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    return Deployment(tmp_path)


def test_a_model_is_registered_once_and_what_is_unchanged_is_not_run_again(deployment: Deployment) -> None:
    _homes(deployment)
    before = sorted(path.name for path in deployment.folder.iterdir())
    first = deployment.json("run", "homes")
    assert (first["model"], first["status"], first["version"]) == ("homes", "registered", 1)
    assert first["rows"] == {"in": 300, "loaded": 300, "quarantined": 0, "objects": 1, "new": 1}
    assert first["metrics"]["r2"] > 0.5
    assert [gate["passed"] for gate in first["gates"]] == [True, True]
    assert sum(first["dataset"]["rows"].values()) == 300
    assert Path(first["uris"]["model_card"].removeprefix("file://")).is_file()
    assert first["skipped"] == []
    # Dagster's history lies below the root, and nothing lies beside it.
    assert (deployment.root / "dagster/history").is_dir()
    assert sorted(path.name for path in deployment.folder.iterdir()) == before

    again = deployment.command("run", "homes")
    assert again.returncode == 0
    assert "nothing changed, nothing was trained" in again.stdout
    assert "candidate" in again.stderr
    assert "unchanged since run" in again.stderr

    forced = deployment.json("run", "homes", "--force")
    assert forced["skipped"] == []
    assert forced["version"] == 1

    arrive(deployment, "second.csv", csv_text(home_rows(100, seed=1, first_id=1000)))
    more = deployment.json("run", "homes")
    assert more["rows"]["in"] == 400
    assert more["rows"]["new"] == 1
    assert more["version"] == 2


def test_a_gate_refuses_with_3_and_nothing_is_registered(deployment: Deployment) -> None:
    _homes(deployment, gates=[{"metric": "r2", "min": 0.9999}])
    done = deployment.command("run", "homes")
    assert done.returncode == 3, done.stderr
    assert "REFUSED" in done.stdout
    report = deployment.json("run", "homes", status=3)
    assert (report["status"], report["version"]) == ("refused", None)
    assert report["gates"][0]["passed"] is False
    assert report["metrics"]["r2"] < 0.9999
    assert deployment.json("models") == []


def test_a_file_that_cannot_be_read_fails_with_1_and_one_message(deployment: Deployment) -> None:
    _homes(deployment)
    arrive(deployment, "second.csv", "these,are,other\ncolumns,than,declared\n")
    done = deployment.command("run", "homes")
    assert done.returncode == 1
    assert "second.csv" in done.stderr
    assert "Mend:" in done.stderr
    assert "Traceback" not in done.stderr
    report = deployment.json("run", "homes", status=1)
    assert report["status"] == "failed"
    assert "second.csv" in report["error"]
    assert report["version"] is None


def test_a_program_that_raises_is_named_with_its_line(deployment: Deployment) -> None:
    raises = "def train(train, validation, parameters):\n    raise ValueError('no luck')\n"
    _homes(deployment, program=raises, parameters={})
    report = deployment.json("run", "homes", status=1)
    assert "no luck" in report["error"]
    assert "train.py" in report["error"]


def test_upto_ends_where_it_was_asked_to(deployment: Deployment) -> None:
    _homes(deployment)
    report = deployment.json("run", "homes", "--upto", "dataset")
    assert report["status"] == "partial"
    assert report["dataset"]["rows"]["train"] > 0
    assert report["metrics"] == {}
    assert deployment.json("models") == []


def test_ctrl_c_ends_the_training_process_and_exits_with_130(deployment: Deployment) -> None:
    marker = deployment.folder / "pid"
    _homes(deployment, program=WAITS, parameters={"marker": str(marker)})
    process = subprocess.Popen(
        [*PROGRAM, "run", "homes"],
        env=deployment.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        _until(lambda: (marker.exists() and marker.read_text()) or process.poll() is not None)
        assert marker.exists(), process.communicate()[0]
        trainer = int(marker.read_text())
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)
        assert process.returncode == 130, out
        assert "Interrupted." in out
        _until(lambda: not _alive(trainer))
    finally:
        process.kill()
        process.wait()


def _until(condition: Any, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_versions_are_approved_rejected_rolled_back_and_predict(deployment: Deployment) -> None:
    _homes(deployment, registry={"approval": "manual"})
    first = deployment.command("run", "homes")
    assert first.returncode == 0, first.stderr
    assert "It waits for: mlops-assets approve homes 1" in first.stdout
    rows = deployment.folder / "rows.csv"
    frame = pd.DataFrame({"region": ["north", "west"], "square_feet": [1000.0, 2000.0], "bedrooms": [2, 4]})
    frame["feet_per_room"] = frame["square_feet"] / frame["bedrooms"]
    frame.to_csv(rows, index=False)
    scored = deployment.folder / "scored.csv"
    early = deployment.command("predict", "homes", "--data", str(rows), "--out", str(scored))
    assert early.returncode == 1
    assert "no champion" in early.stderr

    assert deployment.command("approve", "homes", "1", "--reason", "looks right").returncode == 0
    (listed,) = deployment.json("models", "homes")
    assert (listed["version"], listed["approval"], listed["aliases"]) == (1, "approved", ["champion"])
    done = deployment.json("predict", "homes", "--data", str(rows), "--out", str(scored))
    assert (done["version"], done["rows"]) == (1, 2)
    assert pd.read_csv(scored)["prediction"].between(50_000, 1_000_000).all()

    _homes(deployment, registry={"approval": "manual"}, parameters={"max_depth": 8})
    assert deployment.json("run", "homes")["version"] == 2
    assert deployment.command("approve", "homes", "2").returncode == 0
    back = deployment.command("rollback", "homes")
    assert "version 1 is champion again" in back.stdout
    assert deployment.command("reject", "homes", "2", "--reason", "too deep").returncode == 0
    assert {item["version"]: item["approval"] for item in deployment.json("models")} == {
        1: "approved",
        2: "rejected",
    }
    refused = deployment.command("approve", "homes", "2")
    assert refused.returncode == 1
    assert "Traceback" not in refused.stderr


def test_a_served_model_is_listed_stopped_and_restarted(deployment: Deployment) -> None:
    import httpx

    _homes(deployment, endpoint={"enabled": True, "smoke_rows": 3})
    try:
        url = deployment.json("run", "homes")["uris"]["endpoint"]
        assert httpx.get(f"{url}/ping").status_code == 200
        (listed,) = deployment.json("endpoints")
        assert (listed["status"], listed["version"]) == ("serving", 1)
        assert "stopped" in deployment.command("endpoints", "stop", "homes").stdout
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{url}/ping")
        assert "serving" in deployment.command("endpoints", "restart", "homes").stdout
        assert httpx.get(f"{url}/ping").status_code == 200
    finally:
        deployment.command("endpoints", "stop", "homes")


def test_a_file_that_lands_does_not_start_the_server_that_a_person_stopped(deployment: Deployment) -> None:
    import httpx

    _homes(deployment, endpoint={"enabled": True, "smoke_rows": 3})
    try:
        url = deployment.json("run", "homes")["uris"]["endpoint"]
        deployment.command("endpoints", "stop", "homes")
        arrive(deployment, "second.csv", csv_text(home_rows(100, seed=1, first_id=1000)))
        done = deployment.command("run", "homes")
        assert done.returncode == 0, done.stderr
        assert "mlops-assets endpoints restart homes" in done.stdout
        report = deployment.json("run", "homes")
        assert (report["version"], report["serving"]) == (2, None)
        assert "Stopped by" in report["stopped"]
        assert "endpoint" not in report["uris"]
        (listed,) = deployment.json("endpoints")
        assert (listed["status"], listed["version"]) == ("stopped", 1)
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{url}/ping")
        restarted = deployment.command("endpoints", "restart", "homes")
        assert "version 1: serving" in restarted.stdout
        assert "To deploy version 2: mlops-assets run homes" in restarted.stdout
        assert deployment.json("run", "homes")["serving"] == 2
        assert httpx.get(f"{url}/ping").json()["version"] == 2
    finally:
        deployment.command("endpoints", "stop", "homes")


@pytest.mark.parametrize(("file", "target"), [("house_pricing.csv", "PRICE"), ("penguins.csv", "species")])
def test_init_and_run_work_on_the_shared_files_untouched(
    deployment: Deployment, file: str, target: str
) -> None:
    if not (SHARED / file).exists():
        pytest.skip(f"{SHARED / file} is not there: the data folder beside the checkout is absent")
    done = deployment.command("init", "mine", "--data", str(SHARED / file), "--target", target)
    assert done.returncode == 0, done.stderr
    try:
        report = deployment.json("run", "mine")
        assert report["status"] == "registered"
        assert report["rows"]["quarantined"] == 0
    finally:
        deployment.command("endpoints", "stop", "mine")


def test_a_second_demo_changes_nothing_and_no_server_is_left(deployment: Deployment) -> None:
    import mlops_assets

    defs = str(Path(mlops_assets.__file__).parent / "defs")
    first = deployment.command("demo", MLOPS_DEFS=defs)
    assert first.returncode == 0, first.stderr
    assert "Where to look next" in first.stdout
    second = deployment.command("demo", MLOPS_DEFS=defs)
    assert second.returncode == 0, second.stderr
    assert "nothing changed, nothing was trained" in second.stdout
    assert (stray_lines(first.stderr), stray_lines(second.stderr)) == ([], [])
    begun = ("The sample files are there already", "housing: nothing changed", " ", "Where to look next:")
    assert [line for line in second.stdout.splitlines() if line and not line.startswith(begun)] == []
    assert [item["status"] for item in deployment.json("endpoints")] == ["stopped"]
    versions = json.loads(deployment.command("models", "--json").stdout)
    assert [item["version"] for item in versions] == [1]


def test_the_ui_answers_and_ctrl_c_ends_it_with_all_its_processes(deployment: Deployment) -> None:
    import httpx
    import psutil

    _homes(deployment)
    port = _free_port()
    process = subprocess.Popen(
        [*PROGRAM, "ui", "--port", str(port)],
        cwd=deployment.folder,
        env=deployment.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        _until(lambda: _answers(f"http://127.0.0.1:{port}/server_info") or process.poll() is not None)
        assert process.poll() is None
        assert httpx.get(f"http://127.0.0.1:{port}/server_info").status_code == 200
        # No dialog that asks a newcomer for a mail address.
        asked = httpx.post(
            f"http://127.0.0.1:{port}/graphql", json={"query": "{ shouldShowNux }"}, timeout=30
        )
        assert asked.json()["data"] == {"shouldShowNux": False}
        children = psutil.Process(process.pid).children(recursive=True)
        taken = deployment.command("ui", "--port", str(port))
        assert taken.returncode == 1
        assert f"--port {port + 1}" in taken.stderr
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        assert process.returncode == 130
        _until(lambda: not any(_alive(child.pid) for child in children))
    finally:
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)


def test_a_run_beside_a_ui_that_just_started_on_an_empty_home_works(deployment: Deployment) -> None:
    import psutil

    _homes(deployment)
    deployment.root.mkdir(exist_ok=True)
    port = _free_port()
    lock = FileLock(deployment.root / ".history.lock")
    lock.acquire()
    ui = subprocess.Popen(
        [*PROGRAM, "ui", "--port", str(port)],
        cwd=deployment.folder,
        env=deployment.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        # It waits at the lock, with its home made and no process of Dagster's started.
        _until(lambda: (deployment.root / "dagster/dagster.yaml").exists() or ui.poll() is not None)
        time.sleep(2)
        assert ui.poll() is None
        assert psutil.Process(ui.pid).children() == []
        assert _heads(deployment) == {}
        lock.release()
        report = deployment.json("run", "homes")
        assert (report["status"], report["version"]) == ("registered", 1)
        _until(lambda: _answers(f"http://127.0.0.1:{port}/server_info") or ui.poll() is not None)
        assert ui.poll() is None
        heads = _heads(deployment)
        assert {"runs.db", "index.db", "schedules.db"} <= set(heads)
        assert {name: len(found) for name, found in heads.items()} == dict.fromkeys(heads, 1)
    finally:
        lock.release()
        ui.send_signal(signal.SIGINT)
        try:
            ui.wait(timeout=60)
        finally:
            ui.kill()


def _heads(deployment: Deployment) -> dict[str, list[str]]:
    """The schema's versions in each of Dagster's databases: more than one, and nobody can open it again."""
    found: dict[str, list[str]] = {}
    for path in (deployment.root / "dagster").rglob("*.db"):
        with contextlib.closing(sqlite3.connect(path)) as database:
            rows = database.execute("SELECT version_num FROM alembic_version").fetchall()
        found[path.name] = [row[0] for row in rows]
    return found


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _answers(url: str) -> bool:
    import httpx

    try:
        return httpx.get(url, timeout=1).status_code == 200
    except httpx.HTTPError:
        return False
