"""What goes wrong between us and Redshift: lost connections, loads at once, deaths."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from mlops_assets.errors import DataError, MlopsAssetsError, SettingsError, StorageError
from mlops_assets.platforms.ports import LoadResult, Platform, TableBuild
from mlops_assets_tests.platforms.aws.conftest import Make
from mlops_assets_tests.platforms.contracts.warehouse import load, reader, request, rows
from mlops_assets_tests.standins.redshift import RedshiftStandIn
from mlops_assets_tests.standins.redshift.faults import Point

AB = {"a": "int", "b": "string"}


def staged(platform: Platform) -> list[str]:
    """What is left of files on their way."""
    return [key for key in platform.store.listed() if key.startswith("staging/")]  # type: ignore[attr-defined]


def statements(standin: RedshiftStandIn, word: str) -> int:
    """How often a statement that begins with `word` was sent."""
    return sum(1 for sql in standin.seen if sql.upper().startswith(word))


@pytest.mark.parametrize("point", ["copy", "commit", "committed"])
def test_a_load_whose_connection_drops_is_done_once(
    platform: Platform, standin: RedshiftStandIn, point: Point
) -> None:
    load(platform, "a,b\n1,old\n", columns=AB)
    standin.seen.clear()
    standin.faults.drop(point)
    before = standin.faults.dropped[point]
    assert load(platform, "a,b\n2,new\nx,y\n", columns=AB) == LoadResult(2, 1, 1, {"a: not an int": 1})
    assert standin.faults.dropped[point] == before + 1
    assert rows(platform.warehouse, "a, b") == [(2, "new")]
    assert len(platform.warehouse.loaded("homes.arrivals_ledger")) == 1
    # Committed but unheard: the work is recognised, not repeated.
    assert statements(standin, "COPY") == {"copy": 3, "commit": 4, "committed": 2}[point]
    assert staged(platform) == []


@pytest.mark.parametrize("point", ["swap", "commit", "committed"])
def test_a_build_whose_connection_drops_is_done_once(
    platform: Platform, standin: RedshiftStandIn, point: Point
) -> None:
    warehouse = platform.warehouse
    warehouse.build(TableBuild("m.t", "SELECT 1 AS a"))
    standin.faults.drop(point)
    before = standin.faults.dropped[point]
    ref = warehouse.build(TableBuild("m.t", "SELECT a + 1 AS a FROM m.t"))  # twice would be 3
    assert standin.faults.dropped[point] == before + 1
    assert ref.rows == 1
    assert rows(warehouse, "a", "m.t") == [(2,)]
    tables = warehouse.query("SELECT table_name FROM svv_tables WHERE table_schema = 'm'")
    assert tables == [{"table_name": "t"}]


@pytest.mark.parametrize("point", ["swap", "committed"])
def test_a_write_whose_connection_drops_is_done_once(
    platform: Platform, standin: RedshiftStandIn, point: Point
) -> None:
    standin.faults.drop(point)
    assert platform.warehouse.write("m.t", reader({"k": [1, 2]})).rows == 2
    assert rows(platform.warehouse, "k", "m.t") == [(1,), (2,)]


def test_an_export_whose_connection_drops_is_whole(platform: Platform, standin: RedshiftStandIn) -> None:
    uri = platform.store.root.join("out/data.parquet")
    standin.faults.drop("unload")
    assert platform.warehouse.export("SELECT i AS a FROM range(1000) AS r(i) ORDER BY a", uri) == 1000
    assert platform.store.read(uri)
    assert staged(platform) == []


def test_a_connection_that_went_stale_is_replaced(platform: Platform, standin: RedshiftStandIn) -> None:
    assert platform.warehouse.query("SELECT 1 AS a") == [{"a": 1}]
    standin.faults.drop("statement")
    assert platform.warehouse.query("SELECT 2 AS a") == [{"a": 2}]


def test_a_service_that_stays_away_is_reported_and_nothing_is_changed(
    platform: Platform, standin: RedshiftStandIn
) -> None:
    load(platform, "a,b\n1,old\n", columns=AB)
    standin.faults.drop("copy", 4)
    with pytest.raises(StorageError, match="connection to Redshift is lost") as caught:
        load(platform, "a,b\n2,new\n", columns=AB)
    assert caught.value.mend
    assert rows(platform.warehouse, "a, b") == [(1, "old")]
    assert staged(platform) == []


def test_a_death_between_staging_and_commit_leaves_the_old_rows(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlops_assets.platforms.aws.redshift_load import ArrivalLoad

    load(platform, "a,b\n1,old\n", columns=AB)

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ArrivalLoad, "_count", dies)
        with pytest.raises(KeyboardInterrupt):
            load(platform, "a,b\n2,new\n", columns=AB)
    assert rows(platform.warehouse, "a, b") == [(1, "old")]
    assert load(platform, "a,b\n2,new\n", columns=AB).loaded == 1
    assert rows(platform.warehouse, "a, b") == [(2, "new")]


def test_loads_at_once_all_succeed_the_first_of_all_included(platform: Platform) -> None:
    requests = [request(platform, "a,b\n" + "1,x\n" * 50, f"{n}.csv", columns=AB) for n in range(4)]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(platform.warehouse.load, requests))
    assert [result.loaded for result in results] == [50] * 4
    assert len(rows(platform.warehouse)) == 200
    assert len(platform.warehouse.loaded("homes.arrivals_ledger")) == 4


def test_one_object_loaded_twice_at_once_is_there_once(platform: Platform) -> None:
    load(platform, "a,b\n1,x\n", "other.csv", columns=AB)
    same = request(platform, "a,b\n1,x\n2,y\n", columns=AB)
    start = threading.Barrier(3)

    def run(_: int) -> LoadResult:
        start.wait(30)
        return platform.warehouse.load(same)

    with ThreadPoolExecutor(3) as pool:
        assert [result.loaded for result in pool.map(run, range(3))] == [2, 2, 2]
    assert rows(platform.warehouse, "_object, a", order="1, 2") == [
        ("a.csv", 1),
        ("a.csv", 2),
        ("other.csv", 1),
    ]


def test_readers_see_the_old_rows_until_the_new_are_there(platform: Platform) -> None:
    warehouse = platform.warehouse
    warehouse.build(TableBuild("m.t", "SELECT 1 AS a"))
    seen: list[Any] = []
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            seen.append(warehouse.query("SELECT count(*) AS n FROM m.t")[0]["n"])

    thread = threading.Thread(target=read)
    thread.start()
    try:
        for _ in range(5):
            warehouse.build(TableBuild("m.t", "SELECT i AS a FROM range(7) AS r(i)"))
    finally:
        stop.set()
        thread.join(30)
    assert set(seen) <= {1, 7}


# --- what Redshift does not hold ----------------------------------------------------------------------------


def test_a_text_longer_than_a_varchar_is_quarantined(platform: Platform) -> None:
    text = f"a,b\n1,{'é' * 32_767}\n2,{'é' * 32_768}\n"
    result = load(platform, text, columns=AB)
    assert result == LoadResult(2, 1, 1, {"b: longer than 65,535 bytes": 1})
    assert rows(platform.warehouse, "a, length(b)") == [(1, 32_767)]
    (raw,) = rows(platform.warehouse, "length(raw)", "homes.arrivals_quarantine")
    assert raw == (16_383,)


def test_a_frame_with_what_redshift_does_not_hold_names_the_column(platform: Platform) -> None:
    with pytest.raises(DataError, match=r"'b'.*65,535"):
        platform.warehouse.write("m.t", reader({"b": ["x" * 65_536]}))
    with pytest.raises(DataError, match=r"'b'.*list"):
        platform.warehouse.write("m.t", reader({"b": [[1]]}))
    assert platform.warehouse.columns("m.t") is None


def test_table_attributes_reach_the_catalogue(platform: Platform, standin: RedshiftStandIn) -> None:
    options = {"distkey": "a", "sortkey": "b, a", "sortstyle": "interleaved", "encode": "b zstd"}
    platform.warehouse.build(TableBuild("m.t", "SELECT 1 AS a, 'x' AS b", options=options))
    cursor = standin.connect().cursor()
    cursor.execute("SELECT diststyle, trim(sortkey1), sortkey_num FROM svv_table_info WHERE \"table\" = 't'")
    assert [list(row) for row in cursor.fetchall()] == [["KEY(a)", "b", 2]]
    cursor.execute("SELECT encoding FROM pg_table_def WHERE tablename = 't' AND \"column\" = 'b'")
    assert cursor.fetchone()[0] == "zstd"


def test_a_materialized_view_keeps_its_rows_until_it_is_built_again(platform: Platform) -> None:
    warehouse = platform.warehouse
    load(platform, "a,b\n1,x\n", columns=AB)
    view = TableBuild(
        "homes.v", "SELECT sum(a) AS s FROM homes.arrivals", "materialized_view", options={"diststyle": "all"}
    )
    warehouse.build(view)
    load(platform, "a,b\n5,x\n", "b.csv", columns=AB)
    assert rows(warehouse, "s", "homes.v") == [(1,)]
    warehouse.build(view)
    assert rows(warehouse, "s", "homes.v") == [(6,)]
    warehouse.drop("homes.v")
    assert warehouse.columns("homes.v") is None


# --- secrets ------------------------------------------------------------------------------------------------


def test_a_password_is_in_no_error_and_no_representation(
    make: Make, standin: RedshiftStandIn, caplog: pytest.LogCaptureFixture
) -> None:
    secret = "Wrong-Secret-77"
    caplog.set_level("DEBUG")
    platform = make(password=secret)
    with pytest.raises(SettingsError, match="does not let us in") as caught:
        platform.warehouse.query("SELECT 1 AS a")
    told: BaseException | None = caught.value
    while told is not None:
        assert secret not in f"{told!r} {told}"
        told = told.__cause__ or (None if told.__suppress_context__ else told.__context__)
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("mlops_assets")]
    assert secret not in " ".join(ours)
    assert secret not in repr(vars(platform.warehouse))


def test_values_are_in_no_error(platform: Platform) -> None:
    with pytest.raises(MlopsAssetsError) as caught:
        platform.warehouse.query("SELECT * FROM nowhere.at_all WHERE a = ?", ["a private value"])
    assert "private" not in str(caught.value)


def test_a_certificate_for_another_host_is_refused(make: Make) -> None:
    platform = make(host="127.0.0.1", connect_timeout=5)
    with pytest.raises(StorageError, match="connection to Redshift"):
        platform.warehouse.query("SELECT 1 AS a")
