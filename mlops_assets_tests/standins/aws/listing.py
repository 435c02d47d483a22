"""S3's pages of keys in the time of a page: moto reads and sorts every object of the bucket for each."""

from __future__ import annotations

from bisect import bisect_right
from typing import Any

from moto.s3.models import FakeBucket, FakeDeleteMarker, FakeKey, S3Backend

_BY_MOTO = S3Backend.list_objects_v2

Page = tuple[Any, bool, str | None]


def install() -> None:
    """Let moto's server list so."""
    S3Backend.list_objects_v2 = _list_objects_v2  # type: ignore[method-assign]


def _list_objects_v2(
    backend: S3Backend,
    bucket: FakeBucket,
    prefix: str | None,
    delimiter: str | None,
    continuation_token: str | None,
    start_after: str | None,
    max_keys: int,
) -> Page:
    """As S3Backend's: keys, whether there are more, and the token that goes on with them."""
    if delimiter or type(bucket) is not FakeBucket:
        return _BY_MOTO(backend, bucket, prefix, delimiter, continuation_token, start_after, max_keys)
    after = backend._pagination_tokens.get(continuation_token) if continuation_token else start_after
    # Copied at once: other requests write meanwhile.
    names = sorted(name for name in list(bucket.keys) if name.startswith(prefix or ""))
    found: list[FakeKey] = []
    for name in names[bisect_right(names, after) if after else 0 :]:
        if len(found) > max_keys:
            break
        key = bucket.keys.get(name)
        if key is not None and not isinstance(key, FakeDeleteMarker):
            found.append(key)
    return backend._truncate_result(found, max_keys)
