"""The names in a folder in byte order; those of large folders are remembered until the folder changes.

Reading and sorting 100,000 names takes longer than all else in a tick of a landing sensor. What is remembered
is the names alone, never what a file holds or when it was written: that is asked of each file looked at.
"""

from __future__ import annotations

import os
import time
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import filterfalse
from threading import Lock

# A folder changed again within the granularity of its time shows the same time. Kernels advance the time they
# stamp files with every 1 to 10 ms; file systems that round to seconds (HFS+, FAT) show whole milliseconds.
_FINE, _COARSE = 20_000_000, 2_500_000_000
# Where a file system keeps no time for folders, or another machine's clock stamps them, a name may be missed
# for as long as this, in seconds.
_TRUSTED = 300.0
_SMALLEST, _MOST = 2_000, 500_000


@dataclass(frozen=True)
class _Folder:
    """What was read of a folder: `stamp` is None where it may have changed since without showing it."""

    stamp: tuple[int, ...] | None
    until: float
    ordered: Sequence[bytes]
    known: frozenset[bytes] | set[bytes]


class FolderNames:
    """Names by folder, of at most 500,000 names in all (about 70 MB); the least lately used are forgotten.

    May be used by several threads.
    """

    def __init__(self) -> None:
        self._folders: OrderedDict[bytes, _Folder] = OrderedDict()
        self._lock = Lock()

    def read(self, folder: bytes) -> Sequence[bytes]:
        """The names in `folder` in byte order, none where it is no folder; not to be changed."""
        try:
            status = os.stat(folder)  # noqa: PTH116 - bytes; a Path cannot hold every name
            stamp = (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns)
            before = self._remembered(folder)
            if before is not None and before.stamp == stamp and time.monotonic() < before.until:
                return before.ordered
            settled = time.time_ns() - max(stamp[2:]) > _granularity(stamp)
            names = os.listdir(folder)  # noqa: PTH208 - a tenth of the time of Path.iterdir
        except (FileNotFoundError, NotADirectoryError):
            self._forget(folder)
            return ()
        if len(names) < _SMALLEST:
            self._forget(folder)
            return sorted(names)
        now = _updated(before, names)
        until = time.monotonic() + _TRUSTED
        self._remember(folder, _Folder(stamp if settled else None, until, now.ordered, now.known))
        return now.ordered

    def _remembered(self, folder: bytes) -> _Folder | None:
        with self._lock:
            found = self._folders.get(folder)
            if found is not None:
                self._folders.move_to_end(folder)
            return found

    def _remember(self, folder: bytes, read: _Folder) -> None:
        with self._lock:
            self._folders[folder] = read
            self._folders.move_to_end(folder)
            while sum(len(kept.ordered) for kept in self._folders.values()) > _MOST:
                self._folders.popitem(last=False)

    def _forget(self, folder: bytes) -> None:
        with self._lock:
            self._folders.pop(folder, None)


def from_name(ordered: Sequence[bytes], after: bytes) -> tuple[list[bytes], int]:
    """Names that can be, or hold, a key > `after`: some before a position in `ordered`, and all from it on.

    Before it there can only be names that `after` begins with: as folders they sort by `name/`.
    """
    position = bisect_right(ordered, after)
    beginnings = [after[:length] for length in range(1, len(after) + 1)]
    return [name for name in beginnings if _holds(ordered, name, position)], position


def _holds(ordered: Sequence[bytes], name: bytes, end: int) -> bool:
    place = bisect_right(ordered, name, 0, end)
    return place > 0 and ordered[place - 1] == name


def _updated(before: _Folder | None, names: list[bytes]) -> _Folder:
    """The names read now, by way of those read before: few are new, as a rule, and none is gone."""
    if before is not None:
        new = list(filterfalse(before.known.__contains__, names))
        if len(names) - len(new) == len(before.known):
            # Sorting what is in order but for its end is one pass.
            return (
                _Folder(None, 0.0, sorted([*before.ordered, *sorted(new)]), before.known.union(new))
                if new
                else before
            )
    return _Folder(None, 0.0, sorted(names), set(names))


def _granularity(stamp: tuple[int, ...]) -> int:
    """Nanoseconds within which two changes may show one time, by the digits of the times."""
    return _FINE if any(moment % 1_000_000 for moment in stamp[2:]) else _COARSE
