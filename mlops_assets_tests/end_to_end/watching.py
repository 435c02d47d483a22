"""Waiting for what other processes do, and seeing which of them are there."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import psutil


def until(condition: Callable[[], object], seconds: float = 120, *, pause: float = 0.05) -> None:
    """Wait for `condition`, asked again after each `pause` seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(pause)


def processes_below(folder: Path, part: str = "") -> list[str]:
    """Command lines of living processes, `part` in them, that work in `folder` or name it."""
    found = []
    for process in psutil.process_iter(["cmdline", "cwd", "status"]):
        line = " ".join(process.info["cmdline"] or ())
        is_there = str(folder) in line or str(process.info["cwd"] or "").startswith(str(folder))
        if is_there and part in line and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(line)
    return found
