"""The warehouse on BigQuery: the contract, and what only BigQuery has."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from mlops_assets.errors import DataError, DeclarationError, SettingsError
from mlops_assets.platforms.binding import build_platform
from mlops_assets.platforms.costs import counting
from mlops_assets.platforms.gcp.bigquery_settings import current_bigquery_settings
from mlops_assets.platforms.gcp.settings import current_gcp_settings
from mlops_assets.platforms.ports import LoadResult, Platform, TableBuild, Warehouse
from mlops_assets.settings import Settings
from mlops_assets_tests.platforms.contracts.object_store import keys
from mlops_assets_tests.platforms.contracts.warehouse import WarehouseContract, load, request, rows
from mlops_assets_tests.standins.gcp.faults import Fault
from mlops_assets_tests.standins.gcp.fixtures import Gcp
from mlops_assets_tests.waiting import eventually


class TestBigQueryWarehouse(WarehouseContract):
    figures = frozenset({"queries", "query_seconds", "bytes_billed", "slot_seconds"})

    @pytest.fixture
    def platform(self, gcp: Gcp, platform: Platform) -> Platform:
        return platform


def reconfigured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, **settings: str) -> Platform:
    """The platform with other settings of BigQuery."""
    for name, value in settings.items():
        monkeypatch.setenv(f"MLOPS_BIGQUERY_{name.upper()}", value)
    current_bigquery_settings.cache_clear()
    return build_platform(Settings(root=tmp_path / "mlops", platform="gcp"))


def table(gcp: Gcp, dataset: str, name: str) -> dict[str, Any]:
    return gcp.server.bigquery.catalogue.table_resource(dataset, name)


# --- jobs ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [503, 0])
def test_a_job_whose_answer_was_lost_is_found_again_and_done_once(
    gcp: Gcp, platform: Platform, status: int
) -> None:
    warehouse = platform.warehouse
    warehouse.build(TableBuild("m.t", "SELECT 1 AS a"))
    before = len(gcp.server.bigquery.jobs.all())
    # The first insertion of a build is its dry run.
    lost = Fault("bigquery.jobs.insert", status, "backendError", times=2, afterwards=True)
    gcp.server.faults.add(lost)
    warehouse.build(TableBuild("m.t", "SELECT a + 1 AS a FROM m.t"))  # twice would be 3
    assert lost.times == 0
    assert rows(warehouse, "a", "m.t") == [(2,)]
    assert len(gcp.server.bigquery.jobs.all()) == before + 2  # the build, and the query of its rows


def test_a_load_whose_answers_were_lost_is_done_once(gcp: Gcp, platform: Platform) -> None:
    columns = {"a": "int", "b": "string"}
    load(platform, "a,b\n1,old\n", columns=columns)
    gcp.server.faults.add(Fault("bigquery.jobs.insert", 503, "backendError", times=3, afterwards=True))
    gcp.server.faults.add(Fault("bigquery.tables.get", 503, "backendError", times=2))
    assert load(platform, "a,b\n2,new\nx,y\n", columns=columns) == LoadResult(2, 1, 1, {"a: not an int": 1})
    assert rows(platform.warehouse, "a, b") == [(2, "new")]
    assert len(platform.warehouse.loaded("homes.arrivals_ledger")) == 1
    assert keys(platform.store, platform.store.root.join("staging")) == []
    assert not [name for name in gcp.server.bigquery.catalogue.datasets["homes"].tables if "staging" in name]


def test_throttled_calls_are_tried_again(gcp: Gcp, platform: Platform) -> None:
    gcp.server.faults.add(Fault("bigquery.jobs.insert", 403, "rateLimitExceeded", times=2))
    assert platform.warehouse.query("SELECT 1 AS a") == [{"a": 1}]


def test_loads_at_once_lose_nothing(platform: Platform) -> None:
    columns = {"a": "int"}
    load(platform, "a\n0\n", "0.csv", columns=columns)
    requests = [request(platform, f"a\n{at}\n", f"{at}.csv", columns=columns) for at in range(1, 5)]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(platform.warehouse.load, requests))
    assert results == [LoadResult(1, 1, 0, {})] * 4
    assert rows(platform.warehouse, "a, _object") == [(number, f"{number}.csv") for number in range(5)]
    assert len(platform.warehouse.loaded("homes.arrivals_ledger")) == 5


def test_a_load_that_another_transaction_aborts_is_run_again(gcp: Gcp, platform: Platform) -> None:
    columns, jobs = {"a": "int"}, gcp.server.bigquery.jobs
    load(platform, "a\n1\n", columns=columns)
    rival = gcp.server.bigquery.catalogue.connect()
    rival.execute("BEGIN TRANSACTION")
    rival.execute("DELETE FROM homes.arrivals")
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(load, platform, "a\n2\n", columns=columns)
        eventually(lambda: any("concurrent update" in str(job.error) for job in jobs.all()))
        rival.execute("ROLLBACK")
        assert loading.result(30) == LoadResult(1, 1, 0, {})
    assert rows(platform.warehouse, "a") == [(2,)]


def test_what_is_denied_is_a_matter_of_settings(gcp: Gcp, platform: Platform) -> None:
    gcp.server.faults.add(Fault("bigquery.jobs.insert", 403, "accessDenied"))
    with pytest.raises(SettingsError, match=r"denies the call \(accessDenied\)"):
        platform.warehouse.query("SELECT 1 AS a")


# --- what it costs ------------------------------------------------------------------------------------------


def test_a_query_that_would_read_too_much_is_refused_before_it_runs(
    gcp: Gcp, platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform.warehouse.build(TableBuild("m.large", "SELECT i AS a, i AS b FROM range(1500000) AS r(i)"))
    limited = reconfigured(monkeypatch, tmp_path, maximum_bytes_billed="20971520").warehouse
    limited.build(TableBuild("m.half", "SELECT sum(a) AS s FROM m.large"))  # 12 MB of 24
    before = len(gcp.server.bigquery.jobs.all())
    with pytest.raises(DataError, match=r"24,000,000 bytes.*MLOPS_BIGQUERY_MAXIMUM_BYTES_BILLED"):
        limited.build(TableBuild("m.whole", "SELECT sum(a + b) AS s FROM m.large"))
    assert len(gcp.server.bigquery.jobs.all()) == before
    with pytest.raises(DataError, match="bytes billed"):  # the service's own limit, of what is not estimated
        limited.query("SELECT sum(a + b) AS s FROM m.large")


def test_a_tables_own_limit_is_looked_at_before_it_is_built(
    gcp: Gcp, platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform.warehouse.build(TableBuild("m.large", "SELECT i AS a, i AS b FROM range(1500000) AS r(i)"))
    before = len(gcp.server.bigquery.jobs.all())

    def built(limit: str, warehouse: Warehouse, select: str = "SELECT sum(a + b) AS s FROM m.large") -> None:
        options = {"maximum_bytes_billed": limit}
        warehouse.build(TableBuild("m.whole", select, "incremental", ("s",), options))

    refused = r"24,000,000 bytes.*20,971,520.*`-- maximum_bytes_billed`"
    with pytest.raises(DataError, match=refused):
        built("20971520", platform.warehouse)
    with pytest.raises(DeclarationError, match="'20 MB' is not a whole number"):
        built("20 MB", platform.warehouse)
    limited = reconfigured(monkeypatch, tmp_path, maximum_bytes_billed="20971520").warehouse
    with pytest.raises(DataError, match=refused):  # a table's author cannot raise what the operator allows
        built("30000000", limited)
    assert len(gcp.server.bigquery.jobs.all()) == before
    built("30000000", platform.warehouse)
    with pytest.raises(DataError, match=refused):
        built("20971520", platform.warehouse)


def test_jobs_and_datasets_carry_labels_and_the_location(
    gcp: Gcp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform = reconfigured(monkeypatch, tmp_path, labels='{"team": "homes"}')
    platform.warehouse.build(TableBuild("m.t", "SELECT 1 AS a"))
    job = gcp.server.bigquery.jobs.all()[0]
    assert job.configuration["labels"] == {"team": "homes", "mlops_assets": "build_m_t"}
    assert job.location == "europe-west4"
    with counting("m/t", "Run-1"):
        platform.warehouse.query("SELECT a FROM m.t")
    counted = {"mlops_assets": "query", "mlops_asset": "m_t", "mlops_run": "run-1", "team": "homes"}
    assert gcp.server.bigquery.jobs.all()[0].configuration["labels"] == counted
    dataset = gcp.server.bigquery.catalogue.dataset_resource("m")
    assert (dataset["location"], dataset["labels"]) == ("europe-west4", {"team": "homes"})


# --- tables -------------------------------------------------------------------------------------------------

DAYS = "SELECT CAST('2026-01-02 03:04:05' AS TIMESTAMP) AS at, 1 AS id, 'x' AS city"


def test_partitions_and_clusters_come_from_the_header_and_may_change(gcp: Gcp, platform: Platform) -> None:
    def build(**options: str) -> dict[str, Any]:
        platform.warehouse.build(TableBuild("m.t", DAYS, options=options))
        return table(gcp, "m", "t")

    made = build(partition_by="at", partition_expiration_days="400", cluster_by="city, id")
    assert made["timePartitioning"] == {"field": "at", "type": "DAY", "expirationMs": str(400 * 86_400_000)}
    assert made["clustering"] == {"fields": ["city", "id"]}
    again = build(partition_by="at", partition_expiration_days="400", cluster_by="city, id")
    assert again["clustering"] == made["clustering"]
    assert build(partition_by="at", partition_grain="month")["timePartitioning"]["type"] == "MONTH"
    ranged = build(partition_by="id", partition_range="0, 100, 10", require_partition_filter="yes")
    bounds = {"start": "0", "end": "100", "interval": "10"}
    assert ranged["rangePartitioning"] == {"field": "id", "range": bounds}
    assert ranged["requirePartitionFilter"] is True
    platform.warehouse.build(
        TableBuild("m.d", "SELECT DATE '2026-01-02' AS d", options={"partition_by": "d"})
    )
    assert table(gcp, "m", "d")["timePartitioning"] == {"field": "d", "type": "DAY"}
    platform.warehouse.drop("m.d")
    assert "rangePartitioning" not in build(distkey="id")
    assert list(gcp.server.bigquery.catalogue.datasets["m"].tables) == ["t"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"partition_by": "nothing"}, "no column 'nothing'"),
        ({"partition_by": "city"}, "is STRING"),
        ({"partition_by": "at", "partition_grain": "week"}, "one week"),
        ({"partition_by": "id"}, "whole numbers"),
        ({"partition_by": "id", "partition_range": "0, 10, x"}, "'x' is not a whole number"),
        ({"cluster_by": "a, b, c, d, e"}, "5 columns"),
    ],
)
def test_options_that_bigquery_does_not_take_are_refused_with_the_mend(
    platform: Platform, options: dict[str, str], words: str
) -> None:
    with pytest.raises(DeclarationError, match=words) as caught:
        platform.warehouse.build(TableBuild("m.t", DAYS, options=options))
    assert caught.value.mend
    assert platform.warehouse.columns("m.t") is None


def test_an_incremental_table_that_widens_keeps_its_partitions(gcp: Gcp, platform: Platform) -> None:
    options = {"partition_by": "at", "cluster_by": "city"}
    for value in ("1", "2.5"):
        select = f"{DAYS}, {value} AS v"
        platform.warehouse.build(TableBuild("m.t", select, "incremental", ("id",), options))
    assert rows(platform.warehouse, "id, v", "m.t") == [(1, 2.5)]
    made = table(gcp, "m", "t")
    assert (made["timePartitioning"]["field"], made["clustering"]["fields"]) == ("at", ["city"])


def test_a_materialized_view_is_kept_by_bigquery(gcp: Gcp, platform: Platform) -> None:
    platform.warehouse.build(TableBuild("m.t", "SELECT 1 AS a"))
    view = TableBuild("m.v", "SELECT sum(a) AS s FROM m.t", "view", options={"refreshed_by_bigquery": "yes"})
    assert platform.warehouse.build(view).rows is None
    assert table(gcp, "m", "v")["type"] == "MATERIALIZED_VIEW"
    platform.warehouse.build(TableBuild("m.v", "SELECT 2 AS a", "view"))
    assert table(gcp, "m", "v")["type"] == "VIEW"


def test_tables_are_encrypted_with_the_key_that_is_set(
    gcp: Gcp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "projects/p/locations/europe-west4/keyRings/r/cryptoKeys/k"
    monkeypatch.setenv("MLOPS_GCP_KMS_KEY", key)
    current_gcp_settings.cache_clear()
    platform = reconfigured(monkeypatch, tmp_path)
    load(platform, "a\n1\n", columns={"a": "int"})
    dataset = gcp.server.bigquery.catalogue.dataset_resource("homes")
    assert dataset["defaultEncryptionConfiguration"] == {"kmsKeyName": key}


# --- results ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("select", "values"),
    [
        ("SELECT i AS a FROM range(9) AS r(i) ORDER BY a DESC LIMIT 3", [8, 7, 6]),
        ("SELECT i AS a FROM range(5) AS r(i) ORDER BY i % 2 DESC, 1", [1, 3, 0, 2, 4]),
        ("SELECT i AS a FROM range(2) AS r(i) UNION ALL SELECT 7 ORDER BY a DESC", [7, 1, 0]),
        ("SELECT i AS a FROM range(9) AS r(i) WHERE i > 99 ORDER BY a", []),
    ],
)
def test_an_export_and_a_stream_keep_the_order_that_is_said(
    platform: Platform, select: str, values: list[int]
) -> None:
    uri = platform.store.root.join("out/data.parquet")
    assert platform.warehouse.export(select, uri) == len(values)
    assert pq.read_table(platform.store.local(uri)).to_pydict() == {"a": values}
    assert platform.warehouse.read(select).read_all().to_pydict() == {"a": values}


def test_an_order_that_the_result_cannot_say_is_refused(platform: Platform) -> None:
    with pytest.raises(DataError, match="ordered by its own columns"):
        platform.warehouse.read("SELECT DISTINCT i % 2 AS a FROM range(9) AS r(i) ORDER BY i")


def test_what_is_read_leaves_nothing_behind(gcp: Gcp, platform: Platform) -> None:
    reader = platform.warehouse.read("SELECT i AS a FROM range(10) AS r(i)")
    assert sorted(reader.read_all()["a"].to_pylist()) == list(range(10))
    assert gcp.server.bigquery.catalogue.datasets["mlops_staging"].tables == {}
    assert keys(platform.store, platform.store.root.join("staging")) == []
