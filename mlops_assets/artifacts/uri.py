"""ArtifactUri: where an artifact lives, on any platform, and never outside its prefix."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Self

from mlops_assets.errors import PathEscapeError

SCHEMES = ("file", "s3", "gs")
_PATTERN = re.compile(r"^(?P<scheme>[a-z0-9]+)://(?P<bucket>[^/]*)/(?P<key>.*)$", re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class ArtifactUri(str):
    """A URI `file:///folder/key`, `s3://bucket/key` or `gs://bucket/key`, checked when made.

    A key is literal: it is never percent-decoded, so nothing encoded can turn into `..`.

    >>> ArtifactUri("s3://bucket/datasets").join("housing", "v1").name
    'v1'

    Raises:
        PathEscapeError: for another scheme, no bucket, control characters, an empty, `.` or `..` segment.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        """Check `text` and make the URI; a trailing slash is dropped."""
        match = _PATTERN.match(text)
        if match is None or match["scheme"] not in SCHEMES:
            raise PathEscapeError(
                f"{text!r} is not an artifact URI.",
                mend="Use file:///path, s3://bucket/key or gs://bucket/key.",
            )
        scheme, bucket, key = match["scheme"], match["bucket"], match["key"].rstrip("/")
        if (scheme == "file") != (bucket == ""):
            raise PathEscapeError(
                f"{text!r} has {'a host' if bucket else 'no bucket'}.",
                mend="file:// takes three slashes and no host; s3:// and gs:// name a bucket.",
            )
        if key:
            check_key(key)
        return super().__new__(cls, f"{scheme}://{bucket}/{key}")

    @classmethod
    def from_path(cls, path: Path) -> Self:
        """The `file://` URI of an absolute or relative path."""
        return cls(f"file://{path.absolute().as_posix()}")

    @property
    def scheme(self) -> str:
        """`file`, `s3` or `gs`."""
        return self.split("://", 1)[0]

    @property
    def bucket(self) -> str:
        """The bucket's name; empty for `file`."""
        return self.split("://", 1)[1].split("/", 1)[0]

    @property
    def key(self) -> str:
        """What follows the bucket's slash; for `file` the path without its leading slash."""
        return self.split("://", 1)[1].split("/", 1)[1]

    @property
    def name(self) -> str:
        """The last segment of the key."""
        return self.rsplit("/", 1)[1]

    @property
    def path(self) -> Path:
        """The local path of a `file://` URI.

        Raises:
            PathEscapeError: for any other scheme.
        """
        if self.scheme != "file":
            raise PathEscapeError(
                f"{self} is not on this machine.", mend="Download it through the ObjectStore."
            )
        return Path("/" + self.key)

    # A URI is never a separator, so what str.join does with one is not missed.
    def join(self, *segments: str) -> ArtifactUri:  # pyright: ignore[reportIncompatibleMethodOverride]
        """This URI with `segments` (each may hold slashes) appended; they cannot lead out of it."""
        for segment in segments:
            check_key(segment)
        return ArtifactUri("/".join([self.rstrip("/"), *segments]))

    def relative(self, uri: ArtifactUri) -> str:
        """The key of `uri` below this prefix.

        Raises:
            PathEscapeError: where `uri` is not below it.
        """
        prefix = self.rstrip("/") + "/"
        if not uri.startswith(prefix):
            raise PathEscapeError(f"{uri} is not below {self}.", mend="Use a URI below the platform's root.")
        return uri[len(prefix) :]

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        """Validated from, and serialised as, a plain string."""
        from pydantic_core import core_schema

        return core_schema.no_info_after_validator_function(
            cls, core_schema.str_schema(), serialization=core_schema.to_string_ser_schema()
        )


def check_key(key: str) -> str:
    """Return `key` where it is a safe relative key of slash-separated segments.

    Raises:
        PathEscapeError: for an empty key, a leading slash, empty, `.` or `..` segments, backslashes,
            control characters or more than 1,024 bytes (the limit of S3 and Cloud Storage).
    """
    segments = key.split("/")
    bad = (
        "is empty"
        if not key
        else "has an empty, '.' or '..' segment"
        if any(segment in ("", ".", "..") for segment in segments)
        else "has a backslash or a control character"
        if "\\" in key or _CONTROL.search(key)
        else "is longer than 1,024 bytes"
        if len(key.encode("utf-8", "surrogatepass")) > 1024
        else None
    )
    if bad:
        raise PathEscapeError(f"The key {key!r} {bad}.", mend="Rename the object.")
    return key
