"""The store on S3: the contract, and what only a service across a network can show."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlops_assets.errors import ArtifactError, ConflictError, SettingsError, StorageError
from mlops_assets.platforms import publication
from mlops_assets.platforms.aws import object_store
from mlops_assets.platforms.aws.object_store import S3ObjectStore
from mlops_assets.platforms.aws.settings import AwsSettings
from mlops_assets.platforms.binding import build_platform
from mlops_assets.platforms.ports import Platform
from mlops_assets.settings import Settings
from mlops_assets_tests.platforms.contracts.object_store import ObjectStoreContract, keys, staged
from mlops_assets_tests.standins.aws.faults import Fault
from mlops_assets_tests.standins.aws.fixtures import Aws


@pytest.fixture
def store(aws: Aws, tmp_path: Path) -> S3ObjectStore:
    return S3ObjectStore(Settings(root=tmp_path / "mlops"), AwsSettings())  # type: ignore[call-arg]


class TestS3ObjectStore(ObjectStoreContract):
    clock = 1.01

    @pytest.fixture
    def platform(self, aws: Aws, tmp_path: Path) -> Platform:
        from mlops_assets.platforms.aws.settings import current_aws_settings

        current_aws_settings.cache_clear()
        return build_platform(Settings(root=tmp_path / "mlops", platform="aws"))


def test_throttled_and_failing_calls_are_tried_again(aws: Aws, store: S3ObjectStore) -> None:
    uri = store.root.join("object")
    for fault in (Fault("s3:PUT", 503, "SlowDown", 2), Fault("s3:GET", 500, "InternalError")):
        aws.server.faults.add(fault)
    store.write(uri, b"1")
    assert store.read(uri) == b"1"
    assert keys(store, store.root) == ["object"]


def test_a_conditional_write_whose_answer_was_lost_is_not_taken_for_a_strangers(
    aws: Aws, store: S3ObjectStore
) -> None:
    uri = store.root.join("once")
    aws.server.faults.add(Fault("s3:PUT", 500, "InternalError", afterwards=True))
    first = store.write(uri, b"1", if_absent=True)
    aws.server.faults.add(Fault("s3:PUT", 503, "SlowDown", afterwards=True))
    store.write(uri, b"2", if_version=first.version)
    assert store.read(uri) == b"2"
    with pytest.raises(ConflictError, match="exists already"):
        store.write(uri, b"3", if_absent=True)
    with pytest.raises(ConflictError, match="meanwhile"):
        store.write(uri, b"3", if_version=first.version)
    assert store.read(uri) == b"2"


def test_a_busy_key_is_tried_again(aws: Aws, store: S3ObjectStore) -> None:
    aws.server.faults.add(Fault("s3:PUT", 409, "ConditionalRequestConflict", 2))
    store.write(store.root.join("busy"), b"1", if_absent=True)
    assert store.read(store.root.join("busy")) == b"1"


def test_what_is_denied_names_the_call_and_no_credential(aws: Aws, store: S3ObjectStore) -> None:
    aws.server.faults.add(Fault("s3:PUT", 403, "AccessDenied"))
    with pytest.raises(SettingsError, match="AWS denies PutObject") as caught:
        store.write(store.root.join("object"), b"1")
    assert "testing" not in str(caught.value)


def test_a_service_that_is_not_there_is_said_so(aws: Aws, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("mlops_assets.platforms.aws.client.ATTEMPTS", 1)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    settings = AwsSettings(region="eu-west-1")  # type: ignore[call-arg]
    store = S3ObjectStore(Settings(root=tmp_path), settings)
    with pytest.raises(StorageError, match=r"did not answer.*Check the network"):
        store.read(store.root.join("object"))


def test_objects_are_encrypted_with_the_key_that_is_set(aws: Aws, tmp_path: Path) -> None:
    key = aws.server.client("kms").create_key()["KeyMetadata"]["Arn"]
    store = S3ObjectStore(Settings(root=tmp_path), AwsSettings(kms_key=key))  # type: ignore[call-arg]
    (tmp_path / "file").write_bytes(b"1")
    store.write(store.root.join("written"), b"1")
    store.upload(tmp_path / "file", store.root.join("uploaded"))
    store.copy(store.root.join("written"), store.root.join("copied"))
    s3 = aws.server.client("s3")
    for name in ("written", "uploaded", "copied"):
        head = s3.head_object(Bucket=aws.bucket, Key=store.root.join(name).key)
        assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", key)


def test_a_large_file_travels_in_parts_and_its_digest_is_of_its_bytes(
    aws: Aws, store: S3ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_store, "_PART", 5 << 20)
    (tmp_path / "large").write_bytes(bytes(range(256)) * 50_000)
    info = store.upload(tmp_path / "large", store.root.join("large"))
    assert info.version.split("-")[1] == "3"  # parts
    assert store.digest(info.uri) == hashlib.sha256((tmp_path / "large").read_bytes()).hexdigest()
    store.copy(info.uri, store.root.join("copy"))
    assert store.digest(store.root.join("copy")) == store.digest(info.uri)


def test_a_digest_of_a_small_object_reads_none_of_it(aws: Aws, store: S3ObjectStore) -> None:
    uri = store.root.join("object")
    store.write(uri, b"bytes")
    before = aws.server.faults.calls["s3:GET"]
    assert store.digest(uri) == hashlib.sha256(b"bytes").hexdigest()
    assert aws.server.faults.calls["s3:GET"] == before


def test_of_a_parquet_file_only_what_is_asked_for_is_fetched(aws: Aws, store: S3ObjectStore) -> None:
    columns = {f"c{at}": range(at, 300_000 + at) for at in range(8)}
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file, row_group_size=50_000, compression="none", use_dictionary=False)
    uri = store.root.join("data.parquet")
    store.write(uri, file.getvalue())
    before, calls = aws.server.faults.sent["s3:GET"], aws.server.faults.calls["s3:GET"]
    with store.open(uri) as stream, pq.ParquetFile(stream) as parquet:
        found = parquet.read_row_group(3, columns=["c5"])
    assert found.column("c5").to_pylist() == list(range(150_005, 200_005))
    fetched = aws.server.faults.sent["s3:GET"] - before
    assert 400_000 < fetched < 4_000_000 < len(file.getvalue())
    assert aws.server.faults.calls["s3:GET"] - calls <= 3


def test_an_object_read_from_its_beginning_comes_by_one_call(aws: Aws, store: S3ObjectStore) -> None:
    uri = store.root.join("object")
    store.write(uri, bytes(5 << 20))
    before = aws.server.faults.calls["s3:GET"]
    with store.open(uri) as stream:
        assert sum(len(block) for block in iter(lambda: stream.read(1 << 18), b"")) == 5 << 20
    assert aws.server.faults.calls["s3:GET"] == before + 1


def test_two_versions_of_an_object_are_never_read_as_one(aws: Aws, store: S3ObjectStore) -> None:
    uri = store.root.join("object")
    store.write(uri, b"1" * (3 << 20))
    with store.open(uri) as stream:
        stream.seek(2 << 20)
        assert stream.read(1) == b"1"
        store.write(uri, b"2" * (3 << 20))
        stream.seek(0)
        with pytest.raises(StorageError, match="PreconditionFailed"):
            stream.read(1)


def test_a_half_folder_of_a_dead_publisher_is_replaced_after_a_while(
    store: S3ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publication, "PATIENCE", 0.5)
    uri = store.root.join("datasets/homes/1")
    store.write(uri.join("data"), b"half")
    assert store.publish(staged(tmp_path, data=b"whole", more=b"more"), uri) is True
    assert store.read(uri.join("data")) == b"whole"
    assert keys(store, uri) == ["_complete", "data", "more"]


def test_a_damaged_marker_is_named(store: S3ObjectStore) -> None:
    uri = store.root.join("datasets/homes/1")
    store.write(uri.join("_complete"), b"{")
    with pytest.raises(ArtifactError, match=r"marker.*damaged"):
        store.published(uri)


def test_listing_after_a_key_costs_what_is_new(
    aws: Aws, store: S3ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_store, "_PAGE", 50)
    s3 = aws.server.client("s3")
    for number in range(110):
        s3.put_object(Bucket=aws.bucket, Key=store.root.join(f"landing/{number:05d}.csv").key, Body=b"")
    before = aws.server.faults.calls["s3:GET"]
    found = keys(store, store.root.join("landing"), after="00099.csv")
    assert found == [f"{number:05d}.csv" for number in range(100, 110)]
    assert aws.server.faults.calls["s3:GET"] == before + 1
    assert len(keys(store, store.root.join("landing"))) == 110
    assert aws.server.faults.calls["s3:GET"] == before + 1 + 3


def test_folder_markers_and_impossible_keys_are_left_out(
    aws: Aws, store: S3ObjectStore, caplog: pytest.LogCaptureFixture
) -> None:
    s3 = aws.server.client("s3")
    for key in ("landing/", "landing/a.csv", "landing/back\\slash", "landing/sub/"):
        s3.put_object(Bucket=aws.bucket, Key=f"{store.root.key}/{key}", Body=b"")
    assert keys(store, store.root) == ["landing/a.csv"]
    assert "back" in caplog.text
    assert "rename" in caplog.text


def test_a_copy_on_this_machine_is_made_once_per_version(aws: Aws, store: S3ObjectStore) -> None:
    uri = store.root.join("folder/object")
    store.write(uri, b"1")
    first = store.local(uri)
    before = aws.server.faults.calls["s3:GET"]
    assert store.local(uri) == first
    assert aws.server.faults.calls["s3:GET"] == before
    store.write(uri, b"2")
    assert store.local(uri).read_bytes() == b"2"
    assert (store.local(store.root.join("folder")) / "object").read_bytes() == b"2"
