"""Artifacts as Cloud Storage objects below one prefix: checksummed, conditional where the port says so."""

from __future__ import annotations

import hashlib
import io
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from mlops_assets.artifacts import ArtifactUri, digest_file
from mlops_assets.platforms.gcp.checked_stream import checked_stream
from mlops_assets.platforms.gcp.client import TIMEOUT, retry, speaking, storage_client
from mlops_assets.platforms.local_copies import LocalCopies, downloaded
from mlops_assets.platforms.objects import demand_below, key_below, listed_uri, lost_write, no_object
from mlops_assets.platforms.ports import ObjectInfo
from mlops_assets.platforms.publication import Publication

if TYPE_CHECKING:
    from google.cloud.storage import Blob, Bucket

    from mlops_assets.platforms.gcp.settings import GcpSettings
    from mlops_assets.settings import Settings

_BLOCK = 1 << 20
# Bytes of a chunk of a resumable upload: what is sent again after a broken connection, at most.
_CHUNK = 32 << 20
_PAGE = 1_000
_LISTED = "items(name,generation,size,updated),nextPageToken"
_AT_ONCE = 8
# Names in an object's own metadata.
_SHA256, _WRITER = "mlops-sha256", "mlops-writer"


class CloudStorageObjectStore:
    """The ObjectStore below `MLOPS_GCP_ROOT`.

    A version is the object's generation, which every write changes. Writes and reads are checked by CRC32C;
    the SHA-256 of what this store writes is kept in the object's metadata. Throttled calls are tried again.
    """

    def __init__(self, settings: Settings, gcp: GcpSettings) -> None:
        self._root, self._kms_key = gcp.root, gcp.kms_key
        self._bucket: Bucket = storage_client(gcp.project).bucket(gcp.root.bucket)
        self._copies = LocalCopies(
            settings.root / "cache" / "gcs", self._download, megabytes=gcp.cache_megabytes
        )
        self._publication = Publication(self)
        self._calls: dict[str, Any] = {"retry": retry(), "timeout": TIMEOUT}

    @property
    def root(self) -> ArtifactUri:
        """`MLOPS_GCP_ROOT`."""
        return self._root

    def list(
        self, prefix: ArtifactUri, *, after: str | None = None, limit: int | None = None
    ) -> Iterator[ObjectInfo]:
        """Objects below `prefix` in byte order of their key; a page of 1,000 costs one call.

        Folder markers of the console (empty, with a trailing slash) are left out, and keys that no URI can
        hold, with a warning.
        """
        # One more than the limit: the offset itself is listed too.
        page = min(limit + 1, _PAGE) if limit else _PAGE
        return islice(self._listed(prefix, after, page), limit)

    def head(self, uri: ArtifactUri) -> ObjectInfo | None:
        """The object's info, or None where there is none."""
        blob = self._found(uri)
        return None if blob is None else _info(uri, blob)

    def digest(self, uri: ArtifactUri) -> str:
        """SHA-256 as this store wrote it down; of what others wrote, of its bytes."""
        blob = self._known(uri)
        known = (blob.metadata or {}).get(_SHA256)
        if known:
            return known
        sha = hashlib.sha256()
        with checked_stream(blob, uri) as stream:
            while block := stream.read(_BLOCK):
                sha.update(block)
        return sha.hexdigest()

    def read(self, uri: ArtifactUri) -> bytes:
        """All bytes of a small object."""
        from google.api_core.exceptions import NotFound

        with speaking(uri):
            try:
                return self._blob(uri).download_as_bytes(raw_download=True, **self._calls)
            except NotFound as error:
                if _no_bucket(error):
                    raise
        raise no_object(uri)

    def open(self, uri: ArtifactUri) -> BinaryIO:
        """A seekable stream of the object as it is now; see `checked_stream` for what it asks for."""
        return checked_stream(self._known(uri), uri)

    def write(
        self, uri: ArtifactUri, data: bytes, *, if_absent: bool = False, if_version: str | None = None
    ) -> ObjectInfo:
        """Write `data`, at most one of several conditional writers of the same state winning."""
        sha = hashlib.sha256(data).hexdigest()
        expected = 0 if if_absent else None if if_version is None else int(if_version)
        return self._put(uri, io.BytesIO(data), len(data), sha, expected)

    def upload(self, path: Path, uri: ArtifactUri) -> ObjectInfo:
        """Write a local file's bytes; above 8 MiB in chunks, of which only a broken one is sent again."""
        return self._upload(path, uri, None)

    def add(self, path: Path, uri: ArtifactUri) -> ObjectInfo:
        """Write a local file's bytes where there is no object; ConflictError where there is one."""
        return self._upload(path, uri, 0)

    def copy(self, source: ArtifactUri, target: ArtifactUri) -> None:
        """Copy an object inside the store; its bytes do not pass through this process."""
        found, blob, token = self._known(source), self._blob(target), None
        blob.metadata, blob.content_type = found.metadata, found.content_type
        pinned = {"if_source_generation_match": found.generation}
        with speaking(source):
            while True:  # a large object takes several calls
                token, _, _ = blob.rewrite(found, token=token, **pinned, **self._calls)
                if token is None:
                    return

    def download(self, uri: ArtifactUri, path: Path) -> None:
        """Copy an object to a local file, written aside and renamed."""
        downloaded(uri, path, self._download)

    def publish(self, source: Path | ArtifactUri, uri: ArtifactUri) -> bool:
        """Upload a local folder, or copy one of this store, its marker last; `source` is consumed."""
        self._key(uri)
        return self._publication.publish(source, uri)

    def published(self, uri: ArtifactUri) -> Mapping[str, str] | None:
        """File name -> SHA-256 of a published folder; None where it, or one of its files, is not there."""
        return self._publication.published(uri)

    def delete(self, uri: ArtifactUri) -> None:
        """Remove one object and everything below `uri`; a published folder's marker first.

        Raises:
            PathEscapeError: for the root itself.
        """
        demand_below(self._root, uri, deleting=True)
        with speaking(uri), ThreadPoolExecutor(_AT_ONCE) as pool:
            for place in (uri.join("_complete"), uri):
                self._remove(place)
            for _ in pool.map(self._remove, [item.uri for item in self.list(uri)]):
                pass

    def local(self, uri: ArtifactUri) -> Path:
        """A copy on this machine, in `settings.root`/cache, made once per version."""
        return self._copies.path(self, uri)

    def _listed(self, prefix: ArtifactUri, after: str | None, page: int) -> Iterator[ObjectInfo]:
        folder = self._key(prefix) + "/"
        start = folder + after if after else None
        with speaking(prefix):
            for blob in self._bucket.list_blobs(
                prefix=folder, start_offset=start, page_size=page, fields=_LISTED, **self._calls
            ):
                name = blob.name.removeprefix(folder)
                uri = listed_uri(prefix, name) if name != after else None
                if uri is not None:
                    yield _info(uri, blob)

    def _upload(self, path: Path, uri: ArtifactUri, expected: int | None) -> ObjectInfo:
        with path.open("rb") as file:
            return self._put(uri, file, path.stat().st_size, digest_file(path), expected)

    def _put(self, uri: ArtifactUri, body: BinaryIO, size: int, sha: str, expected: int | None) -> ObjectInfo:
        """Write where the generation is `expected` (0: there is none); its mark tells whose a write was."""
        from google.api_core.exceptions import NotFound, PreconditionFailed

        demand_below(self._root, uri)
        blob, writer = self._blob(uri), uuid.uuid4().hex
        blob.metadata = {_SHA256: sha, _WRITER: writer}
        blob.chunk_size = _CHUNK
        with speaking(uri):
            try:
                blob.upload_from_file(
                    body,
                    size=size,
                    content_type="application/octet-stream",
                    checksum="crc32c",
                    if_generation_match=expected,
                    **self._calls,
                )
            except (PreconditionFailed, NotFound) as error:
                if expected is None or _no_bucket(error):
                    raise
                found = self._found(uri)  # an earlier try may have written it, and its answer been lost
                if found is None or (found.metadata or {}).get(_WRITER) != writer:
                    raise lost_write(uri, first=expected == 0) from None
                blob = found
        return _info(uri, blob)

    def _remove(self, uri: ArtifactUri) -> None:
        from google.api_core.exceptions import NotFound

        try:
            self._blob(uri).delete(**self._calls)
        except NotFound as error:
            if _no_bucket(error):
                raise

    def _download(self, uri: ArtifactUri, path: Path) -> None:
        from google.api_core.exceptions import NotFound

        with speaking(uri):
            try:
                return self._blob(uri).download_to_filename(str(path), raw_download=True, **self._calls)
            except NotFound as error:
                if _no_bucket(error):
                    raise
        raise no_object(uri)

    def _known(self, uri: ArtifactUri) -> Blob:
        blob = self._found(uri)
        if blob is None:
            raise no_object(uri)
        return blob

    def _found(self, uri: ArtifactUri) -> Blob | None:
        """The object with its metadata; None where there is none."""
        from google.api_core.exceptions import NotFound

        blob = self._blob(uri)
        with speaking(uri):
            try:
                blob.reload(**self._calls)
            except NotFound as error:
                if _no_bucket(error):
                    raise
                return None
        return blob

    def _blob(self, uri: ArtifactUri) -> Blob:
        return self._bucket.blob(self._key(uri), kms_key_name=self._kms_key)

    def _key(self, uri: ArtifactUri) -> str:
        return key_below(self._root, uri)


def _info(uri: ArtifactUri, blob: Blob) -> ObjectInfo:
    updated, size = blob.updated, blob.size
    assert updated is not None
    assert size is not None
    return ObjectInfo(uri=uri, version=str(blob.generation), size=size, modified=updated.astimezone(UTC))


def _no_bucket(error: Exception) -> bool:
    return "bucket does not exist" in str(error)
