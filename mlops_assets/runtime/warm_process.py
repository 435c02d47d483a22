"""The orchestrator's end of a warm process (runtime/warm.py): jobs that start without importing anything."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path

from mlops_assets.runtime.warm import READY

_PATIENCE = 120.0


class WarmProcess:
    """Forks one job at a time; started once, ended with its owner."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Start it with what a job's process may inherit; it imports while the caller goes on."""
        self._connection, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                # -P: no folder that we happen to stand in may shadow a library's module.
                [sys.executable, "-P", "-m", "mlops_assets.runtime.warm", str(theirs.fileno())],
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self._ready = False
        self._busy = threading.Lock()
        self.close = weakref.finalize(self, _close, self._connection, self._process)

    @property
    def pid(self) -> int:
        """Its process id; jobs are its children."""
        return self._process.pid

    def job(
        self, program: str, arguments: Sequence[str], folder: Path, environment: Mapping[str, str]
    ) -> WarmJob | None:
        """Start a job, or None where one is running or the process is gone."""
        if not self._busy.acquire(blocking=False):
            return None
        try:
            if self._is_ready():
                request = {
                    "program": program,
                    "arguments": list(arguments),
                    "folder": str(folder),
                    "environment": dict(environment),
                }
                return WarmJob(self._connection, json.dumps(request).encode(), self._busy)
        except OSError:
            self.close()
        self._busy.release()
        return None

    def _is_ready(self) -> bool:
        if not self._ready and self.close.alive:
            self._connection.settimeout(_PATIENCE)
            self._ready = self._connection.recv(len(READY)) == READY
            self._connection.settimeout(None)
        return self._ready and self.close.alive


class WarmJob:
    """A forked job, with the part of `subprocess.Popen`'s interface that job_process.py uses."""

    def __init__(self, connection: socket.socket, request: bytes, busy: threading.Lock) -> None:
        self._connection, self._busy = connection, busy
        self.returncode: int | None = None
        self._answers = b""
        (input_, stdin), (stdout, output), (stderr, errors) = os.pipe(), os.pipe(), os.pipe()
        self.stdin = os.fdopen(stdin, "w")
        self.stdout, self.stderr = os.fdopen(stdout, errors="replace"), os.fdopen(stderr, errors="replace")
        try:
            socket.send_fds(connection, [request], [input_, output, errors])
            answer = self._next(_PATIENCE)
            if not answer:
                raise ConnectionError("the warm process has ended")
        except OSError:
            for stream in (self.stdin, self.stdout, self.stderr):
                stream.close()
            raise
        finally:
            for end in (input_, output, errors):
                os.close(end)
        self.pid = int(answer)

    def poll(self) -> int | None:
        """Exit status, or None while it runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Exit status; subprocess.TimeoutExpired after `timeout` seconds."""
        if self.returncode is None:
            answer = self._next(timeout)
            # No answer at all: the warm process was killed, and nobody can say how the job ended.
            self.returncode = int(answer) if answer else -signal.SIGKILL
            self._busy.release()
        return self.returncode

    def _next(self, timeout: float | None) -> bytes:
        """The next line from the warm process; empty where it has ended."""
        while b"\n" not in self._answers:
            ready, _, _ = select.select([self._connection], [], [], timeout)
            if not ready:
                raise subprocess.TimeoutExpired("job", timeout or 0)
            received = self._connection.recv(64)
            if not received:
                return b""
            self._answers += received
        line, _, self._answers = self._answers.partition(b"\n")
        return line


def _close(connection: socket.socket, process: subprocess.Popen[bytes]) -> None:
    """End it at once, even while it imports: it holds nothing, and jobs are groups of their own."""
    connection.close()
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(5)
