"""What every platform's object store does: one suite, run by each platform's tests.

A platform's test class inherits `ObjectStoreContract` and gives the fixture `platform`.
"""

from __future__ import annotations

import hashlib
import io
import json
import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mlops_assets.artifacts import ArtifactUri
from mlops_assets.errors import ArtifactError, ConflictError, PathEscapeError
from mlops_assets.platforms.ports import ObjectStore, Platform

KEYS = ("a", "a-b", "a/b", "a/b-c", "a/b/c", "a.csv", "b", "z/ä.csv", "z/😀", "Z", "a b/c=d%2e%2e/+e")


def keys(store: ObjectStore, prefix: ArtifactUri, **options: object) -> list[str]:
    """Keys relative to `prefix`, as listed."""
    return [prefix.relative(item.uri) for item in store.list(prefix, **options)]  # type: ignore[arg-type]


def staged(tmp_path: Path, **files: bytes) -> Path:
    """A local folder with files (`__` in a name stands for a slash)."""
    folder = tmp_path / f"staged-{random.randrange(1 << 40):x}"
    for name, data in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


class ObjectStoreContract:
    """Behaviour of `ObjectStore`, seen through the port alone."""

    @pytest.fixture
    def platform(self) -> Platform:
        raise NotImplementedError

    @pytest.fixture
    def store(self, platform: Platform) -> ObjectStore:
        return platform.store

    def test_what_was_written_is_read_back_by_every_way_of_reading(
        self, store: ObjectStore, tmp_path: Path
    ) -> None:
        uri = store.root.join("some/object.bin")
        info = store.write(uri, b"bytes")
        assert (info.uri, info.size) == (uri, 5)
        assert store.read(uri) == b"bytes"
        with store.open(uri) as stream:
            assert stream.read() == b"bytes"
        store.download(uri, tmp_path / "new" / "copy.bin")
        assert (tmp_path / "new" / "copy.bin").read_bytes() == b"bytes"
        assert store.local(uri).read_bytes() == b"bytes"
        assert store.digest(uri) == hashlib.sha256(b"bytes").hexdigest()

    def test_an_open_object_is_read_from_any_place_any_number_of_times(self, store: ObjectStore) -> None:
        uri = store.root.join("object")
        store.write(uri, bytes(range(256)) * 20_000)
        with store.open(uri) as stream:
            assert stream.read(3) == b"\x00\x01\x02"
            assert stream.seek(-2, io.SEEK_END) == 256 * 20_000 - 2
            assert stream.read() == b"\xfe\xff"
            assert stream.read(1) == b""
            stream.seek(256 * 19_000 + 5)
            assert stream.read(4) == b"\x05\x06\x07\x08"
            stream.seek(2, io.SEEK_CUR)
            assert stream.read(1) == b"\x0b"
            stream.seek(0)
            assert stream.read() == bytes(range(256)) * 20_000
        store.write(store.root.join("empty"), b"")
        with store.open(store.root.join("empty")) as stream:
            assert stream.read() == b""

    def test_a_missing_object_is_none_to_head_and_an_error_to_readers(
        self, store: ObjectStore, tmp_path: Path
    ) -> None:
        uri = store.root.join("not/there")
        assert store.head(uri) is None
        assert store.published(uri) is None
        for reading in (store.read, store.open, store.digest, store.local):
            with pytest.raises(ArtifactError, match="no such object"):
                reading(uri)
        with pytest.raises(ArtifactError, match="no such object"):
            store.download(uri, tmp_path / "copy")
        assert not (tmp_path / "copy").exists()

    def test_a_prefix_is_no_object(self, store: ObjectStore) -> None:
        store.write(store.root.join("folder/object"), b"")
        assert store.head(store.root.join("folder")) is None
        with pytest.raises(ArtifactError):
            store.read(store.root.join("folder"))

    # Seconds apart that writes of the same bytes must be for the version to tell them apart.
    clock = 0.0

    def test_each_write_changes_the_version_even_where_the_bytes_stay(self, store: ObjectStore) -> None:
        uri = store.root.join("object")
        versions = []
        for _ in range(3):
            time.sleep(self.clock)
            versions.append(store.write(uri, b"same").version)
        assert len(set(versions)) == 3
        head = store.head(uri)
        assert head is not None
        assert head.version == versions[-1]

    def test_only_one_of_many_first_writers_wins(self, store: ObjectStore) -> None:
        uri = store.root.join("once")

        def attempt(number: int) -> int | None:
            try:
                store.write(uri, str(number).encode(), if_absent=True)
            except ConflictError:
                return None
            return number

        with ThreadPoolExecutor(8) as pool:
            winners = [number for number in pool.map(attempt, range(16)) if number is not None]
        assert len(winners) == 1
        assert store.read(uri) == str(winners[0]).encode()

    def test_compare_and_set_loses_no_update(self, store: ObjectStore) -> None:
        uri = store.root.join("counter")
        store.write(uri, b"0")

        def increment(_: int) -> None:
            while True:
                head = store.head(uri)
                assert head is not None
                count = int(store.read(uri))
                try:
                    store.write(uri, str(count + 1).encode(), if_version=head.version)
                except ConflictError:
                    continue
                return

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(increment, range(20)))
        assert store.read(uri) == b"20"

    def test_a_conditional_write_on_a_missing_object_is_a_conflict(self, store: ObjectStore) -> None:
        with pytest.raises(ConflictError):
            store.write(store.root.join("none"), b"", if_version="1")
        assert store.head(store.root.join("none")) is None

    def test_listing_follows_the_byte_order_of_keys(self, store: ObjectStore) -> None:
        prefix = store.root.join("landing")
        possible = [
            key for key in KEYS if key not in ("a", "a/b")
        ]  # a folder and an object cannot share a name
        for key in random.Random(0).sample(possible, len(possible)):
            store.write(prefix.join(key), key.encode())
        expected = sorted(possible, key=str.encode)
        assert keys(store, prefix) == expected
        assert keys(store, store.root.join("elsewhere")) == []

    def test_a_listing_can_start_behind_any_key(self, store: ObjectStore) -> None:
        prefix = store.root.join("landing")
        possible = [key for key in KEYS if key not in ("a", "a/b")]
        for key in possible:
            store.write(prefix.join(key), b"")
        ordered = sorted(possible, key=str.encode)
        for after in [*KEYS, "", "a/", "a0", "zz", "a/b/c/d", "\U0010ffff"]:
            assert keys(store, prefix, after=after) == [
                key for key in ordered if key.encode() > after.encode()
            ], after
            assert keys(store, prefix, after=after, limit=2) == keys(store, prefix, after=after)[:2]

    def test_listed_info_is_what_head_says(self, store: ObjectStore) -> None:
        uri = store.root.join("landing/a.csv")
        store.write(uri, b"12345")
        assert list(store.list(store.root)) == [store.head(uri)]

    def test_a_published_folder_appears_whole_with_its_digests(
        self, store: ObjectStore, tmp_path: Path
    ) -> None:
        uri = store.root.join("candidates/homes/1")
        folder = staged(tmp_path, **{"model.skops": b"model", "plots__roc.png": b"png"})
        assert store.publish(folder, uri) is True
        assert not folder.exists()
        expected = {
            "model.skops": hashlib.sha256(b"model").hexdigest(),
            "plots/roc.png": hashlib.sha256(b"png").hexdigest(),
        }
        assert store.published(uri) == expected
        assert json.loads(store.read(uri.join("_complete"))) == expected
        assert store.read(uri.join("plots/roc.png")) == b"png"
        assert (store.local(uri) / "model.skops").read_bytes() == b"model"

    def test_the_first_of_two_publications_stays(self, store: ObjectStore, tmp_path: Path) -> None:
        uri = store.root.join("datasets/homes/1")
        assert store.publish(staged(tmp_path, data=b"first"), uri) is True
        second = staged(tmp_path, data=b"second")
        assert store.publish(second, uri) is False
        assert not second.exists()
        assert store.read(uri.join("data")) == b"first"

    def test_a_folder_of_the_store_itself_is_published_and_consumed(
        self, store: ObjectStore, tmp_path: Path
    ) -> None:
        draft, uri = store.root.join("drafts/1"), store.root.join("datasets/homes/5")
        for key in ("train/data", "manifest.json"):
            store.write(draft.join(key), key.encode())
        assert store.publish(draft, uri) is True
        assert keys(store, draft) == []
        assert store.published(uri) == {
            key: hashlib.sha256(key.encode()).hexdigest() for key in ("manifest.json", "train/data")
        }
        store.write(draft.join("train/data"), b"second")
        assert store.publish(draft, uri) is False
        assert keys(store, draft) == []
        assert store.read(uri.join("train/data")) == b"train/data"
        with pytest.raises(ArtifactError, match="no folder to publish"):
            store.publish(draft, store.root.join("datasets/homes/6"))

    def test_of_many_publishers_at_once_one_wins(self, store: ObjectStore, tmp_path: Path) -> None:
        uri = store.root.join("datasets/homes/2")
        folders = [
            staged(tmp_path, data=str(number).encode(), other=str(number).encode()) for number in range(8)
        ]
        with ThreadPoolExecutor(8) as pool:
            outcomes = list(pool.map(lambda folder: store.publish(folder, uri), folders))
        assert outcomes.count(True) == 1
        assert store.read(uri.join("data")) == store.read(uri.join("other"))

    def test_a_folder_without_its_marker_is_not_published_and_is_replaced(
        self, store: ObjectStore, tmp_path: Path
    ) -> None:
        uri = store.root.join("datasets/homes/3")
        store.write(uri.join("half"), b"half")
        assert store.published(uri) is None
        assert store.publish(staged(tmp_path, data=b"whole"), uri) is True
        assert keys(store, uri) == ["_complete", "data"]

    def test_a_published_folder_that_lost_a_file_is_not_published(
        self, store: ObjectStore, tmp_path: Path
    ) -> None:
        uri = store.root.join("datasets/homes/4")
        store.publish(staged(tmp_path, data=b"1", more=b"2"), uri)
        store.delete(uri.join("more"))
        assert store.published(uri) is None

    def test_deleting_removes_an_object_or_all_below_a_prefix(self, store: ObjectStore) -> None:
        for key in ("p/a", "p/b/c", "pq"):
            store.write(store.root.join(key), b"")
        store.delete(store.root.join("p/a"))
        assert keys(store, store.root) == ["p/b/c", "pq"]
        store.delete(store.root.join("p"))
        store.delete(store.root.join("p"))
        assert keys(store, store.root) == ["pq"]
        with pytest.raises(PathEscapeError):
            store.delete(store.root)

    def test_nothing_outside_the_root_is_touched(self, store: ObjectStore, tmp_path: Path) -> None:
        outside = ArtifactUri.from_path(tmp_path / "outside")
        (tmp_path / "outside").write_bytes(b"secret")
        sibling = ArtifactUri(store.root + "-sibling/object")
        for uri in (outside, sibling):
            for use in (
                store.read,
                store.head,
                store.digest,
                store.open,
                store.local,
                store.delete,
                store.published,
            ):
                with pytest.raises(PathEscapeError):
                    use(uri)
            with pytest.raises(PathEscapeError):
                store.write(uri, b"changed")
            with pytest.raises(PathEscapeError):
                list(store.list(uri))
        assert (tmp_path / "outside").read_bytes() == b"secret"

    def test_a_large_file_is_uploaded_whole(self, store: ObjectStore, tmp_path: Path) -> None:
        source = tmp_path / "source.bin"
        source.write_bytes(random.Random(0).randbytes(3_000_001))
        info = store.upload(source, store.root.join("large"))
        assert info.size == 3_000_001
        assert store.digest(info.uri) == hashlib.sha256(source.read_bytes()).hexdigest()
