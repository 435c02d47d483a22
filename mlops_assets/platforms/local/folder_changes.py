"""What was made in and taken from folders since they were read, as Linux tells it (inotify(7)).

The kernel queues an event before the call that changes a folder returns: what was changed on this machine is
told at once. What another machine changes on a shared file system is not. Other systems tell nothing here.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
from collections.abc import Iterator
from threading import Lock
from typing import Any

# From <sys/inotify.h>.
_MOVED_FROM, _MOVED_TO, _CREATED, _DELETED = 0x40, 0x80, 0x100, 0x200
_DELETED_SELF, _MOVED_SELF, _UNMOUNTED, _OVERFLOW, _IGNORED = 0x400, 0x800, 0x2000, 0x4000, 0x8000
_ONLY_FOLDERS = 0x0100_0000
_ASKED = _MOVED_FROM | _MOVED_TO | _CREATED | _DELETED | _DELETED_SELF | _MOVED_SELF | _ONLY_FOLDERS
_EVENT = struct.Struct("iIII")
_BLOCK = 1 << 16

Changes = dict[bytes, bool]
"""Name -> whether it is there now."""


class FolderChanges:
    """Changes by folder, from the moment that it is watched. May be used by several threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._owner = 0
        self._descriptor = -1
        self._numbers: dict[bytes, int] = {}
        self._changes: dict[int, Changes] = {}

    def watch(self, folder: bytes) -> bool:
        """Watch from now on; False where the system does not tell, or watches as much as it may already."""
        with self._lock:
            if not self._begun():
                return False
            number = _libc().inotify_add_watch(self._descriptor, folder, _ASKED)
            if number < 0:
                return False
            self._numbers[folder] = number
            self._changes[number] = {}
            return True

    def take(self, folder: bytes) -> Changes | None:
        """What changed since this was last asked; None where it is not watched, or not any more."""
        with self._lock:
            if self._owner != os.getpid():  # a fork's events are its parent's
                return None
            self._receive()
            number = self._numbers.get(folder)
            changes = None if number is None else self._changes.get(number)
            if number is None or changes is None:
                self._numbers.pop(folder, None)
                return None
            self._changes[number] = {}
            return changes

    def forget(self, folder: bytes) -> None:
        """Watch it no longer."""
        with self._lock:
            number = self._numbers.pop(folder, None)
            if number is not None and number not in self._numbers.values():
                self._changes.pop(number, None)
                _libc().inotify_rm_watch(self._descriptor, number)

    def _begun(self) -> bool:
        if self._owner != os.getpid():
            self._end()
            if not hasattr(_libc(), "inotify_init1"):
                return False
            self._descriptor = _libc().inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
            self._owner = os.getpid() if self._descriptor >= 0 else 0
        return self._descriptor >= 0

    def _end(self) -> None:
        if self._descriptor >= 0:
            with contextlib.suppress(OSError):
                os.close(self._descriptor)
        self._owner, self._descriptor = 0, -1
        self._numbers.clear()
        self._changes.clear()

    def _receive(self) -> None:
        for number, mask, name in self._events():
            if mask & _OVERFLOW:  # events were lost, nobody knows whose
                self._end()
                return
            if mask & (_DELETED_SELF | _MOVED_SELF | _UNMOUNTED | _IGNORED):
                self._changes.pop(number, None)
            elif (changes := self._changes.get(number)) is not None:
                changes[name] = bool(mask & (_CREATED | _MOVED_TO))

    def _events(self) -> Iterator[tuple[int, int, bytes]]:
        while True:
            try:
                block = os.read(self._descriptor, _BLOCK)
            except BlockingIOError:
                return
            place = 0
            while place < len(block):
                number, mask, _, length = _EVENT.unpack_from(block, place)
                place += _EVENT.size
                yield number, mask, block[place : place + length].rstrip(b"\0")
                place += length


def _libc() -> Any:
    return ctypes.CDLL(None, use_errno=True)
