"""What every cloud's arrival events do for a landing sensor: sooner with them, complete without them.

A platform's test class inherits `ArrivalEventsContract` and gives the fixtures `platform` and `queue`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import dagster as dg
import pytest

from mlops_assets.artifacts import ArtifactUri
from mlops_assets.platforms.ports import ArrivalEvents, Platform
from mlops_assets_tests.factories import declaration
from mlops_assets_tests.pipeline.test_landing import MODEL, Daemon


class NotifiedQueue(Protocol):
    """A queue that hears of what is written and deleted below the model's landing prefix."""

    def send(self, uri: ArtifactUri) -> None:
        """One more event that says that an object was written."""
        ...

    def again(self) -> None:
        """Let the time pass after which what was not acknowledged is delivered again."""
        ...

    def purge(self) -> None:
        """Lose every message."""
        ...

    def kept(self) -> int:
        """Messages that were not acknowledged."""
        ...

    def fails(self, *, receiving: int = 0, acknowledging: int = 0) -> None:
        """Let that many of the coming calls fail."""
        ...


class ArrivalEventsContract:
    """Behaviour of `ArrivalEvents`, seen through the port and a landing sensor.

    The platform sweeps nothing: a key behind the watermark is found by its event, or not at all. Its batch
    is ten objects.
    """

    @pytest.fixture
    def platform(self) -> Platform:
        raise NotImplementedError

    @pytest.fixture
    def queue(self) -> NotifiedQueue:
        raise NotImplementedError

    @pytest.fixture
    def events(self, platform: Platform) -> ArrivalEvents:
        events = platform.events(platform.store.root.join("landing", MODEL))
        assert events is not None
        return events

    @pytest.fixture
    def daemon(self, platform: Platform, queue: NotifiedQueue, tmp_path: Path) -> Iterator[Daemon]:
        with dg.DagsterInstance.ephemeral() as instance:
            yield Daemon(platform, declaration(tmp_path / "defs"), instance)

    def test_objects_with_any_key_are_announced_until_acknowledged(
        self, queue: NotifiedQueue, events: ArrivalEvents, platform: Platform
    ) -> None:
        keys = ("a+b c.csv", "ä/%2e.csv", "x=1/y.csv")
        uris = [platform.store.root.join("landing", MODEL, key) for key in keys]
        for uri in uris:
            platform.store.write(uri, b"1")
        platform.store.write(platform.store.root.join("elsewhere"), b"1")
        assert sorted({item.uri for item in events.receive(10)}) == sorted(uris)
        queue.again()
        announced = events.receive(10)
        assert sorted({item.uri for item in announced}) == sorted(uris)
        events.acknowledge(announced)
        queue.again()
        assert list(events.receive(10)) == []
        assert queue.kept() == 0

    def test_an_event_finds_a_late_key_that_no_listing_would(
        self, queue: NotifiedQueue, daemon: Daemon, platform: Platform
    ) -> None:
        platform.store.write(daemon.folder.join("m.csv"), b"1")
        assert daemon.tick() == 1
        platform.store.write(daemon.folder.join("a.csv"), b"1")  # behind the watermark
        assert daemon.tick() == 1
        assert daemon.tick() == 0
        daemon.assert_each_once()
        assert queue.kept() == 0

    def test_repeated_and_late_events_start_nothing_twice(
        self, queue: NotifiedQueue, daemon: Daemon, platform: Platform
    ) -> None:
        uri = daemon.folder.join("m.csv")
        platform.store.write(uri, b"1")
        for _ in range(3):
            queue.send(uri)
            daemon.tick()
        platform.store.delete(uri)
        queue.send(uri)  # of an object that is gone
        assert daemon.tick() == 0
        assert daemon.tick() == 0
        assert set(daemon.planned.values()) == {1}
        assert queue.kept() == 0

    def test_lost_events_lose_nothing_and_a_queue_that_fails_stops_nothing(
        self, queue: NotifiedQueue, daemon: Daemon, platform: Platform
    ) -> None:
        for key in ("a.csv", "b.csv"):
            platform.store.write(daemon.folder.join(key), b"1")
        queue.purge()
        queue.fails(receiving=10)
        assert daemon.tick() == 2
        daemon.assert_each_once()

    def test_an_event_that_cannot_be_acknowledged_comes_again_and_starts_nothing_twice(
        self, queue: NotifiedQueue, daemon: Daemon, platform: Platform
    ) -> None:
        queue.purge()  # of what a store says when it begins to notify
        platform.store.write(daemon.folder.join("m.csv"), b"1")
        queue.fails(acknowledging=2)
        assert daemon.tick() == 1
        assert queue.kept() == 1
        for _ in range(2):
            queue.again()
            assert daemon.tick() == 0
        daemon.assert_each_once()
        assert queue.kept() == 0

    def test_more_events_than_a_batch_are_kept_for_the_next_tick(
        self, queue: NotifiedQueue, daemon: Daemon, platform: Platform
    ) -> None:
        platform.store.write(daemon.folder.join("z.csv"), b"1")
        daemon.tick()
        for number in range(25):
            platform.store.write(daemon.folder.join(f"{number:02d}.csv"), b"1")
        started = []
        for _ in range(8):
            started.append(daemon.tick())
            queue.again()
        assert sum(started) == 25
        assert max(started) <= 10
        daemon.assert_each_once()

    def test_a_tick_that_dies_is_told_again(
        self, queue: NotifiedQueue, daemon: Daemon, platform: Platform
    ) -> None:
        platform.store.write(daemon.folder.join("m.csv"), b"1")
        daemon.tick()
        platform.store.write(daemon.folder.join("a.csv"), b"1")
        daemon.tick(dies_after_runs=-1)
        started = []
        for _ in range(3):
            queue.again()
            started.append(daemon.tick())
        assert sum(started) == 1
        daemon.assert_each_once()

    def test_other_prefixes_have_no_events(self, platform: Platform) -> None:
        assert platform.events(platform.store.root.join("landing", "other")) is None
