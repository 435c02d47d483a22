"""Copies of objects on this machine for readers that need a file: one per version, whole or not there."""

from __future__ import annotations

import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock

from mlops_assets.artifacts import ArtifactUri, digest_of
from mlops_assets.platforms.objects import no_object
from mlops_assets.platforms.ports import ObjectInfo, ObjectStore

Download = Callable[[ArtifactUri, Path], None]
_AT_ONCE = 8
_UNFINISHED = ".tmp-"
IN_USE = 6 * 3600.0
"""Seconds for which whoever was given a copy may go on opening its files."""


class LocalCopies:
    """A folder of copies, bounded: the ones that nobody has asked for longest go first.

    Its bound gives way to readers: what was asked for within `IN_USE` stays, and so does what this process
    was given. A file that is open is read to its end whatever happens to its name.
    """

    def __init__(self, folder: Path, download: Download, *, megabytes: int = 20_000) -> None:
        """Nothing is copied yet.

        Args:
            folder: where the copies lie; it can be deleted while nobody reads.
            download: copies one object to a path.
            megabytes: what all copies may take together.
        """
        self._folder, self._download, self._most = folder, download, megabytes * 1_000_000
        self._given: set[Path] = set()

    def path(self, store: ObjectStore, uri: ArtifactUri) -> Path:
        """The path of the copy of a store's object, or of the folder below `uri`.

        Raises:
            ArtifactError: where there is neither.
        """
        info = store.head(uri) if uri != store.root else None
        if info is not None:
            return self.object(info)
        below = list(store.list(uri))
        if not below:
            raise no_object(uri)
        return self.folder(uri, below)

    def object(self, info: ObjectInfo) -> Path:
        """The path of one object's copy."""
        return self._made(info.uri, {info.uri.name: info}) / info.uri.name

    def folder(self, uri: ArtifactUri, infos: Sequence[ObjectInfo]) -> Path:
        """The path of a folder that holds the objects by their key below `uri`."""
        return self._made(uri, {uri.relative(info.uri): info for info in infos})

    def _made(self, uri: ArtifactUri, files: dict[str, ObjectInfo]) -> Path:
        versions = {name: info.version for name, info in files.items()}
        target = self._folder / digest_of([uri, versions])
        if self._took(target):
            return target
        aside = self._folder / f"{_UNFINISHED}{uuid.uuid4().hex}"
        try:
            for name in files:
                (aside / name).parent.mkdir(parents=True, exist_ok=True)
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                list(pool.map(lambda name: self._download(files[name].uri, aside / name), files))
            try:
                aside.rename(target)
            except OSError:
                if not target.is_dir():  # another process was first
                    raise
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        self._took(target)
        self._prune()
        return target

    def _took(self, copy: Path) -> bool:
        """Note that the copy is in use; False where there is none."""
        with self._alone():
            try:
                os.utime(copy)
            except FileNotFoundError:
                return False
        self._given.add(copy)
        return True

    def _prune(self) -> None:
        """Remove copies until the others are within the bound, and what dead processes left unfinished."""
        with self._alone():
            used = sorted((item.stat().st_mtime, item) for item in self._folder.iterdir() if item.is_dir())
            sizes = {copy: _size(copy) for _, copy in used}
            total, before = sum(sizes.values()), time.time() - IN_USE
            gone: list[Path] = []
            for last, copy in used:
                idle = last < before and copy not in self._given
                if idle and (total > self._most or copy.name.startswith(_UNFINISHED)):
                    total -= sizes[copy]
                    # Out of the way at once; removing many files takes its time.
                    gone.append(copy.rename(copy.with_name(f"{_UNFINISHED}{uuid.uuid4().hex}")))
        for copy in gone:
            shutil.rmtree(copy, ignore_errors=True)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """No other process takes or removes a copy meanwhile."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self._folder / ".lock"):
            yield


def _size(folder: Path) -> int:
    total = 0
    for file in folder.rglob("*"):
        with suppress(OSError):
            total += file.stat().st_size if file.is_file() else 0
    return total


def downloaded(uri: ArtifactUri, path: Path, download: Download) -> None:
    """Copy an object to `path`, written aside and renamed."""
    aside = path.with_name(f".tmp-{uuid.uuid4().hex}")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        download(uri, aside)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
