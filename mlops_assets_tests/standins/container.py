"""A container as a cloud's stand-in runs it: one command with mounts and process numbers of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Thread
from typing import Literal

import psutil

GRACE = 2.0  # the services give longer between SIGTERM and SIGKILL

Order = Literal["stop", "interrupt", "timeout"]


@dataclass(frozen=True)
class Exit:
    """How a container ended: its exit code as Docker gives it, and the order that ended it, if any."""

    code: int
    order: Order | None = None


class Container:
    """A running command. It ends with the thread that starts it, and so with this process, even by SIGKILL.

    Args:
        command: what runs.
        environment: all of it.
        folder: argument of `enter`.
        report: gets each line of its output.
        enter: shell script that mounts `$0` where the command expects it and executes `"$@"`; not run where
            this machine refuses namespaces.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        folder: Path,
        report: Callable[[str], None],
        enter: str,
    ) -> None:
        self._process = subprocess.Popen(
            [*_dying_with_parent(), *(_entering(folder, enter) if isolated() else ()), *command],
            env=dict(environment),
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._reader = Thread(target=self._read, args=(report,), daemon=True)
        self._reader.start()

    @property
    def running(self) -> bool:
        """Whether the command has not ended by itself."""
        return self._process.poll() is None

    def stop(self) -> None:
        """End it, SIGTERM first, with what it started."""
        if self.running:
            self._end()
        self._process.wait()
        self._kill()
        self._reader.join(GRACE)

    def wait(self, seconds: float, order: Callable[[], Order | None]) -> Exit:
        """Wait for the end; obey an `order`, and end it after `seconds`."""
        deadline = time.monotonic() + seconds
        given: Order | None = None
        while self._process.poll() is None:
            given = order() or ("timeout" if time.monotonic() > deadline else None)
            if given is not None:
                self._end()
                break
            time.sleep(0.02)
        status = self._process.wait()
        self._kill()  # what the command left behind
        self._reader.join(GRACE)
        return Exit(128 - status if status < 0 else status, given)

    def _end(self) -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            self._first().terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(GRACE)
        self._kill()

    def _first(self) -> psutil.Process:
        """The command itself: `unshare` waits for it as its only child."""
        process = psutil.Process(self._process.pid)
        children = process.children() if isolated() else []
        return children[0] if children else process

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _read(self, report: Callable[[str], None]) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as stream:
            for line in stream:
                report(line.rstrip("\n"))


@cache
def isolated() -> bool:
    """Whether this machine lets a process have mounts and process numbers of its own."""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        enter = 'mount --bind "$0" "$0" && exec "$@"'
        command = [*_entering(Path("/tmp"), enter), sys.executable, "-c", ""]
        return subprocess.run(command, capture_output=True, timeout=30, check=False).returncode == 0
    return False


def _entering(folder: Path, enter: str) -> list[str]:
    mapped = [] if os.geteuid() == 0 else ["--map-root-user"]
    flags = ["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private"]
    return ["unshare", *mapped, *flags, "--", "sh", "-c", enter, str(folder)]


@cache
def _dying_with_parent() -> tuple[str, ...]:
    command = ("setpriv", "--pdeathsig", "KILL", "--")
    with contextlib.suppress(OSError):
        if subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0:
            return command
    return ()
