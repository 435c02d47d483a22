"""A folder of objects that counts only with its marker: `_complete` names each file with its SHA-256."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mlops_assets.artifacts import ArtifactUri, digest_file
from mlops_assets.artifacts.digest import canonical_json
from mlops_assets.errors import ArtifactError, ConflictError, PathEscapeError
from mlops_assets.platforms.ports import ObjectInfo, ObjectStore

MARKER = "_complete"
# Seconds without any change after which another publisher's half folder counts as left behind.
PATIENCE = 20.0
_LOOK = 0.2
_ROUNDS = 20


@dataclass(frozen=True)
class _File:
    """One file to publish: its SHA-256, and how it gets to its place."""

    sha256: str
    place: Callable[[ArtifactUri], object]


class CopyingStore(ObjectStore, Protocol):
    """A store that renames nothing."""

    def add(self, path: Path, uri: ArtifactUri) -> ObjectInfo:
        """Write a local file's bytes where there is no object; ConflictError where there is one."""
        ...

    def copy(self, source: ArtifactUri, target: ArtifactUri) -> None:
        """Copy an object inside the store."""
        ...


class Publication:
    """Publishes and reads published folders of one store.

    The store renames nothing, so files are made visible one by one, each only where none is, and the marker
    last, only where none is: of several publishers the one that wrote the first file goes on, the others wait
    for its marker. A half folder that nobody has changed for 20 seconds is replaced.
    """

    def __init__(self, store: CopyingStore) -> None:
        self._store = store

    def publish(self, source: Path | ArtifactUri, uri: ArtifactUri) -> bool:
        """Publish `source`, a local folder or one of the store; False where `uri` was published already."""
        files = self._local(source) if isinstance(source, Path) else self._stored(source)
        won = self.published(uri) is None and self._win(uri, files)
        if isinstance(source, Path):
            shutil.rmtree(source)
        else:
            self._store.delete(source)
        return won

    def published(self, uri: ArtifactUri) -> Mapping[str, str] | None:
        """File name -> SHA-256 as published; None where the marker or a file that it names is missing."""
        marker = uri.join(MARKER)
        if self._store.head(marker) is None:
            return None
        try:
            files = json.loads(self._store.read(marker))
        except ValueError:
            raise ArtifactError(
                "The marker of a published folder is damaged.",
                where=str(marker),
                mend="Delete the folder and materialise its asset again.",
            ) from None
        return files if files.keys() <= self._present(uri).keys() else None

    def _win(self, uri: ArtifactUri, files: Mapping[str, _File]) -> bool:
        marker = canonical_json({name: file.sha256 for name, file in files.items()}).encode()
        for _ in range(_ROUNDS):
            rival = self._place_all(uri, files)
            if rival is None:
                try:
                    self._store.write(uri.join(MARKER), marker, if_absent=True)
                except ConflictError:
                    if self.published(uri) is not None:
                        return False
                    self._store.delete(uri)  # its marker is there, a file of it is not
                    continue
                return True
            if self._finished(uri):
                return False
            self._store.delete(uri)
        raise ConflictError(
            "Others keep publishing here.", where=str(uri), mend="Run again when they are done."
        )

    def _place_all(self, uri: ArtifactUri, files: Mapping[str, _File]) -> str | None:
        """Put every file where none is; the name of one that holds somebody else's bytes, if any."""
        for name, file in files.items():
            target = uri.join(name)
            if self._store.head(target) is None:
                with suppress(ConflictError):  # written meanwhile; whose it is shows below
                    file.place(target)
                    continue
            if self._store.digest(target) != file.sha256:
                return name
        for name in self._present(uri).keys() - files.keys() - {MARKER}:
            # Left behind: who publishes the same content has the same names.
            self._store.delete(uri.join(name))
        return None

    def _finished(self, uri: ArtifactUri) -> bool:
        """Wait for the other publisher's marker; False once it has shown no life for `PATIENCE`."""
        before, since = self._present(uri), time.monotonic()
        while time.monotonic() - since < PATIENCE:
            if MARKER in before:
                return self.published(uri) is not None
            time.sleep(_LOOK)
            now = self._present(uri)
            if now != before:
                before, since = now, time.monotonic()
        return False

    def _present(self, uri: ArtifactUri) -> dict[str, str]:
        return {uri.relative(info.uri): info.version for info in self._store.list(uri)}

    def _local(self, folder: Path) -> dict[str, _File]:
        if not folder.is_dir():
            raise ArtifactError(
                "There is no folder to publish.", where=str(folder), mend="Write the files first."
            )
        return dict(self._local_files(folder))

    def _local_files(self, folder: Path) -> Iterator[tuple[str, _File]]:
        for path in sorted(folder.rglob("*")):
            if path.is_symlink():
                raise PathEscapeError(
                    "A link cannot be published.", where=str(path), mend="Publish the file itself."
                )
            name = path.relative_to(folder).as_posix()
            if path.is_file() and name != MARKER:
                yield name, _File(digest_file(path), lambda to, path=path: self._store.add(path, to))

    def _stored(self, source: ArtifactUri) -> dict[str, _File]:
        files = {
            source.relative(info.uri): _File(
                self._store.digest(info.uri), lambda to, info=info: self._store.copy(info.uri, to)
            )
            for info in self._store.list(source)
            if info.uri != source.join(MARKER)
        }
        if not files:
            raise ArtifactError(
                "There is no folder to publish.", where=str(source), mend="Write the files first."
            )
        return files
