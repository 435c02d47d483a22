"""The Cloud Storage stand-in, seen by the clients that people use: nothing of theirs is changed."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from google.api_core.exceptions import NotFound, PreconditionFailed, Unauthorized

from mlops_assets_tests.standins.gcp.faults import Fault
from mlops_assets_tests.standins.gcp.fixtures import Gcp

CHUNK = 256 << 10


@pytest.fixture
def bucket(gcp: Gcp) -> Any:
    return gcp.server.storage_client().bucket(gcp.bucket)


def names(bucket: Any, **options: Any) -> list[str]:
    return [blob.name for blob in bucket.list_blobs(**options)]


def lost(work: Callable[[], object], error: type[Exception] = PreconditionFailed) -> bool:
    try:
        work()
    except error:
        return True
    return False


@pytest.mark.parametrize("name", ["plain", "a/b.txt", "a b/c=d%2e%2e/+e?#ä😀"])
def test_bytes_come_back_whatever_the_name(bucket: Any, name: str) -> None:
    bucket.blob(name).upload_from_string(b"bytes", "text/plain")
    blob = bucket.get_blob(name)
    assert (blob.name, blob.size, blob.content_type) == (name, 5, "text/plain")
    assert blob.download_as_bytes() == b"bytes"
    assert blob.download_as_bytes(start=1, end=2) == b"yt"
    assert blob.download_as_bytes(start=-2) == b"es"
    assert names(bucket) == [name]


def test_a_resumable_upload_goes_on_where_the_connection_broke(gcp: Gcp, bucket: Any) -> None:
    data = os.urandom(5 * CHUNK + 7)
    for fault in (
        Fault("storage.objects.insertChunk", 503, "backendError"),
        Fault("storage.objects.insertChunk", 0, "dropped", afterwards=True),
        Fault("storage.objects.insertChunk", 503, "backendError", afterwards=True),
    ):
        gcp.server.faults.add(fault)
        blob = bucket.blob("large", chunk_size=CHUNK)
        blob.upload_from_file(io.BytesIO(data), size=len(data))
        assert bucket.blob("large").download_as_bytes() == data


def test_chunks_that_are_no_multiple_are_refused_and_what_is_cancelled_is_gone(bucket: Any) -> None:
    session = bucket.client._http
    place = bucket.blob("odd").create_resumable_upload_session()
    assert session.put(place, b"12345", headers={"Content-Range": "bytes 0-4/*"}).status_code == 400
    assert session.put(place, b"", headers={"Content-Range": "bytes */*"}).headers["Range"] == "bytes=0-4"
    assert session.delete(place).status_code == 499
    assert session.put(place, b"1", headers={"Content-Range": "bytes 0-0/1"}).status_code == 499
    assert names(bucket) == []


def test_preconditions_of_every_call(bucket: Any) -> None:
    blob = bucket.blob("object")
    blob.upload_from_string(b"1", if_generation_match=0)
    first = blob.generation
    assert lost(lambda: bucket.blob("object").upload_from_string(b"2", if_generation_match=0))
    large = bucket.blob("object", chunk_size=CHUNK)
    assert lost(lambda: large.upload_from_string(b"2" * 2 * CHUNK, if_generation_match=0))
    bucket.blob("object").upload_from_string(b"2", if_generation_match=first)
    blob = bucket.get_blob("object")
    assert blob.generation > first
    assert lost(lambda: bucket.blob("object").upload_from_string(b"3", if_generation_match=first))
    assert lost(lambda: bucket.blob("object").delete(if_generation_match=first))
    assert lost(lambda: blob.download_as_bytes(if_generation_match=first))
    assert lost(lambda: bucket.copy_blob(blob, bucket, "copy", if_source_generation_match=first))
    assert lost(lambda: bucket.copy_blob(blob, bucket, "object", if_generation_match=0))
    blob.metadata = {"key": "value"}
    blob.patch(if_metageneration_match=1)
    assert lost(lambda: blob.patch(if_metageneration_match=1))
    assert bucket.get_blob("object").metadata == {"key": "value"}
    assert bucket.get_blob("object").metageneration == 2
    assert bucket.get_blob("object").download_as_bytes() == b"2"
    with pytest.raises(NotFound):
        bucket.blob("object", generation=first).download_as_bytes()


def test_one_of_many_first_writers_wins(bucket: Any) -> None:
    def write(number: int) -> bool:
        return not lost(lambda: bucket.blob("once").upload_from_string(str(number), if_generation_match=0))

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(write, range(16))).count(True) == 1


def test_damaged_bytes_are_refused(bucket: Any) -> None:
    blob = bucket.blob("object")
    blob.crc32c = "AAAAAA=="
    with pytest.raises(Exception, match="hash doesn't match"):
        blob.upload_from_string(b"bytes", checksum=None)
    assert bucket.get_blob("object") is None
    bucket.blob("object").upload_from_string(b"bytes", checksum="crc32c")
    assert bucket.blob("object").download_as_bytes(checksum="md5") == b"bytes"


def test_listings_by_prefix_folder_offset_and_page(bucket: Any) -> None:
    for name in ("a", "d/1/x", "d/1/y", "d/2/x", "d/3", "dz", "ä", "😀"):
        bucket.blob(name).upload_from_string(b"")
    assert names(bucket) == ["a", "d/1/x", "d/1/y", "d/2/x", "d/3", "dz", "ä", "😀"]
    assert names(bucket, start_offset="d/2", end_offset="dz") == ["d/2/x", "d/3"]
    for size in (1, 2, 100):
        listing = bucket.list_blobs(prefix="d/", delimiter="/", page_size=size)
        assert [blob.name for blob in listing] == ["d/3"]
        assert listing.prefixes == {"d/1/", "d/2/"}
        assert len(names(bucket, page_size=size)) == 8


def test_copies_compositions_and_batches(gcp: Gcp, bucket: Any) -> None:
    blob = bucket.blob("one")
    blob.metadata = {"key": "value"}
    blob.upload_from_string(b"1" * 100)
    gcp.server.storage.rewritten_at_once = 40
    target, token, calls = bucket.blob("copy"), None, 0
    while calls == 0 or token:
        token, _, _ = target.rewrite(blob, token=token)
        calls += 1
    gcp.server.storage.rewritten_at_once = 1 << 30
    assert calls == 3
    assert bucket.get_blob("copy").metadata == {"key": "value"}
    joined = bucket.blob("joined")
    joined.compose([blob, target, blob])
    assert joined.download_as_bytes() == b"1" * 300
    assert (joined.component_count, joined.md5_hash) == (3, None)
    with bucket.client.batch():
        for name in ("one", "copy", "joined"):
            bucket.blob(name).delete()
    assert names(bucket) == []
    with pytest.raises(NotFound), bucket.client.batch():
        bucket.blob("not there").delete()


def test_keys_of_objects_and_of_the_bucket(bucket: Any) -> None:
    key = "projects/p/locations/l/keyRings/r/cryptoKeys/"
    bucket.blob("own", kms_key_name=key + "own").upload_from_string(b"1")
    bucket.default_kms_key_name = key + "bucket"
    bucket.patch()
    bucket.blob("default").upload_from_string(b"1")
    assert bucket.get_blob("own").kms_key_name == key + "own/cryptoKeyVersions/1"
    assert bucket.get_blob("default").kms_key_name == key + "bucket/cryptoKeyVersions/1"


def test_who_has_no_good_token_is_not_let_in(gcp: Gcp, bucket: Any) -> None:
    assert names(bucket) == []
    gcp.server.account.expire()
    assert names(bucket) == []  # the client asks for another one
    reply = bucket.client._http.__class__.__mro__[1]().get(
        f"{gcp.server.endpoint}/storage/v1/b/{gcp.bucket}/o", headers={"Authorization": "Bearer forged"}
    )
    assert reply.status_code == Unauthorized.code


def test_what_is_not_served_says_so(bucket: Any) -> None:
    with pytest.raises(Exception, match="iam is not served by the stand-in"):
        bucket.get_iam_policy()
    with pytest.raises(Exception, match="matchGlob is not served"):
        names(bucket, match_glob="*")


def test_gcsfs(gcp: Gcp, bucket: Any) -> None:
    import gcsfs
    import pandas as pd

    files = gcsfs.GCSFileSystem(
        project="p", token="anon", endpoint_url=gcp.server.endpoint, skip_instance_cache=True
    )
    with files.open(f"{gcp.bucket}/folder/x", "wb", block_size=CHUNK) as file:
        file.write(b"q" * 3 * CHUNK)  # pyright: ignore[reportArgumentType]
    assert files.cat(f"{gcp.bucket}/folder/x") == b"q" * 3 * CHUNK
    assert files.ls(f"{gcp.bucket}/folder") == [f"{gcp.bucket}/folder/x"]
    files.mv(f"{gcp.bucket}/folder/x", f"{gcp.bucket}/folder/y")
    assert names(bucket) == ["folder/y"]
    options = {"token": "anon", "endpoint_url": gcp.server.endpoint}
    frame = pd.DataFrame({"a": range(1_000)})
    frame.to_parquet(f"gs://{gcp.bucket}/frame.parquet", storage_options=options)
    assert pd.read_parquet(f"gs://{gcp.bucket}/frame.parquet", storage_options=options).equals(frame)
    files.rm(f"{gcp.bucket}/folder", recursive=True)
    assert names(bucket) == ["frame.parquet"]


def test_pyarrow(gcp: Gcp, bucket: Any) -> None:
    from datetime import timedelta

    import pyarrow as pa
    import pyarrow.parquet as pq
    from pyarrow.fs import FileSelector, GcsFileSystem

    files = GcsFileSystem(
        anonymous=True,
        endpoint_override=gcp.server.endpoint.removeprefix("http://"),
        scheme="http",
        retry_time_limit=timedelta(seconds=5),
        project_id="p",
    )
    table = pa.table({"a": list(range(100_000))})
    pq.write_table(table, f"{gcp.bucket}/folder/x.parquet", filesystem=files)
    assert pq.read_table(f"{gcp.bucket}/folder/x.parquet", filesystem=files) == table
    found = files.get_file_info(FileSelector(f"{gcp.bucket}/folder", recursive=True))
    assert [info.path for info in found] == [f"{gcp.bucket}/folder/x.parquet"]


def test_dagster_gcp(gcp: Gcp, bucket: Any) -> None:
    from dagster import asset, materialize
    from dagster_gcp.gcs import GCSPickleIOManager, GCSResource

    @asset
    def first() -> list[int]:
        return [1, 2]

    @asset
    def second(first: list[int]) -> int:
        return sum(first)

    manager = GCSPickleIOManager(gcs=GCSResource(project="p"), gcs_bucket=gcp.bucket, gcs_prefix="dagster")
    result = materialize([first, second], resources={"io_manager": manager})
    assert result.output_for_node("second") == 3
    assert names(bucket) == ["dagster/first", "dagster/second"]
