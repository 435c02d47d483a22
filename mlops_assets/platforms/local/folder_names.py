"""The names in a folder in byte order; those of large folders are remembered until the folder changes.

Reading and sorting 100,000 names takes longer than all else in a tick of a landing sensor. What is remembered
is the names alone, never what a file holds or when it was written: that is asked of each file looked at.
Where the system tells which names changed (`folder_changes`), a large folder is not read again for a few.
"""

from __future__ import annotations

import os
import time
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock

from mlops_assets.platforms.local.folder_changes import Changes, FolderChanges

# A folder changed again within the granularity of its time shows the same time. Kernels advance the time they
# stamp files with every 1 to 10 ms; file systems that round to seconds (HFS+, FAT) show whole milliseconds.
_FINE, _COARSE = 20_000_000, 2_500_000_000
# Where a file system keeps no time for folders, or another machine changes them too, a name may be missed for
# as long as this, in seconds.
_TRUSTED = 300.0
_SMALLEST, _MOST = 2_000, 500_000
# Each change costs a copy within the names; reading them all again costs as much as some thousands.
_FEW = 1_000


@dataclass(frozen=True)
class _Folder:
    """What was read of a folder whose times were `stamp`; `settled`: a change since would show in them."""

    stamp: tuple[int, ...]
    settled: bool
    until: float
    ordered: Sequence[bytes]


class FolderNames:
    """Names by folder, of at most 500,000 names in all (about 40 MB); the least lately used are forgotten.

    May be used by several threads.
    """

    def __init__(self) -> None:
        self._folders: OrderedDict[bytes, _Folder] = OrderedDict()
        self._changes = FolderChanges()
        self._lock = Lock()

    def read(self, folder: bytes) -> Sequence[bytes]:
        """The names in `folder` in byte order, none where it is no folder; not to be changed."""
        with self._lock:
            try:
                return self._remembered(folder) or self._read(folder)
            except (FileNotFoundError, NotADirectoryError):
                self._forget(folder)
                return ()

    def _remembered(self, folder: bytes) -> Sequence[bytes] | None:
        """The names as they are now, by what was read and what changed since; None where not known."""
        found, stamp = self._folders.get(folder), _stamp(folder)
        if found is None or time.monotonic() >= found.until or found.stamp[:2] != stamp[:2]:
            return None
        changes = self._changes.take(folder)
        if changes and len(changes) <= _FEW:
            # The times were asked before the changes were: where they moved on between, it is read once more.
            found = _Folder(stamp, False, found.until, _changed(found.ordered, changes))
            self._folders[folder] = found
        elif changes or found.stamp != stamp or (changes is None and not found.settled):
            return None  # too many to follow, another machine's, or perhaps one in the same moment
        self._folders.move_to_end(folder)
        return found.ordered

    def _read(self, folder: bytes) -> Sequence[bytes]:
        # Watched before it is read, so that no change falls between.
        watched = folder in self._folders and self._changes.watch(folder)
        stamp, now = _stamp(folder), time.time_ns()
        names = os.listdir(folder)  # noqa: PTH208 - a tenth of the time of Path.iterdir
        if len(names) < _SMALLEST:
            self._forget(folder)
            return sorted(names)
        if not watched and self._changes.watch(folder):
            stamp, now = _stamp(folder), time.time_ns()
            names = os.listdir(folder)  # noqa: PTH208
        settled = now - max(stamp[2:]) > _granularity(stamp)
        ordered = sorted(names)
        self._folders[folder] = _Folder(stamp, settled, time.monotonic() + _TRUSTED, ordered)
        self._folders.move_to_end(folder)
        while sum(len(kept.ordered) for kept in self._folders.values()) > _MOST:
            self._changes.forget(self._folders.popitem(last=False)[0])
        return ordered

    def _forget(self, folder: bytes) -> None:
        if self._folders.pop(folder, None) is not None:
            self._changes.forget(folder)


def _stamp(folder: bytes) -> tuple[int, ...]:
    status = os.stat(folder)  # noqa: PTH116 - bytes; a Path cannot hold every name
    return (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns)


def _changed(ordered: Sequence[bytes], changes: Changes) -> Sequence[bytes]:
    names = list(ordered)
    for name, there in changes.items():
        place = bisect_left(names, name)
        present = place < len(names) and names[place] == name
        if there and not present:
            names.insert(place, name)
        elif present and not there:
            del names[place]
    return names


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


def _granularity(stamp: tuple[int, ...]) -> int:
    """Nanoseconds within which two changes may show one time, by the digits of the times."""
    return _FINE if any(moment % 1_000_000 for moment in stamp[2:]) else _COARSE
