"""Two runs of one model at once: one state, as if one had come after the other."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from mlops_assets_tests.commands import PROGRAM, Deployment
from mlops_assets_tests.end_to_end.small import Run, declare, deliver, ended, run
from mlops_assets_tests.end_to_end.watching import processes_below
from mlops_assets_tests.factories import csv_text, home_rows

pytestmark = pytest.mark.slow


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    deployment = Deployment(tmp_path)
    yield deployment
    deployment.command("endpoints", "stop", "homes")
    assert _servers(deployment) == []


def test_two_first_runs_at_once_leave_one_version_and_one_server(deployment: Deployment) -> None:
    declare(deployment, endpoint={"enabled": True, "smoke_rows": 3})
    deliver(deployment)
    for one in _at_once(deployment):
        _ended_well_or_said_why(one)
    _holds_what_one_run_leaves(deployment, rows=300, versions=[1])


def test_two_runs_at_once_over_a_new_file_load_it_once(deployment: Deployment) -> None:
    declare(deployment, endpoint={"enabled": True, "smoke_rows": 3})
    deliver(deployment)
    assert run(deployment).status == 0
    deliver(deployment, "second.csv", csv_text(home_rows(100, seed=1, first_id=1_000)))
    for one in _at_once(deployment):
        _ended_well_or_said_why(one)
    _holds_what_one_run_leaves(deployment, rows=400, versions=[2, 1])


def _at_once(deployment: Deployment) -> list[Run]:
    with ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen(
                    [*PROGRAM, "run", "homes", "--json"],
                    cwd=deployment.folder,
                    env=deployment.environment(),
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
            for _ in range(2)
        ]
        runs = []
        for process in processes:
            out, err = process.communicate(timeout=280)
            runs.append(ended(subprocess.CompletedProcess(process.args, process.returncode, out, err)))
    assert any(one.status == 0 for one in runs), "\n".join(one.stderr for one in runs)
    return runs


def _ended_well_or_said_why(one: Run) -> None:
    assert "Traceback" not in one.stderr
    if one.status != 0:
        assert one.status == 1
        assert "again" in f"{one.report.get('error')}{one.stderr}", one.stderr


def _holds_what_one_run_leaves(deployment: Deployment, rows: int, versions: list[int]) -> None:
    assert len(_servers(deployment)) == 1
    assert [item["version"] for item in deployment.json("models")] == versions
    (served,) = deployment.json("endpoints")
    assert (served["status"], served["version"]) == ("serving", versions[0])
    after = run(deployment)
    assert after.status == 0, after.stderr
    assert after.report["rows"] | {"new": 0} == {
        "in": rows,
        "loaded": rows,
        "quarantined": 0,
        "objects": len(versions),
        "new": 0,
    }
    assert sum(after.report["dataset"]["rows"].values()) == rows
    assert after.report["version"] == versions[0]
    assert {"dataset", "candidate", "evaluation"} <= set(after.report["skipped"])


def _servers(deployment: Deployment) -> list[str]:
    return processes_below(deployment.folder, "mlops_assets.runtime.serve")
