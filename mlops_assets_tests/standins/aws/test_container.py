"""Containers where this machine refuses namespaces: the folder is named by a variable instead."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from mlops_assets_tests.standins import container
from mlops_assets_tests.standins.aws.container import Container, Exit
from mlops_assets_tests.waiting import eventually


@pytest.fixture(params=["namespaces", "refused"])
def _namespaces(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "refused":
        monkeypatch.setattr(container, "isolated", lambda: False)
    elif not container.isolated():
        pytest.skip("unshare(1) is refused on this machine")


@pytest.mark.usefixtures("_namespaces")
class TestContainer:
    def run(self, code: str, folder: Path, lines: list[str], seconds: float = 30.0) -> Exit:
        command = [
            sys.executable,
            "-c",
            f"import os; base = os.environ.get('SAGEMAKER_BASE_DIR', '/opt/ml'); {code}",
        ]
        return Container(command, {"PATH": os.defpath}, folder, lines.append).wait(seconds, lambda: None)

    def test_it_reads_and_writes_its_folder_and_its_lines_are_heard(self, tmp_path: Path) -> None:
        (tmp_path / "in").write_text("42")
        lines: list[str] = []
        code = "open(base + '/out', 'w').write(open(base + '/in').read()); print('done')"
        assert self.run(code, tmp_path, lines) == Exit(0)
        assert (tmp_path / "out").read_text() == "42"
        assert lines == ["done"]

    def test_its_exit_code_is_as_docker_gives_it(self, tmp_path: Path) -> None:
        assert self.run("os._exit(7)", tmp_path, []) == Exit(7)
        # A first process that has numbers of its own is deaf to its own signals; a child is not.
        code = "import subprocess, sys; sys.exit(128 - subprocess.run(['sh', '-c', 'kill -9 $$']).returncode)"
        assert self.run(code, tmp_path, []) == Exit(137)

    def test_its_time_is_limited_and_what_it_started_ends_with_it(self, tmp_path: Path) -> None:
        code = "import subprocess, time; subprocess.Popen(['sleep', '987']); time.sleep(600)"
        started = time.monotonic()
        assert self.run(code, tmp_path, [], seconds=1.0).order == "timeout"
        assert time.monotonic() - started < 20
        eventually(lambda: not [1 for process in psutil.process_iter() if "987" in _arguments(process)])


def test_a_container_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    script = f"""
import sys, time
from pathlib import Path
from mlops_assets_tests.standins.aws.container import Container
Container(["sleep", "986"], {{"PATH": "/usr/bin:/bin"}}, Path({str(tmp_path)!r}), print)
print("started", flush=True)
time.sleep(600)
"""
    owner = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3]
    )
    try:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "started\n"
        eventually(lambda: bool([1 for process in psutil.process_iter() if "986" in _arguments(process)]))
    finally:
        owner.kill()
        owner.wait()
    eventually(lambda: not [1 for process in psutil.process_iter() if "986" in _arguments(process)])


def _arguments(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
