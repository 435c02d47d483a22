"""Artifacts as files below `<root>/store`: every write aside and renamed, every path confined to the root."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING, BinaryIO

from filelock import FileLock

from mlops_assets.artifacts import ArtifactUri, digest_file
from mlops_assets.errors import ArtifactError, ConflictError, PathEscapeError, StorageError
from mlops_assets.platforms.local import publication
from mlops_assets.platforms.local.listing import walk
from mlops_assets.platforms.local.scratch import scratch_path, sync_folder
from mlops_assets.platforms.ports import ObjectInfo

if TYPE_CHECKING:
    from mlops_assets.settings import Settings

_STRIPES = 64
_BLOCK = 1 << 20


class LocalObjectStore:
    """The ObjectStore of one machine, in `settings.root`/store.

    A version is `inode-size-mtime_ns`. Conditional writes hold across processes: writers of one key
    take turns at a lock file in `settings.root`/locks.
    """

    def __init__(self, settings: Settings) -> None:
        self._folder = settings.root / "store"
        self._locks = settings.root / "locks"
        self._root = ArtifactUri.from_path(self._folder)

    @property
    def root(self) -> ArtifactUri:
        """`file://<settings.root>/store`."""
        return self._root

    def list(
        self, prefix: ArtifactUri, *, after: str | None = None, limit: int | None = None
    ) -> Iterator[ObjectInfo]:
        """Objects below `prefix` in byte order of their key, without links, temporary files, unusable names.

        Costs one reading of the names in each folder visited, where it changed since the last, and one `stat`
        per object yielded.
        """
        found = (_info(prefix.join(key), status) for key, status in walk(self._path(prefix), after))
        return islice(found, limit) if limit is not None else found

    def head(self, uri: ArtifactUri) -> ObjectInfo | None:
        """The object's info, or None where there is none."""
        try:
            status = self._path(uri).stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                return None
            raise
        return _info(uri, status) if S_ISREG(status.st_mode) else None

    def digest(self, uri: ArtifactUri) -> str:
        """SHA-256 of the object's bytes."""
        with _reading(uri):
            return digest_file(self._path(uri))

    def read(self, uri: ArtifactUri) -> bytes:
        """All bytes of a small object."""
        with _reading(uri):
            return self._path(uri).read_bytes()

    def open(self, uri: ArtifactUri) -> BinaryIO:
        """A readable binary stream."""
        with _reading(uri):
            return self._path(uri).open("rb")

    def write(
        self, uri: ArtifactUri, data: bytes, *, if_absent: bool = False, if_version: str | None = None
    ) -> ObjectInfo:
        """Write `data`, at most one of several conditional writers of the same state winning."""

        def fill(file: BinaryIO) -> None:
            file.write(data)

        return self._write(uri, fill, if_absent=if_absent, if_version=if_version)

    def upload(self, path: Path, uri: ArtifactUri) -> ObjectInfo:
        """Write a local file's bytes in blocks of 1 MiB."""

        def fill(file: BinaryIO) -> None:
            with path.open("rb") as source:
                shutil.copyfileobj(source, file, _BLOCK)

        return self._write(uri, fill)

    def download(self, uri: ArtifactUri, path: Path) -> None:
        """Copy an object to a local file, written aside and renamed."""
        with self.open(uri) as source, _writing(str(path)):
            path.parent.mkdir(parents=True, exist_ok=True)
            with scratch_path(path) as scratch:
                with scratch.open("wb") as target:
                    shutil.copyfileobj(source, target, _BLOCK)
                scratch.replace(path)

    def publish(self, source: Path | ArtifactUri, uri: ArtifactUri) -> bool:
        """Make a folder visible below `uri` by one rename; the folder is consumed either way."""
        target = self._path(uri)
        folder = self._path(source) if isinstance(source, ArtifactUri) else source
        with self._lock(uri), _writing(uri):
            target.parent.mkdir(parents=True, exist_ok=True)
            return publication.publish(folder, target)

    def published(self, uri: ArtifactUri) -> Mapping[str, str] | None:
        """File name -> SHA-256 of a published folder; None where it, or one of its files, is not there."""
        return publication.published(self._path(uri))

    def delete(self, uri: ArtifactUri) -> None:
        """Remove one object, or everything below `uri`, first out of sight and then from the disk.

        Raises:
            PathEscapeError: for the root itself.
        """
        path = self._path(uri)
        if uri == self._root:
            raise PathEscapeError(
                "The whole store cannot be deleted.", where=uri, mend="Delete a prefix below it."
            )
        with self._lock(uri), _writing(uri):
            if not os.path.lexists(path):
                return
            with scratch_path(path) as scratch:
                path.rename(scratch)
            sync_folder(path.parent)

    def local(self, uri: ArtifactUri) -> Path:
        """The object's or folder's own path."""
        path = self._path(uri)
        if not path.exists():
            raise _missing(uri)
        return path

    def _write(
        self,
        uri: ArtifactUri,
        fill: Callable[[BinaryIO], None],
        *,
        if_absent: bool = False,
        if_version: str | None = None,
    ) -> ObjectInfo:
        path = self._path(uri)
        if uri == self._root or os.path.isdir(path):  # noqa: PTH112 - False, no error, for an impossible name
            raise ConflictError("A folder has this name.", where=uri, mend="Write to a key below it.")
        with _writing(uri):
            path.parent.mkdir(parents=True, exist_ok=True)
            with scratch_path(path) as scratch:
                with scratch.open("xb") as file:
                    fill(file)
                    file.flush()
                    os.fsync(file.fileno())
                status = scratch.stat()
                with self._lock(uri):
                    self._check(uri, if_absent, if_version)
                    scratch.replace(path)
            sync_folder(path.parent)
        return _info(uri, status)

    def _check(self, uri: ArtifactUri, if_absent: bool, if_version: str | None) -> None:
        if not if_absent and if_version is None:
            return
        present = self.head(uri)
        if if_absent and present is not None:
            raise ConflictError("It exists already.", where=uri, mend="Read what the first writer wrote.")
        if if_version is not None and (present is None or present.version != if_version):
            raise ConflictError(
                "Somebody else wrote it meanwhile.", where=uri, mend="Read it again, then write."
            )

    def _path(self, uri: ArtifactUri) -> Path:
        """The path of `uri`, whose every link ends inside the root."""
        relative = self._root.relative(uri) if uri != self._root else ""
        path = self._folder / relative
        try:
            inside = path.resolve().is_relative_to(self._folder.resolve())
        except (RuntimeError, OSError) as error:  # a loop of links, or a name the file system cannot hold
            if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
                return path
            inside = False
        if not inside:
            raise PathEscapeError(
                "A link leads out of the store.", where=uri, mend="Copy the file into the store."
            )
        return path

    def _lock(self, uri: ArtifactUri) -> AbstractContextManager[object]:
        self._locks.mkdir(parents=True, exist_ok=True)
        stripe = int(hashlib.sha256(uri.encode("utf-8", "surrogatepass")).hexdigest(), 16) % _STRIPES
        return FileLock(self._locks / f"store-{stripe:02d}.lock", thread_local=False)


def _info(uri: ArtifactUri, status: os.stat_result) -> ObjectInfo:
    return ObjectInfo(
        uri=uri,
        version=f"{status.st_ino}-{status.st_size}-{status.st_mtime_ns}",
        size=status.st_size,
        modified=datetime.fromtimestamp(status.st_mtime, UTC),
    )


def _missing(uri: ArtifactUri) -> ArtifactError:
    return ArtifactError("There is no such object.", where=uri, mend="Materialise the asset that writes it.")


@contextmanager
def _reading(uri: ArtifactUri) -> Iterator[None]:
    """ArtifactError where the object is missing or a folder."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise _missing(uri) from None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise _missing(uri) from None
        raise StorageError(
            f"It cannot be read: {error.strerror}.", where=uri, mend="Check its permissions."
        ) from error


@contextmanager
def _writing(where: str) -> Iterator[None]:
    """Say which object could not be written and why; nothing of it is visible then."""
    try:
        yield
    except (NotADirectoryError, FileExistsError):
        raise ConflictError(
            "A part of its key is an object itself.", where=where, mend="Choose another key."
        ) from None
    except OSError as error:
        mend = "Use a key whose segments have at most 255 bytes."
        if error.errno != errno.ENAMETOOLONG:
            mend = "Free space on the disk, or check the folder's permissions; then run again."
        raise StorageError(f"It cannot be written: {error.strerror}.", where=where, mend=mend) from error
