"""The SQL that the stages generate, run by Redshift and by DuckDB over the same rows: the same answers."""

from __future__ import annotations

from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlops_assets.declaration.schema import SplitSpec
from mlops_assets.pipeline.accounts import Accounts
from mlops_assets.pipeline.facts import Counter, Facts
from mlops_assets.pipeline.names import Names
from mlops_assets.pipeline.profiling import histogram, profile
from mlops_assets.pipeline.splits import SPLITS, Splitter
from mlops_assets.platforms.local import build_platform
from mlops_assets.platforms.ports import Platform, TableBuild, Warehouse
from mlops_assets.platforms.temporary import BuiltTable
from mlops_assets.settings import Settings
from mlops_assets_tests.factories import HOMES_SQL, aws_platform, csv_text, home_rows
from mlops_assets_tests.pipeline.running import DataStages, metadata
from mlops_assets_tests.platforms.contracts.warehouse import load
from mlops_assets_tests.standins.redshift import RedshiftStandIn

RELATION, STAGED = "stages.rows", "stages.staged"


def made(rows: int = 400) -> pa.Table:
    """Rows of every type, with gaps, repeated keys and equal times."""
    numbers = range(rows)
    return pa.table(
        {
            "key": pa.array([number // 2 for number in numbers], pa.int64()),
            "x": pa.array([None if n % 7 == 0 else n / 8 for n in numbers], pa.float64()),
            "word": pa.array([None if n % 11 == 0 else f"w{n % 5}" for n in numbers]),
            "flag": pa.array([None if n % 13 == 0 else n % 2 == 0 for n in numbers]),
            "at": pa.array(
                [datetime(2026, 1, 1) + timedelta(hours=n // 3) for n in numbers], pa.timestamp("us")
            ),
            "day": pa.array([datetime(2026, 1, 1 + n % 28).date() for n in numbers]),
            "y": pa.array([None if n % 17 == 0 else float(n) for n in numbers], pa.float64()),
        }
    )


@pytest.fixture
def both(platform: Platform, tmp_path: Path) -> tuple[Warehouse, Warehouse]:
    """Redshift and DuckDB, with the same rows in `RELATION`."""
    local = build_platform(Settings(root=tmp_path / "local"))
    for warehouse in (platform.warehouse, local.warehouse):
        warehouse.write(RELATION, made().to_reader(64))
    return platform.warehouse, local.warehouse


def split(warehouse: Warehouse, spec: SplitSpec, task: Any) -> tuple[Facts, dict[str, list[dict[str, Any]]]]:
    columns = warehouse.columns(RELATION)
    assert columns is not None
    target = "y" if task == "regression" else "flag"
    splitter = Splitter(RELATION, columns, spec, target)
    warehouse.build(TableBuild(STAGED, splitter.assigned()))
    facts = Counter(BuiltTable(STAGED, warehouse), splitter, task).facts()
    rows = {
        name: pa.Table.from_batches(list(warehouse.read(splitter.rows(STAGED, name)))).to_pylist()
        for name in SPLITS
        if facts.rows[name]
    }
    return facts, rows


SPECS = {
    "hash": {"by": "hash", "key": "key"},
    "hash of days": {"by": "hash", "key": "day", "seed": 3},
    "time": {"by": "time", "column": "at"},
    "time and key": {"by": "time", "column": "at", "key": "key"},
}


@pytest.mark.parametrize("task", ["regression", "classification"])
@pytest.mark.parametrize("name", SPECS)
def test_rows_fall_into_the_same_splits_in_the_same_order(
    both: tuple[Warehouse, Warehouse], name: str, task: str
) -> None:
    shares = {"train": 0.6, "validation": 0.2, "test": 0.2}
    spec = SplitSpec.model_validate({**SPECS[name], **shares})
    (facts, rows), (expected_facts, expected) = (split(warehouse, spec, task) for warehouse in both)
    assert facts == expected_facts
    assert rows == expected


def test_an_arrival_is_counted_into_the_same_bins(both: tuple[Warehouse, Warehouse]) -> None:
    redshift, local = both
    columns = local.columns(RELATION)
    assert columns is not None
    reference = profile(local, f"SELECT * FROM {RELATION}", columns)
    assert len(reference["columns"]) == 7
    select = f"SELECT * FROM {RELATION} WHERE key BETWEEN ? AND ?"
    counted = [histogram(warehouse, select, reference, [20, 90]) for warehouse in (redshift, local)]
    assert counted[0] == counted[1]
    assert counted[0]["rows"] == 142


def test_the_books_are_read_alike(platform: Platform) -> None:
    names = Names("homes")
    load(platform, "id,price\n1,2\nx,3\n", columns={"id": "int", "price": "float"}, content="b.r")
    load(platform, "id,price\n1,2\n", "b.csv", columns={"id": "int", "price": "float"}, content="c.other")
    accounts = Accounts(platform.warehouse, names)
    assert accounts.totals() == {"objects": 2, "rows_in": 3, "loaded": 2, "quarantined": 1}
    assert accounts.unaccounted() == []
    assert accounts.mislaid("r") == {"b.csv": "the columns' reading or checks changed"}
    reasons, samples = accounts.rejected(["a.csv", "b.csv"])
    assert reasons == {"a.csv": {"id: not an int": 1}}
    assert [(row["_line"], row["raw"]) for row in samples["a.csv"]] == [(3, "x,3")]
    platform.warehouse.build(TableBuild("homes.arrivals", "SELECT * FROM homes.arrivals WHERE 1 = 0"))
    assert {row["object"] for row in accounts.unaccounted()} == {"a.csv", "b.csv"}


def test_the_shipped_models_sql_gives_the_same_tables(platform: Platform, tmp_path: Path) -> None:
    from mlops_assets.declaration.loading import load as load_declaration
    from mlops_assets.sample_data import housing_batches
    from mlops_assets.settings import PACKAGE

    declaration = load_declaration(PACKAGE / "defs" / "housing")
    spec = declaration.spec.arrivals
    columns = {name: item.type for name, item in spec.columns.items()}
    sources = {name: item.source for name, item in spec.columns.items() if item.source is not None}
    files = sorted(housing_batches(tmp_path / "files", days=2, rows_per_day=300))
    found = []
    for each in (platform, build_platform(Settings(root=tmp_path / "local"))):
        for path in files:
            names = Names("housing")
            load(
                each,
                path.read_bytes(),
                path.name,
                relation=names.arrivals,
                quarantine=names.quarantine,
                ledger=names.ledger,
                columns=columns,
                sources=sources,
            )
        for table in declaration.tables:
            relation = Names("housing").relation(table.name)
            each.warehouse.build(
                TableBuild(relation, table.select, table.materialization, table.unique_key, table.options)
            )
        select = "SELECT * FROM housing.listing_features ORDER BY listing_id"
        columns_there = each.warehouse.columns("housing.listing_features")
        found.append((columns_there, each.warehouse.query(select)))
    assert found[0][0] == found[1][0]
    assert len(found[0][1]) > 100
    assert found[0][1] == found[1][1]


def test_an_export_has_the_rows_and_types_that_training_reads(
    both: tuple[Warehouse, Warehouse], platform: Platform
) -> None:
    redshift, local = both
    select = f'SELECT * FROM {RELATION} ORDER BY key, "at", x'
    uri = platform.store.root.join("exports/data.parquet")
    assert redshift.export(select, uri) == 400
    exported = pq.read_table(platform.store.local(uri))
    assert exported.equals(pa.Table.from_batches(list(local.read(select))).cast(exported.schema))


def test_assets_carry_what_their_queries_cost_and_are_made_where_that_is_not_told(
    standin: RedshiftStandIn, tmp_path: Path
) -> None:
    homes = DataStages(tmp_path, platform=aws_platform(standin, tmp_path))
    homes.arrive(**{"a.csv": csv_text(home_rows(30)), "b.csv": csv_text(home_rows(30, first_id=31))})
    made = homes.run_arrivals(["a.csv", "b.csv"], downstream=True)
    assert made.success
    figures = {"warehouse/queries", "warehouse/query_seconds", "warehouse/bytes_returned"}
    for stage, more in (("arrivals", {"warehouse/objects"}), ("home_features", set()), ("dataset", set())):
        shown = costs(made, stage)
        assert set(shown) == figures | more, stage
        assert shown["warehouse/queries"] > 1
        assert shown["warehouse/query_seconds"] > 0
    assert costs(made, "dataset")["warehouse/bytes_returned"] > 0
    with closing(standin.connect()) as connection, closing(connection.cursor()) as cursor:
        cursor.execute("SELECT query_label FROM sys_query_history WHERE query_type = 'UNLOAD'")
        labels = {str(row[0]).strip() for row in cursor.fetchall()}
    assert labels == {f"homes/dataset {made.run_id}: export"}

    assert costs(homes.run_arrivals(["b.csv"]), "arrivals") == {}
    unchanged = homes.run("home_features", "dataset")
    assert (costs(unchanged, "home_features"), costs(unchanged, "dataset")) == ({}, {})

    standin.administer(standin.database, "DROP VIEW pg_catalog.sys_query_history")
    homes.declare(sql={"home_features": HOMES_SQL.replace("greatest(bedrooms, 1)", "greatest(bedrooms, 2)")})
    untold = homes.run("home_features")
    assert untold.success
    assert (metadata(untold, "home_features")["mlops/skipped"], costs(untold, "home_features")) == (False, {})
    logged = [record.user_message for record in homes.instance.all_logs(untold.run_id)]
    assert any("home_features: what its queries cost is not told: " in message for message in logged)


def costs(result: dg.ExecuteInProcessResult, stage: str) -> dict[str, float]:
    """What the stage's last materialisation says of its queries."""
    return {name: value for name, value in metadata(result, stage).items() if name.startswith("warehouse/")}
