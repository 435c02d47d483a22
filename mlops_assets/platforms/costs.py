"""What the warehouse is asked, counted under the asset that it is asked for, the same on every platform.

A stage opens an account; whatever its thread asks of a warehouse meanwhile is entered there by the adapter.
Figures are named with their unit: `queries`, `query_seconds`, and what else a warehouse bills by.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Account:
    """What one asset's making cost so far.

    Attributes:
        asset: `model/stage`.
        run: id of the run.
        figures: name with its unit -> sum; empty where nothing was asked.
    """

    asset: str
    run: str
    figures: dict[str, float] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """What the service's own history knows the asset's queries by."""
        return f"{self.asset} {self.run}"


_OPEN: ContextVar[Account | None] = ContextVar("costs", default=None)


@contextmanager
def counting(asset: str, run: str) -> Iterator[Account]:
    """Count what this thread asks of a warehouse; within another account, that one is left alone."""
    account = Account(asset, run)
    token = _OPEN.set(account)
    try:
        yield account
    finally:
        _OPEN.reset(token)


def open_account() -> Account | None:
    """The account of what is asked now; None where nobody counts."""
    return _OPEN.get()


def spend(**figures: float) -> None:
    """Enter figures into the open account, if there is one."""
    account = _OPEN.get()
    if account is not None:
        for name, value in figures.items():
            account.figures[name] = account.figures.get(name, 0) + value


@contextmanager
def query() -> Iterator[None]:
    """Enter one query and how long it takes, whatever becomes of it."""
    started = time.monotonic()
    try:
        yield
    finally:
        spend(queries=1, query_seconds=time.monotonic() - started)
