"""Copies on this machine: bounded, never taken away from a reader."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from pathlib import Path

from mlops_assets.artifacts import ArtifactUri
from mlops_assets.platforms import local_copies
from mlops_assets.platforms.local_copies import LocalCopies
from mlops_assets.platforms.ports import ObjectInfo


def info(name: str) -> ObjectInfo:
    return ObjectInfo(ArtifactUri(f"s3://bucket/{name}"), "1", 400_000, datetime.now(UTC))


def copies(folder: Path, megabytes: int = 1) -> LocalCopies:
    """Of objects of 400,000 bytes each, as another process would have them."""

    def download(_: ArtifactUri, path: Path) -> None:
        path.write_bytes(bytes(400_000))

    return LocalCopies(folder, download, megabytes=megabytes)


def unread_for_a_day(path: Path) -> None:
    then = time.time() - 86_400
    os.utime(path.parent, (then, then))


def test_beyond_the_bound_those_not_read_longest_go(tmp_path: Path) -> None:
    first, second, third = (copies(tmp_path).object(info(name)) for name in "abc")
    for path in (second, first, third):
        unread_for_a_day(path)
        time.sleep(0.01)
    assert copies(tmp_path).object(info("b")) == second  # it is read again
    fourth = copies(tmp_path).object(info("d"))
    assert [path.exists() for path in (first, second, third, fourth)] == [False, True, False, True]
    assert len(copies(tmp_path).object(info("a")).read_bytes()) == 400_000


def test_what_was_read_lately_or_by_this_process_stays_whatever_the_bound(tmp_path: Path) -> None:
    mine = copies(tmp_path, megabytes=0)
    first = mine.object(info("a"))
    unread_for_a_day(first)
    second = copies(tmp_path, megabytes=100).object(info("b"))
    third = mine.object(info("c"))
    assert all(path.exists() for path in (first, second, third))


def test_a_file_that_is_open_is_read_to_its_end(tmp_path: Path) -> None:
    path = copies(tmp_path).object(info("a"))
    with path.open("rb") as stream:
        unread_for_a_day(path)
        copies(tmp_path, megabytes=0).object(info("b"))
        assert not path.exists()
        assert len(stream.read()) == 400_000


def test_what_a_dead_process_left_unfinished_goes_after_a_while(tmp_path: Path) -> None:
    for name, age in (("old", local_copies.IN_USE + 60), ("young", 60.0)):
        (tmp_path / f".tmp-{name}").mkdir()
        (tmp_path / f".tmp-{name}" / "half").write_bytes(b"1")
        os.utime(tmp_path / f".tmp-{name}", (time.time() - age, time.time() - age))
    copies(tmp_path).object(info("a"))
    assert not (tmp_path / ".tmp-old").exists()
    assert (tmp_path / ".tmp-young").exists()
