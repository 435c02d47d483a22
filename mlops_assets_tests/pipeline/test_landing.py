"""The landing sensor starts every object version exactly once, whatever arrives in whatever order."""

from __future__ import annotations

import dataclasses
import random
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    multiple,
    precondition,
    rule,
)

from mlops_assets.artifacts import ArtifactUri
from mlops_assets.declaration.loaded import LoadedDeclaration
from mlops_assets.pipeline.arrivals import arrivals_asset
from mlops_assets.pipeline.landing import discover, landing_sensor, mark_started, partition_ranges, run_tags
from mlops_assets.pipeline.landing_log import Cursor, LandingLog
from mlops_assets.pipeline.landing_tick import is_data
from mlops_assets.pipeline.names import Names
from mlops_assets.platforms.ports import ObjectInfo, ObjectStore, Platform
from mlops_assets_tests.factories import csv_text, declaration, home_rows, local_platform

MODEL = "homes"


class CountingStore:
    """The real store, counting the objects that its listings yield."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self.yielded = 0

    def list(
        self, prefix: ArtifactUri, *, after: str | None = None, limit: int | None = None
    ) -> Iterator[ObjectInfo]:
        for info in self._store.list(prefix, after=after, limit=limit):
            self.yielded += 1
            yield info

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


class Daemon:
    """Does with a result what the daemon does: partitions, then runs by run key, then the cursor."""

    def __init__(self, platform: Platform, loaded: LoadedDeclaration, instance: dg.DagsterInstance) -> None:
        self.platform, self.loaded, self.instance = platform, loaded, instance
        self.sensor = landing_sensor(loaded)
        self.folder = platform.store.root.join(f"landing/{MODEL}")
        self.cursor: str | None = None
        self.run_keys: set[str] = set()
        self.started: Counter[tuple[str, str]] = Counter()
        self.planned: Counter[tuple[str, str]] = Counter()
        self.died = False
        self.largest = 0
        self.skipped: str | None = None

    def tick(self, *, dies_after_runs: int | None = None) -> int:
        """Evaluate and apply; the number of objects started. Dying leaves the cursor as it was."""
        context = dg.build_sensor_context(
            instance=self.instance, cursor=self.cursor, resources={"platform": self.platform}
        )
        data = self.sensor.evaluate_tick(context)
        self.skipped = data.skip_message
        self.died |= dies_after_runs is not None
        if dies_after_runs == -1:
            return 0
        for request in data.dynamic_partitions_requests or []:
            self.instance.add_dynamic_partitions(request.partitions_def_name, list(request.partition_keys))
        started = 0
        for number, request in enumerate(data.run_requests or []):
            if number == dies_after_runs:
                return started
            started += self._launch(request)
        if dies_after_runs is None:
            self.cursor = data.cursor
        self.largest = max(self.largest, started)
        return started

    def _launch(self, request: dg.RunRequest) -> int:
        assert request.run_key is not None
        if request.run_key in self.run_keys:
            return 0
        self.run_keys.add(request.run_key)
        keys = self._keys(request)
        plan = LandingLog(self.instance, MODEL).plan()
        assert plan is not None
        for key in keys:
            info = self.platform.store.head(self.folder.join(key))
            self.started[key, info.version if info else "deleted"] += 1
            self.planned[key, plan.versions[key]] += 1
        return len(keys)

    def _keys(self, request: dg.RunRequest) -> list[str]:
        if request.tags.get("dagster/partition"):
            return [request.tags["dagster/partition"]]
        created = list(self.instance.get_dynamic_partitions(Names(MODEL).partitions))
        first = created.index(request.tags["dagster/asset_partition_range_start"])
        last = created.index(request.tags["dagster/asset_partition_range_end"])
        assert first < last
        return created[first : last + 1]

    def settle(self, objects: int) -> None:
        """Tick until a whole rotation of the sweep found nothing."""
        idle, enough = 0, objects // self.platform.settings.sensor_sweep + 2
        while idle < enough:
            idle = 0 if self.tick() else idle + 1

    def present(self) -> dict[str, str]:
        found = self.platform.store.list(self.folder)
        return {self.folder.relative(info.uri): info.version for info in found}

    def assert_each_once(self) -> None:
        """Each version was asked for once, and a run found each version that is there.

        A run asked for before its object was written again finds the newer version, for which a run of its
        own follows (it finds the ledger up to date). Only a tick that dies lies between the two here, so
        without one the runs found each version once, too.
        """
        present = self.present()
        assert {self.planned[item] for item in present.items()} <= {1}
        assert set(self.planned.values()) <= {1}
        assert all(self.started[item] for item in present.items())
        if not self.died:
            assert {count for (_, version), count in self.started.items() if version != "deleted"} <= {1}


@pytest.fixture
def loaded(tmp_path: Path) -> LoadedDeclaration:
    return declaration(tmp_path)


@pytest.fixture
def daemon(tmp_path: Path, loaded: LoadedDeclaration) -> Iterator[Callable[..., Daemon]]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield lambda **chosen: Daemon(local_platform(tmp_path, **chosen), loaded, instance)


def write(daemon: Daemon, key: str, text: str = "x") -> None:
    """Faster than the store's own write, which syncs; aside and renamed all the same."""
    path = daemon.folder.path / key
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.aside")
    aside.write_text(text)
    aside.replace(path)


def numbered(count: int) -> list[str]:
    return [f"2026/{number:06d}.csv" for number in range(count)]


# --- every order of arrival -------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["ascending", "descending", "random"])
def test_twenty_thousand_objects_are_each_started_once_in_bounded_batches(
    daemon: Callable[..., Daemon], order: str
) -> None:
    driver = daemon(sensor_batch=2_000, sensor_sweep=4_000)
    keys = numbered(20_000)
    if order == "descending":
        keys.reverse()
    elif order == "random":
        random.Random(7).shuffle(keys)
    (driver.folder.path / "2026").mkdir(parents=True)
    for wave in range(0, len(keys), 5_000):
        for key in keys[wave : wave + 5_000]:
            (driver.folder.path / key).touch()
        driver.tick()
    driver.settle(len(keys))
    driver.assert_each_once()
    assert len(driver.started) == 20_000
    assert driver.largest == 2_000


def test_late_keys_below_the_watermark_are_found(daemon: Callable[..., Daemon]) -> None:
    driver = daemon(sensor_batch=500, sensor_sweep=100)
    for key in numbered(300):
        write(driver, key)
    driver.settle(300)
    for key in ("2025/late.csv", "2026/000010-late.csv", "2026/000299-late.csv"):
        write(driver, key)
    driver.settle(303)
    driver.assert_each_once()
    assert len(driver.started) == 303


def test_a_late_key_is_found_at_the_next_tick_where_the_sweep_covers_every_key(
    daemon: Callable[..., Daemon],
) -> None:
    driver = daemon(sensor_sweep=1_000)
    for key in numbered(400):
        write(driver, key)
    driver.settle(400)
    write(driver, "2025/late.csv")
    assert driver.tick() == 1


@pytest.mark.parametrize("key", ["2026/000000.csv", "2026/000049.csv", "2026/000099.csv"])
def test_a_rewritten_key_is_started_again_whether_or_not_it_is_the_watermark(
    daemon: Callable[..., Daemon], key: str
) -> None:
    driver = daemon(sensor_sweep=30)
    for each in numbered(100):
        write(driver, each)
    driver.settle(100)
    write(driver, key, "rewritten")
    driver.settle(100)
    driver.assert_each_once()
    assert sum(count for (started, _), count in driver.started.items() if started == key) == 2


def test_deleting_the_watermarks_own_key_neither_repeats_nor_skips(daemon: Callable[..., Daemon]) -> None:
    driver = daemon()
    for key in numbered(50):
        write(driver, key)
    driver.settle(50)
    (driver.folder.path / "2026/000049.csv").unlink()
    write(driver, "2026/000060.csv")
    write(driver, "2026/000048-late.csv")
    driver.settle(51)
    driver.assert_each_once()
    assert len(driver.started) == 52


def test_a_stream_of_new_objects_does_not_starve_a_late_one(daemon: Callable[..., Daemon]) -> None:
    driver = daemon(sensor_batch=4, sensor_sweep=50)
    for key in numbered(40):
        write(driver, key)
    driver.settle(40)
    write(driver, "2025/late.csv")
    for key in numbered(1_000)[40:]:
        write(driver, key)
    for _ in range(3):
        driver.tick()
    assert any(key == "2025/late.csv" for key, _ in driver.started)


def test_an_etag_that_comes_back_is_started_again(daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    driver = daemon()
    write(driver, "a.csv", "first")
    first = driver.folder.path / "a.csv"
    kept = tmp_path / "kept"
    kept.hardlink_to(first)
    driver.settle(1)
    write(driver, "a.csv", "second")
    driver.settle(1)
    kept.replace(first)  # the very same file again: inode, size and time, so the version, are the first ones
    driver.settle(1)
    assert sorted(driver.started.values()) == [1, 2]


# --- crashes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dies_after_runs", [-1, 0, 1, 2])
def test_a_tick_that_dies_is_repeated_although_more_has_arrived_meanwhile(
    daemon: Callable[..., Daemon], dies_after_runs: int
) -> None:
    driver = daemon()
    for key in numbered(10):
        write(driver, key)
    driver.settle(10)
    for number in (2, 7):
        write(driver, numbered(10)[number], "rewritten")
    write(driver, "2027/new.csv")
    driver.tick(dies_after_runs=dies_after_runs)
    write(driver, "2027/newer.csv")
    write(driver, "2025/late.csv")
    driver.settle(13)
    driver.assert_each_once()
    assert len(driver.started) == 10 + 2 + 1 + 2


def test_a_lost_cursor_starts_nothing_again(daemon: Callable[..., Daemon]) -> None:
    driver = daemon()
    for key in numbered(10):
        write(driver, key)
    driver.tick()
    driver.cursor = None
    driver.settle(10)
    driver.assert_each_once()
    assert len(driver.started) == 10


# --- runs -------------------------------------------------------------------------------------------------


def test_new_objects_of_a_tick_are_one_run_and_rewritten_ones_a_run_per_contiguous_range(
    daemon: Callable[..., Daemon],
) -> None:
    driver = daemon()
    for key in numbered(10):
        write(driver, key)
    driver.settle(10)
    assert len(driver.run_keys) == 1
    for number in (1, 2, 3, 7):
        write(driver, numbered(10)[number], "rewritten")
    write(driver, "2027/new.csv")
    write(driver, "2025/new.csv")
    driver.settle(12)
    driver.assert_each_once()
    assert len(driver.run_keys) == 1 + 2 + 1


def test_ranges_hold_exactly_the_wanted_partitions_in_order_of_creation(loaded: LoadedDeclaration) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions(Names(MODEL).partitions, ["c", "a", "b", "d"])
        assert partition_ranges(instance, loaded, ["d", "a", "c", "z", "y"]) == [("c", "a"), ("d", "z")]
        assert instance.get_dynamic_partitions(Names(MODEL).partitions) == ["c", "a", "b", "d", "y", "z"]


def test_tags_name_one_partition_or_a_range() -> None:
    assert run_tags(["a"]) == run_tags(("a", "a")) == {"dagster/partition": "a"}
    assert set(run_tags(("a", "c"))) == {
        "dagster/asset_partition_range_start",
        "dagster/asset_partition_range_end",
    }


# --- cost -------------------------------------------------------------------------------------------------


def test_a_tick_looks_at_no_more_objects_than_its_slices_however_many_there_are(
    tmp_path: Path, loaded: LoadedDeclaration
) -> None:
    platform = local_platform(tmp_path, sensor_batch=100, sensor_sweep=200)
    store = CountingStore(platform.store)
    counting = Platform(
        platform.settings,
        dataclasses.replace(platform._adapters, store=lambda _: store),  # type: ignore[arg-type]
    )
    with dg.DagsterInstance.ephemeral() as instance:
        driver = Daemon(counting, loaded, instance)
        for key in numbered(3_000):
            write(driver, key)
        driver.settle(3_000)
        for new in (0, 5):
            for number in range(new):
                write(driver, f"2027/{number}.csv")
            store.yielded = 0
            driver.tick()
            assert store.yielded <= 200 + new
        driver.assert_each_once()


# --- the full comparison ----------------------------------------------------------------------------------


def load(driver: Daemon, keys: Sequence[str]) -> None:
    """Load objects as `run` does: one run per range."""
    for pair in partition_ranges(driver.instance, driver.loaded, keys):
        result = dg.materialize(
            [arrivals_asset(driver.loaded)],
            instance=driver.instance,
            tags=run_tags(pair),
            resources={"platform": driver.platform},
        )
        assert result.success


def test_discovery_tells_new_changed_and_known_objects_apart(daemon: Callable[..., Daemon]) -> None:
    driver = daemon()
    for key in ("a.csv", "b.csv", "c.csv"):
        write(driver, key, csv_text(home_rows(3)))
    assert discover(driver.instance, driver.platform, driver.loaded).new == ("a.csv", "b.csv", "c.csv")
    load(driver, ["a.csv", "b.csv"])
    write(driver, "b.csv", csv_text(home_rows(4)))
    write(driver, "_SUCCESS")
    found = discover(driver.instance, driver.platform, driver.loaded)
    assert (found.new, found.changed, found.known, found.ignored) == (
        ("c.csv",),
        ("b.csv",),
        1,
        ("_SUCCESS",),
    )
    assert found.keys == ("b.csv", "c.csv")
    load(driver, found.keys)
    assert discover(driver.instance, driver.platform, driver.loaded).keys == ()


def test_discovery_stops_at_its_limit_but_counts_every_known_object(daemon: Callable[..., Daemon]) -> None:
    driver = daemon()
    for key in ("a.csv", "b.csv", "c.csv"):
        write(driver, key, csv_text(home_rows(3)))
    load(driver, ["c.csv"])
    found = discover(driver.instance, driver.platform, driver.loaded, limit=1)
    assert (found.keys, found.known) == (("a.csv",), 1)


def test_discovery_finds_what_the_sensor_started_and_no_run_loaded(daemon: Callable[..., Daemon]) -> None:
    driver = daemon()
    write(driver, "a.csv", csv_text(home_rows(3)))
    driver.settle(1)
    write(driver, "b.csv", csv_text(home_rows(3)))
    found = discover(driver.instance, driver.platform, driver.loaded)
    assert (found.new, found.started) == (("a.csv", "b.csv"), ("a.csv",))


def test_the_sensor_does_not_start_what_was_loaded_without_it(daemon: Callable[..., Daemon]) -> None:
    driver = daemon()
    write(driver, "a.csv", csv_text(home_rows(3)))
    found = discover(driver.instance, driver.platform, driver.loaded)
    load(driver, found.keys)
    mark_started(driver.instance, driver.loaded, found)
    write(driver, "b.csv", csv_text(home_rows(3)))
    driver.settle(2)
    assert [key for key, _ in driver.started] == ["b.csv"]


# --- names ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key", [".hidden.csv", "day/_SUCCESS", "_temporary/0/a.csv", "a.csv.tmp", "a.part", "b~"]
)
def test_markers_and_unfinished_copies_are_not_data(key: str) -> None:
    assert not is_data(key, 10)


def test_an_empty_object_is_data_unless_it_marks_a_folder() -> None:
    assert is_data("day/a.csv", 0)
    assert not is_data("day", 0)
    assert is_data("day", 1)


def test_what_is_not_data_is_named_in_the_skip_message(daemon: Callable[..., Daemon]) -> None:
    driver = daemon()
    write(driver, "_SUCCESS")
    write(driver, "good.csv")
    driver.settle(2)
    assert [key for key, _ in driver.started] == ["good.csv"]
    assert driver.skipped is not None
    assert "_SUCCESS" in driver.skipped


@pytest.mark.parametrize(
    "key", ["a...b.csv", "Ünï çode/ñ.csv", "a|b", "a,b;c=d&e%20.csv", "[x]*?.csv", "' OR 1=1 --"]
)
def test_any_other_name_is_a_partition_as_it_is(daemon: Callable[..., Daemon], key: str) -> None:
    driver = daemon()
    write(driver, key)
    driver.settle(1)
    assert [started for started, _ in driver.started] == [key]
    assert driver.instance.get_dynamic_partitions(Names(MODEL).partitions) == [key]


# --- memory -----------------------------------------------------------------------------------------------


def test_known_objects_survive_a_mixture_of_new_and_changed_ones() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        log = LandingLog(instance, MODEL)
        log.remember({f"{number}": "1" for number in range(1_000)})
        log.remember({f"{number}": "2" for number in range(500, 1_500)})
        known = log.known([f"{number}" for number in range(2_000)])
        expected = {f"{n}": "1" if n < 500 else "2" for n in range(1_500)}
        assert known == expected


@pytest.mark.parametrize("text", ["", "not json", "[]", '{"v": 2}', '{"v": 1}'])
def test_a_cursor_that_somebody_typed_starts_over(text: str) -> None:
    assert Cursor.parse(text) == Cursor()


def test_a_cursor_comes_back_as_it_was_written() -> None:
    cursor = Cursor("plan", 'ünï/"key', None)
    assert Cursor.parse(cursor.text()) == cursor


# --- any order of events ----------------------------------------------------------------------------------


class LandingMachine(RuleBasedStateMachine):
    """Objects come, change and go; ticks run, die, lose their cursor; nothing is skipped or started twice."""

    objects: Bundle[str] = Bundle("objects")

    @initialize(batch=st.integers(1, 5), sweep=st.integers(1, 6))
    def start(self, batch: int, sweep: int) -> None:
        self._folder = tempfile.TemporaryDirectory()
        path = Path(self._folder.name)
        self._instance = dg.DagsterInstance.ephemeral()
        platform = local_platform(path, sensor_batch=batch, sensor_sweep=sweep)
        self.driver = Daemon(platform, declaration(path), self._instance)
        self._size = 0

    def _write(self, key: str) -> None:
        self._size += 1  # another size is another version, even within the clock's resolution
        write(self.driver, key, "x" * self._size)

    @rule(target=objects, key=st.text("abz/", min_size=1, max_size=4))
    def arrives(self, key: str) -> Any:
        path = self.driver.folder.path / key
        if "" in key.split("/") or path.is_dir() or any(part.is_file() for part in path.parents):
            return multiple()
        self._write(key)
        return key

    @rule(key=objects)
    def is_rewritten(self, key: str) -> None:
        if (self.driver.folder.path / key).is_file():
            self._write(key)

    @rule(key=consumes(objects))
    def is_deleted(self, key: str) -> None:
        (self.driver.folder.path / key).unlink(missing_ok=True)

    @rule()
    def ticks(self) -> None:
        self.driver.tick()

    @rule(runs=st.integers(-1, 3))
    def dies_in_a_tick(self, runs: int) -> None:
        self.driver.tick(dies_after_runs=runs)

    @precondition(lambda self: self.driver.cursor is not None)
    @rule()
    def loses_its_cursor(self) -> None:
        self.driver.cursor = None

    def teardown(self) -> None:
        if not hasattr(self, "driver"):
            return
        self.driver.settle(len(self.driver.present()))
        self.driver.assert_each_once()
        self._instance.dispose()
        self._folder.cleanup()


LandingMachine.TestCase.settings = settings(
    max_examples=30,
    stateful_step_count=30,
    deadline=None,
    # Explaining a failure traces every line, and Dagster's of each new instance with them.
    phases=(Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestAnyOrderOfEvents = LandingMachine.TestCase
