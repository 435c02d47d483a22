"""Operations on much data in a process of their own: the same contract, and every way that they may end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from mlops_assets.errors import DataError, StorageError
from mlops_assets.platforms.local import build_platform
from mlops_assets.platforms.local.warehouse_process import LocalWarehouse, WarehouseProcess
from mlops_assets.platforms.ports import Platform, TableBuild
from mlops_assets.settings import Settings
from mlops_assets_tests.end_to_end.watching import until
from mlops_assets_tests.platforms.contracts.warehouse import WarehouseContract, load

# Takes minutes: whoever asks for it is interrupted.
ENDLESS = "SELECT count(*) AS n FROM range(10000000) a, range(10000000) b WHERE a.range + b.range < 0"


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    """A platform whose warehouse runs every operation elsewhere that it can."""
    found = build_platform(Settings(root=tmp_path / "mlops"))
    found.warehouse = LocalWarehouse(found.settings, much=0)
    yield found
    process(found).end()


def process(platform: Platform) -> WarehouseProcess:
    return WarehouseProcess.of(platform.settings)


def started() -> list[psutil.Process]:
    """Processes that this one started for the warehouse."""
    children = psutil.Process().children()
    return [child for child in children if any("warehouse_process" in part for part in child.cmdline())]


class TestWarehouseOfItsOwnProcess(WarehouseContract):
    figures = frozenset({"queries", "query_seconds"})

    @pytest.fixture
    def platform(self, platform: Platform) -> Platform:
        return platform


def test_one_process_does_it_all_and_little_data_needs_none(platform: Platform) -> None:
    small = LocalWarehouse(platform.settings)
    small.build(TableBuild("homes.t", "SELECT 1 AS x"))
    assert process(platform).pid is None
    assert platform.warehouse.query("SELECT x FROM homes.t") == [{"x": 1}]
    first = process(platform).pid
    assert platform.warehouse.query("SELECT x + 1 AS y FROM homes.t") == [{"y": 2}]
    assert process(platform).pid == first
    assert [child.pid for child in started()] == [first]


def test_a_large_file_is_loaded_elsewhere(tmp_path: Path) -> None:
    platform = build_platform(Settings(root=tmp_path / "mlops"))
    platform.warehouse = LocalWarehouse(platform.settings, much=1 << 20)
    load(platform, "a\n1\n", "small.csv", columns={"a": "int"})
    assert process(platform).pid is None
    load(platform, "a\n" + "1\n" * (1 << 20), "large.csv", columns={"a": "int"})
    assert process(platform).pid is not None
    process(platform).end()


def test_an_error_comes_back_as_it_was_raised(platform: Platform) -> None:
    with pytest.raises(DataError) as elsewhere:
        platform.warehouse.query("SELECT nothing FROM homes.nowhere")
    with pytest.raises(DataError) as small:
        LocalWarehouse(platform.settings).query("SELECT nothing FROM homes.nowhere")
    assert str(elsewhere.value) == str(small.value)


def test_what_is_open_here_keeps_the_file_here(platform: Platform) -> None:
    platform.warehouse.build(TableBuild("homes.t", "SELECT range AS x FROM range(1000000)"))
    process(platform).end()
    reader = platform.warehouse.read("SELECT x FROM homes.t")
    assert platform.warehouse.query("SELECT count(*) AS n FROM homes.t") == [{"n": 1_000_000}]
    assert process(platform).pid is None
    assert sum(batch.num_rows for batch in reader) == 1_000_000
    assert platform.warehouse.query("SELECT max(x) AS x FROM homes.t") == [{"x": 999_999}]
    assert process(platform).pid is not None


def test_whoever_wants_the_file_meanwhile_waits(platform: Platform) -> None:
    rows = "SELECT a.range AS x FROM range(3000000) a ORDER BY hash(a.range)"
    building = threading.Thread(target=platform.warehouse.build, args=(TableBuild("homes.t", rows),))
    building.start()
    until(lambda: process(platform).pid is not None, pause=0.001)
    found = [platform.warehouse.columns("homes.t"), platform.warehouse.query("SELECT 1 AS x")]
    building.join()
    assert found[0] is not None
    assert found[1] == [{"x": 1}]


def test_a_process_that_is_killed_is_reported_and_changes_nothing(platform: Platform) -> None:
    platform.warehouse.build(TableBuild("homes.t", "SELECT 1 AS x"))
    failed: list[BaseException] = []

    def build() -> None:
        try:
            platform.warehouse.build(TableBuild("homes.t", ENDLESS))
        except StorageError as error:
            failed.append(error)

    building = threading.Thread(target=build)
    building.start()
    until(lambda: busy(process(platform).pid))
    os.kill(process(platform).pid or 0, signal.SIGKILL)
    building.join()
    assert "(-9) before it answered" in str(failed[0])
    assert "MLOPS_MEMORY_LIMIT" in str(failed[0])
    assert platform.warehouse.query("SELECT x FROM homes.t") == [{"x": 1}]


def test_a_process_that_is_killed_takes_its_temporary_table_along(platform: Platform) -> None:
    platform.warehouse.build(TableBuild("homes.t", "SELECT 1 AS x"))
    with pytest.raises(StorageError, match="before it answered"):  # noqa: SIM117 - the block is what ends
        with platform.warehouse.temporary("homes.few", "SELECT x FROM homes.t") as few:
            os.kill(process(platform).pid or 0, signal.SIGKILL)
            few.query(f"SELECT x FROM {few.relation}")
    with platform.warehouse.temporary("homes.few", "SELECT x + 1 AS x FROM homes.t") as few:
        assert few.query(f"SELECT x FROM {few.relation}") == [{"x": 2}]


def test_while_a_temporary_table_is_there_others_wait_and_its_own_thread_is_told(platform: Platform) -> None:
    platform.warehouse.build(TableBuild("homes.t", "SELECT 1 AS x"))
    found: list[dict[str, int]] = []
    asking = threading.Thread(target=lambda: found.extend(platform.warehouse.query("SELECT x FROM homes.t")))
    with platform.warehouse.temporary("homes.few", "SELECT x + 1 AS x FROM homes.t") as few:
        asking.start()
        with pytest.raises(RuntimeError, match="wait for itself"):
            platform.warehouse.columns("homes.t")
        assert few.query(f"SELECT x FROM {few.relation}") == [{"x": 2}]
        assert found == []
    asking.join()
    assert found == [{"x": 1}]


ORCHESTRATOR = """
import sys
from mlops_assets.platforms.local.warehouse_process import LocalWarehouse
from mlops_assets.platforms.ports import TableBuild
from mlops_assets.settings import Settings
warehouse = LocalWarehouse(Settings(root=sys.argv[1]), much=0)
warehouse.build(TableBuild("homes.t", "SELECT 1 AS x"))
warehouse.build(TableBuild("homes.t", sys.argv[2]))
"""


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_it_ends_with_its_orchestrator_and_the_rows_stay(platform: Platform, sent: signal.Signals) -> None:
    command = [sys.executable, "-c", ORCHESTRATOR, str(platform.settings.root), ENDLESS]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as orchestrator:
        until(lambda: any(busy(child.pid) for child in psutil.Process(orchestrator.pid).children()))
        (child,) = psutil.Process(orchestrator.pid).children()
        orchestrator.send_signal(sent)
        assert orchestrator.wait(30) != 0
    until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, 10)
    assert platform.warehouse.query("SELECT x FROM homes.t") == [{"x": 1}]


def busy(pid: int | None) -> bool:
    """Whether the process has computed for a while that starting does not take."""
    return pid is not None and psutil.Process(pid).cpu_times().user > 4


def test_getting_ready_for_much_starts_the_process_and_for_little_none(platform: Platform) -> None:
    LocalWarehouse(platform.settings).prepare(1 << 20)
    assert process(platform).pid is None
    LocalWarehouse(platform.settings).prepare(64 << 20)
    ready = process(platform).pid
    assert ready is not None
    assert platform.warehouse.query("SELECT 1 AS x") == [{"x": 1}]
    assert process(platform).pid == ready
