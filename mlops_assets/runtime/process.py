"""The process that a program runs in: it ends at once when told to, and never outlives its orchestrator."""

from __future__ import annotations

import os
import select
import signal
import threading

TERMINATED = 143  # 128 + SIGTERM, what shells and container runtimes report


def end_with_parent(*, watch_stdin: bool) -> None:
    """End this process on SIGTERM and, with `watch_stdin`, when standard input closes.

    A Python handler would wait for the estimator's native code to return; the wake-up pipe is written by the
    interpreter's own C handler, and a thread that waits on it ends the process whatever the main thread does.
    The orchestrator holds standard input open: it closes when the orchestrator dies, however it dies.
    """
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.signal(signal.SIGTERM, lambda *_: None)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    watched = [woken, 0] if watch_stdin else [woken]
    threading.Thread(target=_wait, args=(watched, woken), name="end-with-parent", daemon=True).start()


def _wait(watched: list[int], woken: int) -> None:
    while True:
        ready, _, _ = select.select(watched, [], [])
        if woken in ready and signal.SIGTERM in os.read(woken, 64):
            os._exit(TERMINATED)
        if 0 in ready and not os.read(0, 64):
            _end_group()


def _end_group() -> None:
    """End this process and the children that the estimator or the user's program started."""
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpgrp(), signal.SIGKILL)
    os._exit(TERMINATED)
