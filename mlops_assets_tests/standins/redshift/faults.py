"""What can go wrong on the way: a connection that is dropped at a named point, as often as a test says."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING, Literal

from mlops_assets_tests.standins.redshift.wire import Closed

if TYPE_CHECKING:
    from mlops_assets_tests.standins.redshift.session import Session

Point = Literal["copy", "unload", "swap", "commit", "committed", "statement"]
"""`commit`: before the engine sees it; `committed`: after it has, before the client hears of it."""


class Faults:
    """Points at which the next sessions lose their connection."""

    def __init__(self) -> None:
        self._left: Counter[str] = Counter()
        self._guard = threading.Lock()
        self.dropped: Counter[str] = Counter()

    def drop(self, point: Point, times: int = 1) -> None:
        """Drop the connection of whoever reaches `point`, the next `times` times."""
        with self._guard:
            self._left[point] += times

    def reached(self, point: Point, session: Session) -> None:
        """A session is at `point`.

        Raises:
            Closed: where its connection is to be dropped.
        """
        with self._guard:
            if not self._left[point]:
                return
            self._left[point] -= 1
            self.dropped[point] += 1
        session.hang_up()
        raise Closed
