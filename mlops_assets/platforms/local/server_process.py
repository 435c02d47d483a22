"""Model server processes on this machine: started detached, recognised for sure, ended.

A server holds a lock (flock) on its instance file from before it starts until it is gone, however it goes:
held means alive, and the process id in the file is then its own and nobody else's.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import mlops_assets
from mlops_assets.errors import DeploymentError

_TOKEN = "MLOPS_ENDPOINT_TOKEN"  # noqa: S105 - the variable's name, not a token
# A model server gets no credentials and none of this deployment's settings: what Python and numerics read.
_ENVIRONMENT = ("PATH", "HOME", "LANG", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "VIRTUAL_ENV")
_PREFIXES = ("LC_", "OMP_", "OPENBLAS_", "MKL_", "PYTHON")
_SUFFIX = ".instance"
_GRACE = 35.0


@dataclass(frozen=True)
class Launch:
    """What a server is started with.

    Attributes:
        folder: the endpoint's folder: instance files, control sockets, logs.
        instance: this process's own name, never used again.
        model: local folder of the model, with `files` and their SHA-256.
        listener: descriptor of the bound stable socket, where no other server holds it.
    """

    folder: Path
    instance: str
    model: Path
    files: Mapping[str, str]
    version: int
    trusted_types: tuple[str, ...] = ()
    body_limit: int = 6_291_456
    token: str | None = field(default=None, repr=False)
    listener: int | None = None

    @property
    def log(self) -> Path:
        """The version's log file."""
        return self.folder / f"server-{self.version}.log"

    def command(self, lock: int) -> list[str]:
        """The command line: it holds nothing secret."""
        command = [sys.executable, "-P", "-m", "mlops_assets.runtime.serve", "--managed"]
        command += ["--model", str(self.model), "--files", json.dumps(dict(self.files), sort_keys=True)]
        command += ["--version", str(self.version), "--instance", self.instance, "--log", str(self.log)]
        command += ["--trusted-types", json.dumps(self.trusted_types), "--body-limit", str(self.body_limit)]
        command += ["--control", control_name(self.instance), "--lock-fd", str(lock)]
        return command if self.listener is None else [*command, "--fd", str(self.listener)]

    def environment(self) -> dict[str, str]:
        """The environment: an allow-list, and the token where there is one."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if name in _ENVIRONMENT or name.startswith(_PREFIXES)
        }
        source = str(Path(mlops_assets.__file__).parents[1])
        kept["PYTHONPATH"] = os.pathsep.join(filter(None, (source, kept.get("PYTHONPATH"))))
        return kept | ({_TOKEN: self.token} if self.token else {})


def control_name(instance: str) -> str:
    """Name of an instance's control socket: relative to the endpoint's folder, as socket paths are short."""
    return f"{instance}.sock"


class ServerProcess:
    """A server that was just started and has not taken over yet."""

    def __init__(self, launch: Launch) -> None:
        self._launch = launch
        path = launch.folder / f"{launch.instance}{_SUFFIX}"
        with path.open("w") as lock, launch.log.open("ab") as log:
            fcntl.flock(lock, fcntl.LOCK_EX)
            shared = tuple(filter(None, (lock.fileno(), launch.listener)))
            self._process = subprocess.Popen(
                launch.command(lock.fileno()),
                cwd=launch.folder,
                env=launch.environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                pass_fds=shared,
                start_new_session=True,
                umask=0o077,
            )
            lock.write(str(self._process.pid))
            lock.flush()
        self._buffer = b""

    def check(self) -> None:
        """Raise DeploymentError, with what the server said last, where the process has ended."""
        if self._process.poll() is not None:
            self.wait_for("end", time.monotonic() + 1)

    def wait_for(self, event: str, deadline: float) -> dict[str, Any]:
        """The details of the next event of that name.

        Raises:
            DeploymentError: where the server reports a failure, ends, or says nothing until `deadline`
                (`time.monotonic()`).
        """
        while True:
            message = self._next(deadline)
            if message["event"] == event:
                return message
            if message["event"] == "failed":
                raise DeploymentError(message["what"])

    def _next(self, deadline: float) -> dict[str, Any]:
        out = self._stream(self._process.stdout)
        with selectors.DefaultSelector() as selector:
            selector.register(out, selectors.EVENT_READ)
            while b"\n" not in self._buffer:
                left = deadline - time.monotonic()
                if left <= 0 or not selector.select(left):
                    raise DeploymentError(
                        "The server was not ready in time.", mend="Raise MLOPS_ENDPOINT_TIMEOUT."
                    )
                data = os.read(out.fileno(), 65_536)
                if not data:
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        self._process.wait(5)
                    raise DeploymentError(f"The server ended with status {self._process.returncode}.")
                self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return json.loads(line)

    def adopt(self, predecessor: str | None) -> None:
        """Tell it to take the stable address: from the instance `predecessor`, else on its own socket."""
        command = {"do": "adopt", "from": control_name(predecessor) if predecessor else None}
        stdin = self._stream(self._process.stdin)
        try:
            stdin.write(json.dumps(command).encode() + b"\n")
            stdin.flush()
        except OSError:
            raise DeploymentError("The server ended before it took over.") from None

    def release(self) -> None:
        """Let it run on its own; a thread collects its status should it end while this process lives."""
        self._close()
        threading.Thread(target=self._process.wait, daemon=True, name="reap-server").start()

    def end(self) -> None:
        """End it at once: it never served anybody."""
        self._process.kill()
        self._process.wait()
        self._close()
        forget(self._launch.folder, self._launch.instance)

    def log_tail(self, lines: int = 15) -> str:
        """The last lines of its log."""
        with self._launch.log.open("rb") as log:
            log.seek(max(0, self._launch.log.stat().st_size - 8_192))
            return "\n".join(log.read().decode(errors="replace").splitlines()[-lines:])

    def _close(self) -> None:
        for stream in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                self._stream(stream).close()

    @staticmethod
    def _stream(stream: IO[bytes] | None) -> IO[bytes]:
        assert stream is not None  # opened as a pipe above
        return stream


def living(folder: Path) -> list[str]:
    """The instances in `folder` whose process lives; what the others left behind is removed."""
    found: list[str] = []
    for path in sorted(folder.glob(f"*{_SUFFIX}")):
        if _is_held(path):
            found.append(path.stem)
        else:
            forget(folder, path.stem)
    return found


def forget(folder: Path, instance: str) -> None:
    """Remove what an ended instance left behind."""
    (folder / control_name(instance)).unlink(missing_ok=True)
    (folder / f"{instance}{_SUFFIX}").unlink(missing_ok=True)


def terminate(folder: Path, instance: str) -> None:
    """End a living instance: requests under way are answered first, for up to 35 seconds."""
    path = folder / f"{instance}{_SUFFIX}"
    deadline = time.monotonic() + _GRACE
    _signal(path, signal.SIGTERM)
    while _is_held(path):
        if time.monotonic() > deadline:
            _signal(path, signal.SIGKILL)
        time.sleep(0.02)
    forget(folder, instance)


def kill(folder: Path, instance: str) -> None:
    """End a living instance that does not answer any more, at once."""
    path = folder / f"{instance}{_SUFFIX}"
    while _is_held(path):
        _signal(path, signal.SIGKILL)
        time.sleep(0.02)
    forget(folder, instance)


def _is_held(path: Path) -> bool:
    try:
        with path.open("r") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


def _signal(path: Path, number: int) -> None:
    """Signal the process that holds the lock; one that was never named by its deployer ends by itself."""
    if not _is_held(path):
        return
    with contextlib.suppress(OSError, ValueError):
        os.kill(int(path.read_text()), number)
