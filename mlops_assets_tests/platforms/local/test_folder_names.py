"""Remembered names are those that are there: whatever changes, however soon after they were read."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_assets.platforms.local import folder_names
from mlops_assets.platforms.local.folder_changes import FolderChanges
from mlops_assets.platforms.local.folder_names import FolderNames
from mlops_assets.platforms.local.listing import walk


@pytest.fixture(autouse=True)
def _small_folders_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_names, "_SMALLEST", 1)


@pytest.fixture(params=[True, False], ids=["told", "not told"])
def names(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> FolderNames:
    """Names on a system that tells what changed, and on one that does not."""
    if not request.param:
        monkeypatch.setattr(FolderChanges, "watch", lambda *_: False)
    return FolderNames()


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The folders whose names were really read."""
    seen: list[bytes] = []
    real = os.listdir

    def listdir(path: bytes) -> list[bytes]:
        seen.append(path)
        return real(path)

    monkeypatch.setattr(folder_names.os, "listdir", listdir)
    return seen


def _put(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).write_bytes(b"")


def _settle(seconds: float = 0.05) -> None:
    """Let the kernel's clock for file times move on."""
    time.sleep(seconds)


def _read(names: FolderNames, folder: Path) -> list[str]:
    return [name.decode() for name in names.read(os.fsencode(folder))]


def test_an_unchanged_folder_is_read_once(tmp_path: Path, names: FolderNames, readings: list[bytes]) -> None:
    _put(tmp_path, "b", "a")
    _settle()
    assert _read(names, tmp_path) == ["a", "b"]
    readings.clear()  # twice where it turned out to be worth watching
    assert [_read(names, tmp_path) for _ in range(3)] == [["a", "b"]] * 3
    (tmp_path / "a").write_bytes(b"written again")  # no name changed
    assert _read(names, tmp_path) == ["a", "b"]
    assert readings == []


def test_a_large_folder_is_not_read_again_for_a_few_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, readings: list[bytes]
) -> None:
    monkeypatch.setattr(folder_names, "_FEW", 3)
    names = FolderNames()
    _put(tmp_path, "b", "d")
    assert _read(names, tmp_path) == ["b", "d"]
    readings.clear()
    for number in range(20):  # as fast as can be: within one time of the folder
        _put(tmp_path, f"c{number:02d}", "a")
        (tmp_path / "a").unlink()
        assert _read(names, tmp_path) == ["b", *(f"c{at:02d}" for at in range(number + 1)), "d"]
    assert readings == []
    _put(tmp_path, *(f"e{at}" for at in range(4)))
    assert len(_read(names, tmp_path)) == 26
    assert len(readings) == 1


def test_a_process_that_forks_reads_for_itself(tmp_path: Path) -> None:
    names = FolderNames()
    _put(tmp_path, "a")
    assert _read(names, tmp_path) == ["a"]
    child = os.fork()
    if not child:
        _put(tmp_path, "b")
        os._exit(0 if _read(names, tmp_path) == ["a", "b"] else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert _read(names, tmp_path) == ["a", "b"]


def test_more_changes_than_the_system_keeps_lose_no_name(tmp_path: Path) -> None:
    names = FolderNames()
    _put(tmp_path, "a")
    assert _read(names, tmp_path) == ["a"]
    most = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    for number in range(most // 2 + 10):  # two events each
        _put(tmp_path, "b")
        (tmp_path / "b").rename(tmp_path / f"c{number % 3}")
    _put(tmp_path, "z")
    assert _read(names, tmp_path) == ["a", "c0", "c1", "c2", "z"]


def test_what_is_added_deleted_and_renamed_is_seen(tmp_path: Path, names: FolderNames) -> None:
    steps: list[tuple[Callable[[], Any], list[str]]] = [
        (lambda: _put(tmp_path, "b", "d"), ["b", "d"]),
        (lambda: _put(tmp_path, "a", "c", "e"), ["a", "b", "c", "d", "e"]),
        ((tmp_path / "c").unlink, ["a", "b", "d", "e"]),
        (lambda: (tmp_path / "e").rename(tmp_path / "c"), ["a", "b", "c", "d"]),
        (lambda: (tmp_path / "a").rename(tmp_path / "b"), ["b", "c", "d"]),
        (lambda: (shutil.rmtree(tmp_path), tmp_path.mkdir(), _put(tmp_path, "z")), ["z"]),
        (lambda: (shutil.rmtree(tmp_path), tmp_path.write_text("a file now")), []),
    ]
    for settled in (False, True):
        tmp_path.unlink() if tmp_path.is_file() else shutil.rmtree(tmp_path)
        tmp_path.mkdir()
        for change, expected in steps:
            change()
            if settled:
                _settle()
            assert _read(names, tmp_path) == expected
            assert _read(names, tmp_path) == expected


def _rounded(monkeypatch: pytest.MonkeyPatch, tick: int, phase: int = 0) -> None:
    """Let folders show times that stand still for `tick` nanoseconds, as they do on other systems."""

    def stat(path: Any) -> Any:
        status = os.stat(path)  # noqa: PTH116
        times = {
            name: getattr(status, name) // tick * tick + phase for name in ("st_mtime_ns", "st_ctime_ns")
        }
        return SimpleNamespace(st_dev=status.st_dev, st_ino=status.st_ino, **times)

    monkeypatch.setattr(folder_names, "os", SimpleNamespace(stat=stat, listdir=os.listdir))


@pytest.mark.parametrize("tick", [1, 4_000_000, 10_000_000], ids=["as it is", "250 Hz", "100 Hz"])
def test_a_file_that_appears_within_the_same_timestamp_as_the_reading_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: FolderNames, tick: int
) -> None:
    _rounded(monkeypatch, tick, phase=123_456 if tick > 1 else 0)
    same = 0
    for number in range(300):
        _put(tmp_path, f"{number:04d}-before")
        stamp = folder_names.os.stat(tmp_path).st_mtime_ns
        assert f"{number:04d}-before" in _read(names, tmp_path)
        _put(tmp_path, f"{number:04d}-after")
        same += folder_names.os.stat(tmp_path).st_mtime_ns == stamp
        assert f"{number:04d}-after" in _read(names, tmp_path)
    assert tick == 1 or same > 10


def test_file_systems_that_round_times_to_seconds_are_trusted_only_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, readings: list[bytes]
) -> None:
    monkeypatch.setattr(FolderChanges, "watch", lambda *_: False)
    _rounded(monkeypatch, 1_000_000_000)
    names = FolderNames()
    for number in range(5):
        _settle(0.03)
        _put(tmp_path, str(number))
        assert len(_read(names, tmp_path)) == number + 1
    assert len(readings) == 5
    later = time.time_ns() + 60_000_000_000
    clock = SimpleNamespace(time_ns=lambda: later, monotonic=time.monotonic)
    monkeypatch.setattr(folder_names, "time", clock)
    assert [len(_read(names, tmp_path)) for _ in range(2)] == [5, 5]
    assert len(readings) == 6


def test_names_are_trusted_for_a_limited_time_where_a_folder_does_not_show_its_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on file systems over object storage, whose folders have no time of change."""
    monkeypatch.setattr(FolderChanges, "watch", lambda *_: False)
    always = SimpleNamespace(st_dev=1, st_ino=1, st_mtime_ns=1, st_ctime_ns=1)
    monkeypatch.setattr(folder_names, "os", SimpleNamespace(stat=lambda _: always, listdir=os.listdir))
    names, began = FolderNames(), time.monotonic()
    _put(tmp_path, "a")
    assert _read(names, tmp_path) == ["a"]
    _put(tmp_path, "b")
    clock = SimpleNamespace(time_ns=time.time_ns, monotonic=lambda: began + 301)
    monkeypatch.setattr(folder_names, "time", clock)
    assert _read(names, tmp_path) == ["a", "b"]


def test_the_names_remembered_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: FolderNames, readings: list[bytes]
) -> None:
    monkeypatch.setattr(folder_names, "_MOST", 5)
    folders = [tmp_path / str(number) for number in range(3)]
    for folder in folders:
        folder.mkdir()
        _put(folder, "a", "b")
    _settle()
    for folder in (*folders, folders[2], folders[1], folders[0]):
        assert _read(names, folder) == ["a", "b"]
    # Read twice in a row where it turned out to be worth watching.
    assert [name for name, _ in groupby(map(os.path.basename, readings))] == [b"0", b"1", b"2", b"0"]


NAMES = ("a", "a-b", "a.csv", "ab", "b", "ä", "😀", ".tmp-x", "Z")
PATHS = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map("/".join)
STEPS = st.lists(
    st.tuples(st.sampled_from(("write", "delete", "rename", "list")), PATHS, PATHS), min_size=1, max_size=25
)


@settings(max_examples=150, deadline=None)
@given(steps=STEPS)
def test_a_listing_is_what_a_fresh_look_at_every_file_gives(steps: list[tuple[str, str, str]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for action, path, other in steps:
            _act(folder, action, path, other)
            for after in (None, path, f"{path}/", f"{path}!", other[:-1] or None):
                assert [key for key, _ in walk(folder, after)] == list(_fresh(folder, after)), after


def _act(folder: Path, action: str, path: str, other: str) -> None:
    target = folder / path
    try:
        if action == "write":
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(b"")
        elif action == "delete":
            shutil.rmtree(target) if target.is_dir() else target.unlink()
        elif action == "rename":
            target.rename(folder / other)
    except OSError:
        pass  # a file where a folder is meant, or nothing there


def _fresh(folder: Path, after: str | None) -> Iterator[str]:
    found = [
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and not any(part.startswith(".tmp-") for part in path.relative_to(folder).parts)
    ]
    yield from sorted((key for key in found if key > (after or "")), key=str.encode)
