"""A remote job followed to its end: what is reported of it, and that it is stopped with the run."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from dagster import DagsterExecutionInterruptedError

_INTERRUPTIONS = (DagsterExecutionInterruptedError, KeyboardInterrupt, SystemExit)
_TAIL = 30


class Following:
    """What was reported of a job so far.

    Args:
        job: how the job is called, for people: `SageMaker job train-1`.
        console: link to its page.
        lines: the new lines of its log, at each call.
        report: gets each step.
    """

    def __init__(
        self, job: str, console: str, lines: Callable[[], Sequence[str]], report: Callable[[str], None]
    ) -> None:
        self.tail: list[str] = []
        self._job, self._console, self._lines, self._report = job, console, lines, report
        self._steps = 0

    def begin(self, *, attached: bool) -> None:
        """Say that the job is there, and where a person sees it."""
        self._report(f"{'attached to' if attached else 'started'} {self._job}: {self._console}")

    def look(self, steps: Sequence[str]) -> None:
        """Report those of all steps so far that are new, and print the new lines."""
        for step in steps[self._steps :]:
            self._report(f"{self._job}: {step}")
        self._steps = max(self._steps, len(steps))
        for line in self._lines():
            print(line, file=sys.stdout, flush=True)
            self.tail = [*self.tail[-_TAIL + 1 :], line]

    @contextmanager
    def stopping(self, stop: Callable[[], None]) -> Iterator[None]:
        """Stop the job where the block is interrupted; a failure to stop it must not hide why we leave."""
        try:
            yield
        except _INTERRUPTIONS:
            try:
                stop()
            except Exception as error:
                self._report(f"{self._job} could not be stopped ({error}): stop it at {self._console}")
            else:
                self._report(f"interrupted: {self._job} was told to stop")
            raise
