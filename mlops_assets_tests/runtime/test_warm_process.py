"""The warm process: jobs are forked from it, it is never needed, and it never outlives its orchestrator."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from mlops_assets.runtime.job_environment import job_environment
from mlops_assets.runtime.job_process import JobProcess
from mlops_assets.runtime.warm_process import WarmProcess
from mlops_assets_tests.waiting import eventually, gone


@pytest.fixture
def warm(tmp_path: Path) -> Iterator[WarmProcess]:
    process = WarmProcess(job_environment(tmp_path))
    yield process
    process.close()


def forks_of(warm: WarmProcess) -> list[psutil.Process]:
    return psutil.Process(warm.pid).children()


def job(tmp_path: Path, warm: WarmProcess | None) -> JobProcess:
    """A training without a request fails at once and says so."""
    tmp_path.mkdir(exist_ok=True)
    return JobProcess("train", tmp_path, job_environment(tmp_path), print, warm)


def waiting(tmp_path: Path, warm: WarmProcess) -> JobProcess:
    """A training that waits: its request is a pipe that nobody fills."""
    tmp_path.mkdir()
    os.mkfifo(tmp_path / "request.json")
    return job(tmp_path, warm)


def test_a_forked_job_is_a_child_in_a_group_of_its_own_and_says_what_a_started_one_says(
    warm: WarmProcess, tmp_path: Path
) -> None:
    running = waiting(tmp_path / "waits", warm)
    assert [child.pid for child in forks_of(warm)] == [running.pid]
    assert os.getpgid(running.pid) == running.pid
    running._end()
    forked, started = job(tmp_path / "forked", warm), job(tmp_path / "started", None)
    assert forked.wait(60) == started.wait(60) == 1
    assert [line for line in forked.tail if "cannot be read" in line] == [
        line for line in started.tail if "cannot be read" in line
    ]
    assert any("cannot be read" in line for line in forked.tail)


def test_a_second_job_at_the_same_time_starts_an_interpreter(warm: WarmProcess, tmp_path: Path) -> None:
    first = waiting(tmp_path / "first", warm)
    second = job(tmp_path / "second", warm)
    assert second.wait(60) == 1
    assert [child.pid for child in forks_of(warm)] == [first.pid]
    first._end()
    assert gone(first.pid)


def test_a_timeout_ends_a_forked_job(warm: WarmProcess, tmp_path: Path) -> None:
    running = waiting(tmp_path / "waits", warm)
    with pytest.raises(TimeoutError):
        running.wait(0.2)
    assert gone(running.pid)
    assert job(tmp_path / "next", warm).wait(60) == 1


def test_a_job_whose_warm_process_is_killed_counts_as_killed_and_the_next_one_starts_anew(
    warm: WarmProcess, tmp_path: Path
) -> None:
    running = waiting(tmp_path / "waits", warm)
    os.kill(warm.pid, signal.SIGKILL)
    assert running.wait(60) == -signal.SIGKILL
    eventually(lambda: gone(running.pid))
    assert job(tmp_path / "next", warm).wait(60) == 1


def test_it_ends_with_whoever_holds_it(tmp_path: Path) -> None:
    warm = WarmProcess(job_environment(tmp_path))
    pid = warm.pid
    assert job(tmp_path / "job", warm).wait(60) == 1
    del warm
    gc.collect()
    eventually(lambda: gone(pid))


def test_whoever_needs_it_no_more_does_not_wait_for_its_imports(tmp_path: Path) -> None:
    warm = WarmProcess(job_environment(tmp_path))
    process = psutil.Process(warm.pid)
    warm.close()
    assert not process.is_running()
    assert warm._process.returncode == -signal.SIGTERM
