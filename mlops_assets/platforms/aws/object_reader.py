"""Reading one version of an S3 object: in one call from beginning to end, by ranges once somebody seeks."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from mlops_assets.artifacts import ArtifactUri
from mlops_assets.platforms.aws.client import speaking


class ObjectReader(io.RawIOBase):
    """A seekable stream that asks for bytes when they are read, and for no others.

    Whoever reads on from the beginning gets them out of one call. After a seek each read is a call of its own
    for what was asked: a reader of a few blocks (Parquet's footer, one row group) fetches these alone.
    An object that is written again meanwhile is an error, never a mixture of two versions.
    """

    def __init__(self, s3: Any, uri: ArtifactUri, head: Mapping[str, Any]) -> None:
        """`head`: what HeadObject said of the version to read."""
        self._s3, self._uri = s3, uri
        self._size, self._etag = int(head["ContentLength"]), str(head["ETag"])
        self._at = 0
        self._body: Any = None
        self._by_ranges = False

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes; a seek costs nothing."""
        return True

    def tell(self) -> int:
        """Where the next read begins."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a place; nothing is asked for yet."""
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        target = max(0, origin + offset)
        if target != self._at:
            self._by_ranges = True
            self._drop()
        self._at = target
        return target

    def readinto(self, buffer: Any) -> int:
        """The next bytes, at most as many as `buffer` holds; 0 at the end."""
        wanted = min(len(buffer), self._size - self._at)
        if wanted <= 0:
            return 0
        with speaking(self._uri):
            if self._body is None:
                last = self._at + wanted - 1 if self._by_ranges else self._size - 1
                self._body = self._s3.get_object(
                    Bucket=self._uri.bucket,
                    Key=self._uri.key,
                    IfMatch=self._etag,
                    Range=f"bytes={self._at}-{last}",
                )["Body"]
            data = self._body.read(wanted)
        buffer[: len(data)] = data
        self._at += len(data)
        if self._by_ranges:
            self._drop()
        return len(data)

    def close(self) -> None:
        """Let the connection go."""
        self._drop()
        super().close()

    def _drop(self) -> None:
        if self._body is not None:
            self._body.close()
            self._body = None
