"""The store of one machine: the contract, links, crashes, full disks, and folders of 100,000 names."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import pytest

from mlops_assets.errors import ConflictError, PathEscapeError, StorageError
from mlops_assets.platforms.local import build_platform
from mlops_assets.platforms.local.object_store import LocalObjectStore
from mlops_assets.platforms.ports import Platform
from mlops_assets.settings import Settings
from mlops_assets_tests.platforms.contracts.object_store import ObjectStoreContract, keys, staged


class TestLocalObjectStore(ObjectStoreContract):
    @pytest.fixture
    def platform(self, tmp_path: Path) -> Platform:
        return build_platform(Settings(root=tmp_path / "mlops"))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(root=tmp_path / "mlops")


@pytest.fixture
def store(settings: Settings) -> LocalObjectStore:
    return LocalObjectStore(settings)


def folder_of(store: LocalObjectStore) -> Path:
    """The store's folder."""
    store.root.path.mkdir(parents=True, exist_ok=True)
    return store.root.path


def test_a_link_out_of_the_store_is_neither_read_nor_listed_nor_written_through(
    store: LocalObjectStore, tmp_path: Path
) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_bytes(b"secret")
    folder = folder_of(store)
    (folder / "file").symlink_to(tmp_path / "outside" / "secret")
    (folder / "folder").symlink_to(tmp_path / "outside")
    (folder / "loop").symlink_to(folder / "loop")
    assert keys(store, store.root) == []
    for key in ("file", "folder/secret", "loop"):
        with pytest.raises(PathEscapeError, match="link leads out"):
            store.read(store.root.join(key))
    with pytest.raises(PathEscapeError, match="link leads out"):
        store.write(store.root.join("folder/new"), b"")
    assert [path.name for path in (tmp_path / "outside").iterdir()] == ["secret"]


def test_a_root_that_is_itself_behind_a_link_works(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    store = LocalObjectStore(Settings(root=tmp_path / "link"))
    store.write(store.root.join("a/b"), b"1")
    assert store.read(store.root.join("a/b")) == b"1"
    assert keys(store, store.root) == ["a/b"]


def test_a_link_among_files_to_publish_is_refused(store: LocalObjectStore, tmp_path: Path) -> None:
    folder = staged(tmp_path, data=b"1")
    (folder / "link").symlink_to("/etc/hostname")
    with pytest.raises(PathEscapeError, match="link"):
        store.publish(folder, store.root.join("target"))
    assert keys(store, store.root) == []


def test_names_that_no_key_can_hold_are_skipped_with_a_warning(
    store: LocalObjectStore, caplog: pytest.LogCaptureFixture
) -> None:
    folder = folder_of(store)
    for name in ("good", "line\nbreak", "back\\slash", "tab\tname"):
        (folder / name).write_bytes(b"")
    (Path(os.fsdecode(os.fsencode(folder) + b"/latin-\xe9"))).write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        assert keys(store, store.root) == ["good"]
    assert len(caplog.records) == 4
    assert all("rename the file" in record.getMessage() for record in caplog.records)
    assert "\n" not in caplog.records[0].getMessage()


def test_files_being_written_are_not_listed(store: LocalObjectStore) -> None:
    folder = folder_of(store)
    (folder / ".tmp-123").write_bytes(b"half")
    (folder / "p").mkdir()
    (folder / "p" / ".tmp-456").mkdir()
    (folder / "p" / ".tmp-456" / "half").write_bytes(b"")
    os.mkfifo(folder / "pipe")
    assert keys(store, store.root) == []


def test_an_object_cannot_lie_below_another_or_have_an_impossible_name(store: LocalObjectStore) -> None:
    store.write(store.root.join("object"), b"")
    store.write(store.root.join("folder/object"), b"")
    with pytest.raises(ConflictError):
        store.write(store.root.join("object/below"), b"")
    with pytest.raises(ConflictError):
        store.write(store.root.join("folder"), b"")
    long = store.root.join("x" * 300)
    assert store.head(long) is None
    with pytest.raises(StorageError, match="255 bytes"):
        store.write(long, b"")


@pytest.mark.slow
def test_a_folder_of_100000_names_is_listed_from_any_key_without_touching_the_rest(
    store: LocalObjectStore,
) -> None:
    folder = folder_of(store) / "landing"
    folder.mkdir()
    for number in range(100_000):
        os.close(os.open(folder / f"{number:07d}.csv", os.O_CREAT | os.O_WRONLY))
    prefix = store.root.join("landing")
    began = time.process_time()
    found = keys(store, prefix, after="0050000.csv", limit=1000)
    spent = time.process_time() - began
    assert found == [f"{number:07d}.csv" for number in range(50_001, 51_001)]
    assert spent < 0.5  # about 0.06 s of processor time where this was written; generous to slower machines


WRITER = """
import sys, pathlib, signal, os
from mlops_assets.settings import Settings
from mlops_assets.platforms.local.object_store import LocalObjectStore
store = LocalObjectStore(Settings(root=pathlib.Path(sys.argv[1])))
"""


def run(code: str, root: Path) -> subprocess.CompletedProcess[str]:
    """Run `code` after WRITER in a process of its own."""
    command = [sys.executable, "-c", WRITER + code, str(root)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_a_full_disk_leaves_the_old_object_and_says_so(settings: Settings, store: LocalObjectStore) -> None:
    uri = store.root.join("object")
    store.write(uri, b"old")
    done = run(
        """
import resource
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
store.write(store.root.join("object"), b"x" * 1_000_000)
""",
        settings.root,
    )
    assert "StorageError" in done.stderr
    assert "Free space on the disk" in done.stderr
    assert store.read(uri) == b"old"
    assert [path.name for path in store.root.path.iterdir()] == ["object"]


def test_a_writer_killed_midway_leaves_the_old_object(settings: Settings, store: LocalObjectStore) -> None:
    uri = store.root.join("object")
    store.write(uri, b"old")
    done = run(
        """
def fill(file):
    file.write(b"half")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
store._write(store.root.join("object"), fill)
""",
        settings.root,
    )
    assert done.returncode == -signal.SIGKILL
    assert store.read(uri) == b"old"
    assert keys(store, store.root) == ["object"]
    store.write(uri, b"new")
    assert store.read(uri) == b"new"


def test_a_publisher_killed_before_the_rename_leaves_nothing_visible(
    settings: Settings, store: LocalObjectStore, tmp_path: Path
) -> None:
    folder = staged(tmp_path, data=b"1")
    done = run(
        f"""
pathlib.Path.rename = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
store.publish(pathlib.Path({str(folder)!r}), store.root.join("target"))
""",
        settings.root,
    )
    assert done.returncode == -signal.SIGKILL
    assert keys(store, store.root) == []
    assert store.publish(folder, store.root.join("target")) is True  # the lock died with its process


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="needs a second file system at /dev/shm")
def test_a_folder_on_another_file_system_is_published_whole(store: LocalObjectStore) -> None:
    folder = staged(Path("/dev/shm"), data=b"1", below__more=b"2")
    assert folder.stat().st_dev != folder_of(store).stat().st_dev
    assert store.publish(folder, store.root.join("target")) is True
    assert not folder.exists()
    assert keys(store, store.root) == ["target/_complete", "target/below/more", "target/data"]
    assert [path.name for path in store.root.path.iterdir()] == ["target"]


def test_listing_is_lazy_beyond_what_is_asked_for(store: LocalObjectStore) -> None:
    folder = folder_of(store)
    for name in ("a", "b", "c"):
        (folder / name).write_bytes(b"")
    listing = store.list(store.root)
    assert [item.uri.name for item in islice(listing, 1)] == ["a"]
    (folder / "b").unlink()
    assert [item.uri.name for item in listing] == ["c"]
