"""Ctrl-C and termination: the same clean way out, which ends the training process as well."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def interruptible() -> Iterator[None]:
    """Turn SIGTERM and Dagster's own interruption into KeyboardInterrupt while the block runs."""
    from dagster import DagsterExecutionInterruptedError

    def interrupt(_signum: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    except DagsterExecutionInterruptedError:
        raise KeyboardInterrupt from None
    finally:
        signal.signal(signal.SIGTERM, before)
