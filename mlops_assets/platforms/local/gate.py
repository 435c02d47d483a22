"""Who of this process and its warehouse process has the DuckDB file: many here, or one operation there.

Connections of one process share the file, but another process has to wait until all of them are closed. An
operation is therefore given away only while nobody here has it open, and whoever wants it meanwhile waits
for the operation, however long it takes.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar


class Gate:
    """The gate of one file; all of this process that name the file share it (`of`)."""

    _gates: ClassVar[dict[Path, Gate]] = {}
    _making: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._here, self._there = 0, False
        self._owner = 0  # the thread whose block is there

    @classmethod
    def of(cls, path: Path) -> Gate:
        """The gate of the file at `path`."""
        with cls._making:
            return cls._gates.setdefault(path.absolute(), cls())

    @contextmanager
    def here(self) -> Iterator[None]:
        """A block that opens the file in this process, beside any other such block."""
        with self._changed:
            self._wait()
            self._here += 1
        try:
            yield
        finally:
            with self._changed:
                self._here -= 1
                self._changed.notify_all()

    @contextmanager
    def there(self) -> Iterator[bool]:
        """A block that has the file opened elsewhere; False where it cannot, because it is open here."""
        with self._changed:
            self._wait()
            self._there = free = self._here == 0
            self._owner = threading.get_ident()
        try:
            yield free
        finally:
            if free:
                with self._changed:
                    self._there = False
                    self._changed.notify_all()

    def _wait(self) -> None:
        if self._there and self._owner == threading.get_ident():
            raise RuntimeError("this thread has the warehouse in use elsewhere, and would wait for itself")
        self._changed.wait_for(lambda: not self._there)
