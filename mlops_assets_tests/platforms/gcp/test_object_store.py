"""The store on Cloud Storage: the contract, and what only a service across a network can show."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from mlops_assets.errors import ArtifactError, ConflictError, SettingsError, StorageError
from mlops_assets.platforms import publication
from mlops_assets.platforms.gcp import checked_stream, client, object_store
from mlops_assets.platforms.gcp.object_store import CloudStorageObjectStore
from mlops_assets.platforms.gcp.settings import GcpSettings
from mlops_assets.platforms.ports import Platform
from mlops_assets.settings import Settings
from mlops_assets_tests.platforms.contracts.object_store import ObjectStoreContract, keys, staged
from mlops_assets_tests.standins.gcp.faults import Fault
from mlops_assets_tests.standins.gcp.fixtures import Gcp

MIB = 1 << 20


@pytest.fixture
def store(gcp: Gcp, tmp_path: Path) -> CloudStorageObjectStore:
    return made(tmp_path)


def made(tmp_path: Path, **changed: Any) -> CloudStorageObjectStore:
    return CloudStorageObjectStore(Settings(root=tmp_path / "mlops"), GcpSettings(**changed))


class TestCloudStorageObjectStore(ObjectStoreContract):
    @pytest.fixture
    def platform(self, platform: Platform) -> Platform:
        return platform


def test_throttled_and_failing_calls_are_tried_again(gcp: Gcp, store: CloudStorageObjectStore) -> None:
    uri = store.root.join("object")
    for fault in (
        Fault("storage.objects.insert", 429, "rateLimitExceeded", 2),
        Fault("storage.objects.get", 503, "backendError", 2),
        Fault("storage.objects.list", 0, "dropped"),
        Fault("storage.objects.rewrite", 503, "backendError"),
        Fault("storage.objects.delete", 500, "backendError", afterwards=True),
    ):
        gcp.server.faults.add(fault)
    store.write(uri, b"1")
    store.copy(uri, store.root.join("copy"))
    assert store.read(store.root.join("copy")) == b"1"
    store.delete(store.root.join("copy"))
    assert keys(store, store.root) == ["object"]


@pytest.mark.parametrize("status", [503, 0])
def test_a_conditional_write_whose_answer_was_lost_is_not_taken_for_a_strangers(
    gcp: Gcp, store: CloudStorageObjectStore, status: int
) -> None:
    uri = store.root.join("once")
    lost = Fault("storage.objects.insert", status, "lost", afterwards=True)
    gcp.server.faults.add(lost)
    first = store.write(uri, b"1", if_absent=True)
    assert first == store.head(uri)
    gcp.server.faults.add(Fault("storage.objects.insert", status, "lost", afterwards=True))
    second = store.write(uri, b"2", if_version=first.version)
    assert second == store.head(uri)
    with pytest.raises(ConflictError, match="exists already"):
        store.write(uri, b"3", if_absent=True)
    with pytest.raises(ConflictError, match="meanwhile"):
        store.write(uri, b"3", if_version=first.version)
    with pytest.raises(ConflictError, match="meanwhile"):
        store.write(store.root.join("not there"), b"3", if_version=first.version)
    assert store.read(uri) == b"2"


def test_a_large_file_travels_in_chunks_and_only_a_broken_one_is_sent_again(
    gcp: Gcp, store: CloudStorageObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_store, "_CHUNK", 4 * MIB)
    data = bytes(range(256)) * 4096 * 13
    (tmp_path / "large").write_bytes(data)
    chunk = "storage.objects.insertChunk"
    before = gcp.server.faults.calls[chunk]
    gcp.server.faults.add(Fault(chunk, 503, "backendError", afterwards=True))
    info = store.add(tmp_path / "large", store.root.join("large"))
    assert gcp.server.faults.calls[chunk] - before < 8  # 4 chunks, one of them twice, and a question
    assert store.digest(info.uri) == hashlib.sha256(data).hexdigest()
    with pytest.raises(ConflictError, match="exists already"):
        store.add(tmp_path / "large", store.root.join("large"))
    with store.open(info.uri) as stream:
        assert stream.read() == data


def test_what_is_denied_names_the_reason_and_no_credential(gcp: Gcp, store: CloudStorageObjectStore) -> None:
    gcp.server.faults.add(Fault("storage.objects.insertChunk", 403, "forbidden"))
    with pytest.raises(SettingsError, match=r"denies the call \(forbidden\)") as caught:
        store.write(store.root.join("object"), b"1" * 9 * MIB)
    assert "upload_id" not in str(caught.value)
    gcp.server.faults.add(Fault("storage.objects.get", 403, "forbidden"))
    with pytest.raises(SettingsError, match=r"denies the call \(forbidden\)"):
        store.read(store.root.join("object"))


def test_a_bucket_that_is_not_there_is_named(store: CloudStorageObjectStore, tmp_path: Path) -> None:
    lost = made(tmp_path, root="gs://not-there/mlops")
    for work in (lambda uri: lost.write(uri, b"1"), lost.read, lost.head, lost.local, lost.delete):
        with pytest.raises(StorageError, match=r"does not exist.*MLOPS_GCP_ROOT"):
            work(lost.root.join("object"))


def test_a_service_that_is_not_there_is_said_so(
    gcp: Gcp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "PATIENCE", 0.2)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")
    store = made(tmp_path, project="elsewhere")
    with pytest.raises(StorageError, match=r"did not answer.*Check the network"):
        store.read(store.root.join("object"))


def test_without_credentials_the_mend_is_to_log_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "missing.json"))
    with pytest.raises(SettingsError, match="gcloud auth application-default login"):
        made(tmp_path, root="gs://bucket/mlops", location="europe-west4", project="nobody")


def test_objects_are_encrypted_with_the_key_that_is_set(gcp: Gcp, tmp_path: Path) -> None:
    key = "projects/p/locations/europe-west4/keyRings/r/cryptoKeys/k"
    store = made(tmp_path, kms_key=key)
    (tmp_path / "file").write_bytes(b"1")
    store.write(store.root.join("written"), b"1")
    store.upload(tmp_path / "file", store.root.join("uploaded"))
    store.copy(store.root.join("written"), store.root.join("copied"))
    bucket = gcp.server.storage_client().bucket(gcp.bucket)
    for name in ("written", "uploaded", "copied"):
        blob = bucket.get_blob(store.root.join(name).key)
        assert blob.kms_key_name == f"{key}/cryptoKeyVersions/1"


def test_a_digest_reads_nothing_of_what_this_store_wrote_and_all_of_what_others_did(
    gcp: Gcp, store: CloudStorageObjectStore
) -> None:
    uri, copy = store.root.join("object"), store.root.join("copy")
    store.write(uri, b"bytes")
    store.copy(uri, copy)
    before = gcp.server.faults.calls["storage.objects.get"]
    assert store.digest(uri) == store.digest(copy) == hashlib.sha256(b"bytes").hexdigest()
    assert gcp.server.faults.calls["storage.objects.get"] == before + 2
    gcp.server.storage_client().bucket(gcp.bucket).blob(uri.key).upload_from_string(b"theirs")
    assert store.digest(uri) == hashlib.sha256(b"theirs").hexdigest()


def test_an_object_that_is_replaced_while_it_is_read_is_no_mixture(
    store: CloudStorageObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checked_stream, "_CHUNK", MIB)
    uri = store.root.join("object")
    store.write(uri, b"1" * 4 * MIB)
    with store.open(uri) as stream:
        assert stream.read(MIB) == b"1" * MIB
        store.write(uri, b"2" * 4 * MIB)
        with pytest.raises(StorageError, match="No such object"):
            stream.read()


def test_bytes_that_are_damaged_on_their_way_are_not_handed_on(
    gcp: Gcp, store: CloudStorageObjectStore, tmp_path: Path
) -> None:
    uri = store.root.join("object")
    store.write(uri, b"bytes")
    stored = gcp.server.storage.objects.get(gcp.bucket, uri.key, {})
    stored.path.write_bytes(b"bites")
    with pytest.raises(StorageError, match="damaged"):
        store.read(uri)
    with pytest.raises(StorageError, match="damaged"), store.open(uri) as stream:
        stream.read()
    with pytest.raises(StorageError, match="damaged"):
        store.download(uri, tmp_path / "copy")
    assert list(tmp_path.iterdir()) == []


def test_a_half_folder_of_a_dead_publisher_is_replaced_after_a_while(
    store: CloudStorageObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publication, "PATIENCE", 0.5)
    uri = store.root.join("datasets/homes/1")
    store.write(uri.join("data"), b"half")
    assert store.publish(staged(tmp_path, data=b"whole", more=b"more"), uri) is True
    assert store.read(uri.join("data")) == b"whole"
    assert keys(store, uri) == ["_complete", "data", "more"]


def test_a_damaged_marker_is_named(store: CloudStorageObjectStore) -> None:
    uri = store.root.join("datasets/homes/1")
    store.write(uri.join("_complete"), b"{")
    with pytest.raises(ArtifactError, match=r"marker.*damaged"):
        store.published(uri)


def test_listing_after_a_key_costs_what_is_new(
    gcp: Gcp, store: CloudStorageObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_store, "_PAGE", 50)
    bucket = gcp.server.storage_client().bucket(gcp.bucket)
    for number in range(110):
        bucket.blob(store.root.join(f"landing/{number:05d}.csv").key).upload_from_string(b"")
    listed = "storage.objects.list"
    before = gcp.server.faults.calls[listed]
    found = keys(store, store.root.join("landing"), after="00099.csv")
    assert found == [f"{number:05d}.csv" for number in range(100, 110)]
    assert gcp.server.faults.calls[listed] == before + 1
    assert keys(store, store.root.join("landing"), after="00100.csv", limit=2) == ["00101.csv", "00102.csv"]
    assert gcp.server.faults.calls[listed] == before + 2
    assert len(keys(store, store.root.join("landing"))) == 110
    assert gcp.server.faults.calls[listed] == before + 2 + 3


def test_folder_markers_and_impossible_keys_are_left_out(
    gcp: Gcp, store: CloudStorageObjectStore, caplog: pytest.LogCaptureFixture
) -> None:
    bucket = gcp.server.storage_client().bucket(gcp.bucket)
    for key in ("landing/", "landing/a.csv", "landing/back\\slash", "landing/sub/"):
        bucket.blob(f"{store.root.key}/{key}").upload_from_string(b"")
    assert keys(store, store.root) == ["landing/a.csv"]
    assert "back" in caplog.text
    assert "rename" in caplog.text


def test_a_copy_on_this_machine_is_made_once_per_version(gcp: Gcp, store: CloudStorageObjectStore) -> None:
    uri = store.root.join("folder/object")
    store.write(uri, b"1")
    first = store.local(uri)
    before = gcp.server.faults.calls["storage.objects.get"]
    assert store.local(uri) == first
    assert gcp.server.faults.calls["storage.objects.get"] == before + 1  # its generation
    store.write(uri, b"2")
    assert store.local(uri).read_bytes() == b"2"
    assert (store.local(store.root.join("folder")) / "object").read_bytes() == b"2"
