"""How many threads an estimator gets: every core for many rows, one for few.

Threads that share few rows spend their time waiting for each other. Where others use the cores, too, two of
them take twice as long as one to fit 6,000 rows and many times as long to predict 1,000; on two idle cores
they are hardly faster.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

FIT, PREDICT = 50_000, 8_192
"""Rows from which on more than one thread is of use."""


@contextmanager
def threads_for(rows: int, enough: int) -> Iterator[None]:
    """A block whose OpenMP regions get one thread where there are fewer rows than `enough`."""
    if rows >= enough:
        yield
        return
    with _pools().limit(limits=1, user_api="openmp"):
        yield


@lru_cache(maxsize=1)
def _pools() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
