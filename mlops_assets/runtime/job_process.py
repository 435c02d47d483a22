"""One process of the runtime: started, listened to, ended with everything that it started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from threading import TIMEOUT_MAX, Thread
from typing import IO, Any

from mlops_assets.runtime.job_environment import redacted
from mlops_assets.runtime.warm_process import WarmProcess

GRACE = 5.0
_TAIL = 20
_READABLE = 700  # characters of the last lines in a reason: SageMaker keeps 1,024 of it all


class JobProcess:
    """`python -m mlops_assets.runtime.<program>` as a process group of its own.

    The process watches its standard input, which only this object holds open: it ends when the orchestrator
    dies, even by SIGKILL.

    Args:
        program: `train` or `evaluate`.
        work: folder with the request; the job's working folder.
        environment: all of the job's.
        report: gets each line of its standard output.
        warm: forks the job where it is free to; else an interpreter starts for it.
    """

    def __init__(
        self,
        program: str,
        work: Path,
        environment: Mapping[str, str],
        report: Callable[[str], None],
        warm: WarmProcess | None = None,
    ) -> None:
        self.tail: deque[str] = deque(maxlen=_TAIL)
        arguments = ["--work", str(work), "--watch-stdin"]
        forked = warm.job(program, arguments, work, environment) if warm is not None else None
        self._process = forked or _started(program, arguments, work, environment)
        assert self._process.stdout is not None and self._process.stderr is not None
        self._readers = [
            Thread(target=_read, args=(self._process.stdout, report), daemon=True),
            Thread(target=_read, args=(self._process.stderr, self._complain), daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    @property
    def pid(self) -> int:
        """Process id, and id of the group."""
        return self._process.pid

    def wait(self, timeout: float | None) -> int:
        """Exit status; TimeoutError after `timeout` seconds. However this ends, the process has ended too."""
        # Always with a timeout: a library that installs a restarting signal handler (polars does, and MLflow
        # imports it) would otherwise leave this process deaf to Ctrl-C until the job ends.
        try:
            status = self._process.wait(TIMEOUT_MAX if timeout is None else timeout)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"{timeout:g} s") from None
        finally:
            self._end()
        return status

    def reason(self, status: int, result: Mapping[str, Any]) -> tuple[str, str | None]:
        """Why the process ended with `status`, without secrets: what was wrong, and the mend if any.

        Args:
            status: what `wait` returned.
            result: the program's result.json; empty where it wrote none.
        """
        told = result.get("error")
        if told:
            what = f"{told['where']}: {told['what']}" if told.get("where") else told["what"]
            return redacted(what), told.get("mend")
        how = f"ended by signal {-status}" if status < 0 else f"ended with exit status {status}"
        tail = redacted("\n".join(self.tail))[-_READABLE:]
        what = f"The job {how} and gave no reason." + (f" Its last lines:\n{tail}" if tail else "")
        if status != -signal.SIGKILL:
            return what, None
        return what, "Signal 9 is often a lack of memory: use fewer rows or a larger machine."

    def _complain(self, line: str) -> None:
        self.tail.append(line)
        print(line, file=sys.stderr, flush=True)

    def _end(self) -> None:
        """SIGTERM to the group, SIGKILL to what is left of it after five seconds."""
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(GRACE)
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()
        for reader in self._readers:
            reader.join(GRACE)
        assert self._process.stdin is not None
        self._process.stdin.close()


def _started(
    program: str, arguments: Sequence[str], work: Path, environment: Mapping[str, str]
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        # -P: neither the work folder nor the user's files may shadow a library's module.
        [sys.executable, "-P", "-m", f"mlops_assets.runtime.{program}", *arguments],
        cwd=work,
        env=dict(environment),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    )


def _read(stream: IO[str], report: Callable[[str], None]) -> None:
    for line in _lines(stream):
        report(line)


def _lines(stream: IO[str]) -> Iterator[str]:
    with contextlib.suppress(ValueError), stream:
        for line in stream:
            yield line.rstrip("\n")
