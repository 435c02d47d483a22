"""Walking a folder in byte order of the keys, from a key onwards, without a `stat` per name."""

from __future__ import annotations

import heapq
import logging
import os
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from stat import S_ISDIR, S_ISREG

from mlops_assets.artifacts.uri import check_key
from mlops_assets.errors import PathEscapeError
from mlops_assets.platforms.local.folder_names import FolderNames, from_name
from mlops_assets.platforms.local.scratch import PREFIX

_LOGGER = logging.getLogger(__name__)
_NAMES = FolderNames()
_SCRATCH = PREFIX.encode()


def walk(folder: Path, after: str | None = None) -> Iterator[tuple[str, os.stat_result]]:
    """(key relative to `folder`, status) of each file whose key is > `after`, in byte order of the keys.

    Links are not followed. A name that no key can hold is skipped with a warning, so that it cannot stop the
    others.
    """
    begin = (after or "").encode("utf-8", "surrogatepass")
    yield from _walk(os.fsencode(folder) + b"/", b"", begin)


def _walk(folder: bytes, parent: bytes, after: bytes) -> Iterator[tuple[str, os.stat_result]]:
    ordered = _NAMES.read(folder)
    beginnings, position = from_name(ordered, after)
    folders: list[bytes] = []  # seen already; their keys sort where `name/` does, which may be later
    for name in chain(beginnings, map(ordered.__getitem__, range(position, len(ordered)))):
        if name.startswith(_SCRATCH):
            continue
        while folders and folders[0] < name:
            yield from _descend(folder, parent, heapq.heappop(folders), after)
        try:
            status = os.lstat(folder + name)
        except FileNotFoundError:  # deleted since the names were read
            continue
        key = os.fsdecode(parent + name)
        if not _usable(folder, key):
            continue
        if S_ISDIR(status.st_mode):
            folded = name + b"/"
            if folded > after or after.startswith(folded):
                heapq.heappush(folders, folded)
        elif S_ISREG(status.st_mode) and name > after:
            yield key, status
    while folders:
        yield from _descend(folder, parent, heapq.heappop(folders), after)


def _descend(folder: bytes, parent: bytes, name: bytes, after: bytes) -> Iterator[tuple[str, os.stat_result]]:
    rest = after[len(name) :] if after.startswith(name) else b""
    yield from _walk(folder + name, parent + name, rest)


def _usable(folder: bytes, key: str) -> bool:
    try:
        check_key(key)
        key.encode()
    except (PathEscapeError, UnicodeEncodeError):
        _LOGGER.warning(
            "Skipped %r in %r: no object key can hold this name. Mend: rename the file.",
            key,
            os.fsdecode(folder),
        )
        return False
    return True
