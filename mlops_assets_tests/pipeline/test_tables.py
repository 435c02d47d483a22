"""Tables are built in order, show what they are, and are built again only where something changed."""

from __future__ import annotations

import dagster as dg
import pytest

from mlops_assets.artifacts import TableRef
from mlops_assets.pipeline.tables import table_assets
from mlops_assets_tests.factories import HOMES_SQL, csv_text, declaration, home_attributes, home_rows
from mlops_assets_tests.pipeline.running import DataStages, failure, materialized, metadata

CLEAN = (
    "-- materialized: view\nSELECT listing_id, listed_at, region, square_feet, bedrooms, price FROM arrivals"
)
FEATURES = "SELECT *, square_feet * 2 AS twice FROM clean"
CHAIN = {"clean": CLEAN, "home_features": FEATURES}
STAGES = ("clean", "home_features")


@pytest.fixture
def homes(tmp_path) -> DataStages:
    stages = DataStages(tmp_path, sql=CHAIN)
    stages.arrive(**{"a.csv": csv_text(home_rows(40))})
    assert stages.run_arrivals(["a.csv"]).success
    return stages


def skipped(homes: DataStages) -> dict[str, bool]:
    result = homes.run(*STAGES)
    assert result.success
    return {stage: metadata(result, stage)["mlops/skipped"] for stage in STAGES}


def test_a_table_shows_its_rows_columns_lineage_and_sql(homes):
    result = homes.run(*STAGES)
    shown = metadata(result, "home_features")
    assert shown["dagster/row_count"] == 40
    assert shown["dagster/table_name"] == "homes.home_features"
    types = {column.name: column.type for column in shown["dagster/column_schema"].columns}
    assert types["twice"] == "float"
    assert types["listed_at"] == "timestamp"
    lineage = shown["dagster/column_lineage"].deps_by_column
    assert lineage["twice"] == [dg.TableColumnDep(dg.AssetKey(["homes", "clean"]), "square_feet")]
    assert "SELECT" in shown["sql"]
    assert "dagster/row_count" not in metadata(result, "clean")


def test_dependencies_and_kinds_show_in_the_graph(tmp_path):
    first, second = table_assets(declaration(tmp_path, sql=CHAIN))
    assert [key.path[-1] for key in first.dependency_keys] == ["arrivals"]
    assert [key.path[-1] for key in second.dependency_keys] == ["clean"]
    (spec,) = second.specs
    assert {"duckdb", "sql"} <= spec.kinds
    assert spec.group_name == "homes"


def test_nothing_is_built_again_while_nothing_changes(homes):
    assert skipped(homes) == {"clean": False, "home_features": False}
    assert skipped(homes) == {"clean": True, "home_features": True}


def test_a_comment_changes_nothing(homes):
    skipped(homes)
    homes.declare(sql={**CHAIN, "home_features": f"-- a word\n{FEATURES}  -- and more\n"})
    assert skipped(homes) == {"clean": True, "home_features": True}


def test_changed_sql_builds_the_table_and_what_reads_it(homes):
    skipped(homes)
    homes.declare(sql={**CHAIN, "home_features": FEATURES.replace("2", "3")})
    assert skipped(homes) == {"clean": True, "home_features": False}
    homes.declare(sql={"clean": f"{CLEAN} WHERE price > 0", "home_features": FEATURES.replace("2", "3")})
    assert skipped(homes) == {"clean": False, "home_features": False}


def test_new_rows_build_everything_again_and_change_the_versions(homes):
    skipped(homes)
    before = homes.value("home_features", TableRef)
    homes.arrive(**{"b.csv": csv_text(home_rows(5, first_id=100))})
    homes.run_arrivals(["b.csv"])
    assert skipped(homes) == {"clean": False, "home_features": False}
    after = homes.value("home_features", TableRef)
    assert (before.rows, after.rows) == (40, 45)
    assert before.version != after.version


def test_a_dropped_table_is_built_again(homes):
    skipped(homes)
    homes.platform.warehouse.drop("homes.home_features")
    assert skipped(homes) == {"clean": True, "home_features": False}


def test_a_table_whose_sql_fails_keeps_its_old_rows(homes):
    skipped(homes)
    homes.declare(sql={**CHAIN, "home_features": "SELECT *, CAST(region AS INT) AS twice FROM clean"})
    assert not homes.run(*STAGES).success
    assert homes.rows("SELECT count(*) AS n FROM homes.home_features WHERE twice > 0") == [{"n": 40}]


def test_a_table_before_any_arrival_says_what_to_do(tmp_path):
    homes = DataStages(tmp_path, sql={"home_features": HOMES_SQL})
    assert "Nothing has arrived yet" in failure(homes.run("home_features"))


def test_a_job_over_a_range_builds_the_tables_once(homes):
    homes.arrive(**{f"{n}.csv": csv_text(home_rows(30, first_id=100 * n)) for n in range(1, 4)})
    result = homes.run_arrivals(["1.csv", "2.csv", "3.csv"], downstream=True)
    assert result.success
    assert len(materialized(result, "home_features")) == 1
    assert metadata(result, "home_features")["dagster/row_count"] == 130


def test_an_incremental_table_keeps_one_row_per_key(tmp_path):
    header = "-- materialized: incremental\n-- unique_key: listing_id\n"
    sql = f"{header}SELECT listing_id, region, bedrooms, price FROM arrivals"
    attributes = home_attributes()
    attributes["training"]["exclude"] = []
    homes = DataStages(tmp_path, attributes, sql={"home_features": sql})
    for number in range(2):
        homes.arrive(**{f"{number}.csv": csv_text(home_rows(40, first_id=1 + 20 * number))})
        homes.run_arrivals([f"{number}.csv"])
        if number == 0:
            assert homes.run("home_features").success
    homes.arrive(**{"0.csv": csv_text(home_rows(1, first_id=999))})
    homes.run_arrivals(["0.csv"])
    assert homes.run("home_features").success
    counted = homes.rows("SELECT count(*) AS n, count(DISTINCT listing_id) AS d FROM homes.home_features")
    assert counted == [{"n": 61, "d": 61}]
