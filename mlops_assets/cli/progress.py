"""Progress of a run, stage by stage: a live line on a terminal, one plain line per stage elsewhere."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.status import Status


class Progress(logging.Handler):
    """Reads Dagster's events off its log and shows each stage's start, last message, end and reason.

    Attributes:
        reasons: stage -> why it ran or was skipped, as the stage itself said.
        skipped: stages that had nothing to do.
    """

    def __init__(self, descriptor: int, *, verbose: bool = False) -> None:
        super().__init__(logging.DEBUG)
        self.reasons: dict[str, str] = {}
        self.skipped: set[str] = set()
        self._started: dict[str, float] = {}
        self._verbose = verbose
        self._file = os.fdopen(descriptor, "w", buffering=1, encoding="utf-8", errors="replace")
        self._status: Status | None = None

    @contextmanager
    def shown(self) -> Iterator[Progress]:
        """Show progress while the block runs."""
        from rich.console import Console

        console = Console(file=self._file, highlight=False)
        try:
            if console.is_terminal and not self._verbose:
                with console.status("starting") as self._status:
                    yield self
            else:
                yield self
        finally:
            self._status = None
            self._file.close()

    def emit(self, record: logging.LogRecord) -> None:
        """Show one record."""
        meta = getattr(record, "dagster_meta", None) or {}
        event = meta.get("dagster_event")
        if self._verbose:
            self._line(f"{record.levelname:8} {record.getMessage()}")
        if event is None:
            self._message(str(meta.get("orig_message") or record.getMessage()), record.levelno)
        else:
            self._event(event)

    def _event(self, event: Any) -> None:
        stage = _stage(event.step_key)
        kind = event.event_type_value
        if kind == "STEP_START":
            self._started[stage] = time.monotonic()
            self._show(stage)
        elif kind == "ASSET_MATERIALIZATION":
            self._materialised(event)
        elif kind == "ASSET_CHECK_EVALUATION":
            self._checked(event.asset_check_evaluation_data)
        elif kind == "STEP_SUCCESS":
            seconds = time.monotonic() - self._started.get(stage, time.monotonic())
            how = "unchanged" if stage in self.skipped else "done"
            reason = self.reasons.get(stage, "")
            self._line(f"  {stage:<18} {how:<10} {seconds:6.1f} s  {reason}".rstrip())
        elif kind == "STEP_FAILURE":
            # A check that stops the run is an answer, not an accident.
            error = event.step_failure_data.error
            refused = error is not None and error.cls_name == "DagsterAssetCheckFailedError"
            self._line(f"  {stage:<18} {'refused' if refused else 'failed'}")

    def _checked(self, check: Any) -> None:
        """Say what a check warns of; the gates have their place in the outcome, and so have failures."""
        if not check.passed and not check.blocking and check.asset_key.path[-1] != "evaluation":
            self._line(f"  warning: {check.asset_key.path[-1]}, {check.check_name}: {check.description}")

    def _materialised(self, event: Any) -> None:
        materialisation = event.step_materialization_data.materialization
        stage = materialisation.asset_key.path[-1]
        metadata = materialisation.metadata
        reason = metadata.get("mlops/reason")
        if reason is not None:
            self.reasons[stage] = str(reason.value)
        skipped = metadata.get("mlops/skipped")
        if skipped is not None and bool(skipped.value):
            self.skipped.add(stage)

    def _message(self, text: str, level: int) -> None:
        if text.startswith("Dependencies for step"):
            return  # one line for every stage behind the failed one says nothing that the failed one did not
        if level >= logging.WARNING and not self._verbose:
            self._line(f"  {'warning' if level < logging.ERROR else 'error'}: {text.splitlines()[0]}")
        elif self._status is not None:
            self._show(text.splitlines()[0] if text else "")

    def _show(self, text: str) -> None:
        if self._status is not None:
            from rich.text import Text

            self._status.update(Text(text[:160]))

    def _line(self, text: str) -> None:
        if self._status is not None:
            from rich.text import Text

            self._status.console.print(Text(text), soft_wrap=True)
        else:
            print(text, file=self._file)


def _stage(step_key: str | None) -> str:
    return (step_key or "").split("__", 1)[-1]
