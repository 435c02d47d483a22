"""Running commands side by side: wall seconds and peak memory of each process, medians, ratios."""

from __future__ import annotations

import contextlib
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Figure:
    """One command, or medians over its runs.

    Attributes:
        seconds: wall time.
        megabytes: peak resident memory of the process itself, its children left out.
        output: what it printed on standard output.
        cpu: seconds of processor time, children included; what a busy machine disturbs least.
    """

    seconds: float
    megabytes: float
    output: str = ""
    cpu: float = 0.0


def timed(command: Sequence[str], *, env: dict[str, str] | None = None, cwd: Path | None = None) -> Figure:
    """Run one command to the end; raises where it fails."""
    started = time.perf_counter()
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            command, env={**os.environ, **(env or {})}, cwd=cwd, stdout=output, stderr=errors
        )
        peak = _Peak(process.pid)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - started
        output.seek(0)
        errors.seek(0)
        if process.returncode != 0:
            raise RuntimeError(f"{command} failed: {errors.read().decode()[-2000:]}")
        return Figure(seconds, peak.megabytes(), output.read().decode(), usage.ru_utime + usage.ru_stime)


class _Peak(threading.Thread):
    """Peak resident memory of a process, as its kernel counts it (VmHWM), read until the process ends.

    `ru_maxrss` will not do: Linux counts in it the children that were waited for, and the memory of whoever
    started the process. The last 20 ms before the end are missed.
    """

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._status = Path(f"/proc/{pid}/status")
        self._kilobytes = 0
        self.start()

    def run(self) -> None:
        """Read until there is nothing to read."""
        while found := self._read():
            self._kilobytes = found
            time.sleep(0.02)

    def megabytes(self) -> float:
        """The peak, once the process has ended."""
        self.join()
        return self._kilobytes / 1024

    def _read(self) -> int:
        with contextlib.suppress(OSError):
            for line in self._status.read_text().splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1])
        return 0


def median(figures: Sequence[Figure]) -> Figure:
    """The median of each number."""
    return Figure(
        statistics.median(figure.seconds for figure in figures),
        statistics.median(figure.megabytes for figure in figures),
        figures[-1].output,
        statistics.median(figure.cpu for figure in figures),
    )


def side_by_side(
    commands: dict[str, Sequence[str]], *, runs: int = 5, env: dict[str, str] | None = None
) -> dict[str, Figure]:
    """Medians of each command over `runs` rounds, taken in turn (A B A B …) after one round of warm-up."""
    rounds: dict[str, list[Figure]] = {name: [] for name in commands}
    for number in range(runs + 1):
        for name, command in commands.items():
            figure = timed(command, env=env)
            if number:
                rounds[name].append(figure)
    return {name: median(figures) for name, figures in rounds.items()}


def verdict(value: float, most: float) -> str:
    """Whether a promise of at most `most` was kept, for the report."""
    return "kept" if value <= most else "**missed**"


def python(code: str) -> list[str]:
    """The command that runs `code` in this Python."""
    return [sys.executable, "-c", code]


def machine() -> str:
    """The machine in one line: cores, memory, Python."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return f"{os.cpu_count()} cores, {pages:.0f} GiB, {platform.system()}, Python {platform.python_version()}"


def peak_megabytes() -> float:
    """Peak resident memory of this process so far, in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0
