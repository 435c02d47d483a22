"""Reading one generation of an object: from start to end, checked there; by ranges after a seek."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any, BinaryIO

from mlops_assets.errors import StorageError
from mlops_assets.platforms.gcp.client import TIMEOUT, retry, speaking

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer
    from google.cloud.storage import Blob

# Bytes per call, of who reads on from the start.
_CHUNK = 8 << 20


def checked_stream(blob: Blob, where: str) -> BinaryIO:
    """A seekable binary stream of a blob whose metadata was read.

    Whoever reads it from its start to its end has its CRC32C compared there. After a seek each read is a call
    of its own for what was asked: a reader of a few blocks (Parquet's footer, one row group) fetches these
    alone. Reading raises StorageError where the object is replaced or removed meanwhile, or its bytes are
    damaged.
    """
    return io.BufferedReader(_Checked(blob, where), 1 << 20)


class _Checked(io.RawIOBase):
    def __init__(self, blob: Blob, where: str) -> None:
        import google_crc32c

        super().__init__()
        self._where, self._size, self._crc32c = where, blob.size or 0, blob.crc32c
        self._pinned: Any = blob.bucket.blob(blob.name, generation=blob.generation)
        self._at, self._ahead, self._by_ranges = 0, memoryview(b""), False
        self._checksum = google_crc32c.Checksum()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        target = max(0, origin + offset)
        if target != self._at:
            self._by_ranges, self._ahead = True, memoryview(b"")
        self._at = target
        return target

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer)
        wanted = min(len(view), self._size - self._at)
        if wanted > 0 and not self._ahead:
            self._ahead = self._fetched(wanted if self._by_ranges else max(wanted, _CHUNK))
        data, self._ahead = self._ahead[: max(0, wanted)], self._ahead[max(0, wanted) :]
        view[: len(data)] = data
        self._at += len(data)
        if not self._by_ranges:
            self._checksum.update(bytes(data))
            if self._at == self._size:
                self._check()
        return len(data)

    def _fetched(self, wanted: int) -> memoryview:
        last = min(self._at + wanted, self._size) - 1
        with speaking(self._where):
            data = self._pinned.download_as_bytes(
                start=self._at, end=last, raw_download=True, checksum=None, retry=retry(), timeout=TIMEOUT
            )
        if len(data) != last + 1 - self._at:
            raise self._damaged()
        return memoryview(data)

    def _check(self) -> None:
        if base64.b64encode(self._checksum.digest()).decode() != self._crc32c:
            raise self._damaged()

    def _damaged(self) -> StorageError:
        return StorageError(
            "The bytes were damaged on their way: checksums differ.", where=self._where, mend="Read it again."
        )
