"""The stand-in starts and stops clean: no process, no folder, nobody else let in."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from mlops_assets_tests.standins.redshift import RedshiftStandIn


def test_stopping_leaves_no_process_and_no_folder(s3: Any) -> None:
    standin = RedshiftStandIn(s3)
    pid = standin.postgres.pid
    assert pid is not None
    family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    folders = [standin.postgres.folder, standin.scratch]
    connection = standin.connect()
    connection.cursor().execute("SELECT 1")
    standin.stop()
    standin.stop()
    assert not any(process.is_running() and process.status() != "zombie" for process in family)
    assert not any(folder.exists() for folder in folders)
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", standin.port), 1)


def test_the_engine_runs_without_privileges_and_listens_on_no_port(s3: Any) -> None:
    with RedshiftStandIn(s3) as standin:
        assert standin.postgres.pid is not None
        process = psutil.Process(standin.postgres.pid)
        assert process.uids().effective != 0
        assert [item for item in process.net_connections("inet") if item.status == "LISTEN"] == []
        assert standin.postgres.folder.stat().st_mode & 0o077 == 0


KILLED = """
import os, signal
from mlops_assets_tests.standins.redshift.postgres import Postgres
postgres = Postgres()
print(postgres.pid, postgres.folder, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_engine_ends_with_a_process_that_is_killed(tmp_path: Path) -> None:
    told = subprocess.run(
        [sys.executable, "-c", KILLED], check=False, capture_output=True, text=True, timeout=60
    ).stdout.split()
    pid = int(told[0])
    end = time.monotonic() + 20
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie":
        assert time.monotonic() < end
        time.sleep(0.05)
    folder = Path(told[1])
    assert folder.name.startswith("redshift-")
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    folder.rmdir()
