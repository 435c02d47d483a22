"""Pages of keys as S3 gives them, whatever lies beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from mlops_assets_tests.standins.aws.fixtures import Aws

KEYS = ["a/1", "a/10", "a/2", "a/Z", "a/é", "a/b/1", "a/b/2", "ab/1", "b"]


@dataclass(frozen=True)
class Bucket:
    """A versioned bucket that holds `KEYS`."""

    s3: Any
    name: str

    def page(self, **wanted: Any) -> dict[str, Any]:
        return self.s3.list_objects_v2(Bucket=self.name, **wanted)


@pytest.fixture
def bucket(aws: Aws) -> Bucket:
    s3 = aws.server.client("s3")
    s3.put_bucket_versioning(Bucket=aws.bucket, VersioningConfiguration={"Status": "Enabled"})
    for key in KEYS:
        s3.put_object(Bucket=aws.bucket, Key=key, Body=key.encode())
    return Bucket(s3, aws.bucket)


def keys_of(answer: dict[str, Any]) -> list[str]:
    return [item["Key"] for item in answer.get("Contents", [])]


@pytest.mark.parametrize("size", [1, 2, 3, 100])
@pytest.mark.parametrize("prefix", ["", "a/", "a/b", "nothing"])
def test_pages_hold_every_key_once_in_byte_order(bucket: Bucket, size: int, prefix: str) -> None:
    pages = list(
        bucket.s3.get_paginator("list_objects_v2").paginate(
            Bucket=bucket.name, Prefix=prefix, PaginationConfig={"PageSize": size}
        )
    )
    expected = sorted((key for key in KEYS if key.startswith(prefix)), key=str.encode)
    assert [key for page in pages for key in keys_of(page)] == expected
    assert [page["IsTruncated"] for page in pages] == [True] * (len(pages) - 1) + [False]
    assert all(len(keys_of(page)) <= size for page in pages)


@pytest.mark.parametrize(("after", "first"), [("a/10", "a/2"), ("a/11", "a/2"), ("0", "a/1"), ("b", None)])
def test_a_page_begins_after_any_key(bucket: Bucket, after: str, first: str | None) -> None:
    found = keys_of(bucket.page(StartAfter=after, MaxKeys=1))
    assert found == ([] if first is None else [first])


def test_deleted_keys_are_left_out_and_take_no_room(bucket: Bucket) -> None:
    for key in ("a/1", "a/10"):
        bucket.s3.delete_object(Bucket=bucket.name, Key=key)
    answer = bucket.page(Prefix="a/", MaxKeys=2)
    assert keys_of(answer) == ["a/2", "a/Z"]
    assert answer["IsTruncated"]


def test_a_delimiter_folds_what_lies_deeper(bucket: Bucket) -> None:
    answer = bucket.page(Prefix="a/", Delimiter="/")
    assert keys_of(answer) == ["a/1", "a/10", "a/2", "a/Z", "a/é"]
    assert [item["Prefix"] for item in answer["CommonPrefixes"]] == ["a/b/"]
