"""Profiles are counted right, whatever the values, and the same rows give the same profile."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlglot
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mlops_assets.artifacts import ArtifactUri, Column
from mlops_assets.pipeline.profiling import histogram, profile, profile_parquet
from mlops_assets.platforms.embedded import EmbeddedEngine
from mlops_assets.platforms.ports import Platform, Warehouse
from mlops_assets_tests.factories import local_platform

ODD = 'Odd "column"; DROP TABLE x; --\''


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Platform:
    return local_platform(tmp_path_factory.mktemp("profiling"))


def profiled(
    platform: Platform, table: pa.Table, columns: dict[str, Any]
) -> tuple[dict[str, Any], ArtifactUri]:
    path = Path(platform.store.root.path) / "profiled" / "data.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    uri = ArtifactUri.from_path(path)
    wanted = [Column(name=name, type=kind) for name, kind in columns.items()]
    return profile_parquet(EmbeddedEngine.of(platform.settings), uri.path, wanted), uri


def select(uri: ArtifactUri) -> str:
    return f"SELECT * FROM read_parquet('{uri.path}')"


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example([(-1.7976931348623157e308, None)])
@example([(-1.7976931348623157e308, None)] * 9 + [(1.7976931348623157e308, "a")] * 2)
@given(
    st.lists(
        st.tuples(
            st.one_of(st.none(), st.floats(), st.sampled_from([0.0, 5.0])),
            st.one_of(st.none(), st.text("ab'\"\\%é ", max_size=3)),
        ),
        max_size=60,
    )
)
def test_every_row_is_counted_where_it_belongs(platform: Platform, rows: list[tuple[Any, Any]]) -> None:
    table = pa.table(
        {
            "x": pa.array([row[0] for row in rows], pa.float64()),
            ODD: pa.array([row[1] for row in rows], pa.string()),
        }
    )
    made, uri = profiled(platform, table, {"x": "float", ODD: "string"})
    numbers = [row[0] for row in rows if row[0] is not None and math.isfinite(row[0])]
    column = made["columns"]["x"]
    assert made["rows"] == len(rows)
    assert column["nulls"] == len(rows) - len(numbers)
    assert column["counts"] == _counts(numbers, column["edges"])
    texts = Counter(row[1] for row in rows if row[1] is not None)
    assert made["columns"][ODD]["categories"] == texts
    assert made["columns"][ODD]["nulls"] == sum(row[1] is None for row in rows)
    again = histogram(platform.warehouse, select(uri), made)
    for name, counted in again["columns"].items():
        assert counted == {key: made["columns"][name][key] for key in counted}
    json.dumps(made, allow_nan=False)


def _counts(numbers: list[float], edges: list[float]) -> list[int]:
    places = np.searchsorted(np.array(edges), np.array(numbers), side="left") if numbers else []
    return np.bincount(np.array(places, dtype=int), minlength=len(edges) + 1).tolist()


def test_bins_hold_about_the_same_share_of_a_continuous_column(platform: Platform) -> None:
    values = np.random.default_rng(0).lognormal(size=300_000)
    made, _ = profiled(platform, pa.table({"x": values}), {"x": "float"})
    column = made["columns"]["x"]
    cumulated = np.cumsum(column["counts"]).tolist()
    coarse = np.diff([0, *(cumulated[place] for place in column["bins"]), cumulated[-1]]).tolist()
    assert len(coarse) == 10
    assert coarse == pytest.approx([30_000] * 10, rel=0.05)
    assert (column["min"], column["max"]) == (values.min(), values.max())


def test_the_same_rows_give_the_same_profile_where_quantiles_come_from_a_sample(platform: Platform) -> None:
    random = np.random.default_rng(0)
    table = pa.table({"x": random.normal(size=500_000), "few": random.integers(0, 3, size=500_000)})
    first, _ = profiled(platform, table, {"x": "float", "few": "int"})
    second, _ = profiled(platform, table, {"x": "float", "few": "int"})
    assert first == second
    assert len(first["columns"]["few"]["edges"]) >= 3


@pytest.mark.parametrize("moved", [3.0, 7.0, -math.inf])
def test_a_constant_that_moves_leaves_its_bin(platform: Platform, moved: float) -> None:
    made, _ = profiled(platform, pa.table({"x": [5.0] * 50}), {"x": "float"})
    now = histogram(platform.warehouse, f"SELECT CAST('{moved}' AS DOUBLE) AS x FROM range(50)", made)
    before, after = made["columns"]["x"]["counts"], now["columns"]["x"]["counts"]
    assert sum(min(pair) for pair in zip(before, after, strict=True)) == 0


def test_rare_categories_beyond_the_kept_ones_are_counted_together(platform: Platform) -> None:
    texts = [f"c{number}" for number in range(250)] + ["often"] * 100
    made, uri = profiled(platform, pa.table({"x": texts}), {"x": "string"})
    column = made["columns"]["x"]
    assert (len(column["categories"]), column["distinct"]) == (100, 251)
    assert column["categories"]["often"] == 100
    assert sum(column["categories"].values()) + column["other"] == 350
    assert histogram(platform.warehouse, select(uri), made)["columns"]["x"]["other"] == column["other"]


def test_booleans_times_and_dates_have_profiles(platform: Platform) -> None:
    table = pa.table(
        {
            "flag": [True, False, None],
            "at": pa.array([0, 60_000_000, None], pa.timestamp("us")),
            "day": pa.array([0, 1, None], pa.date32()),
        }
    )
    made, uri = profiled(platform, table, {"flag": "bool", "at": "timestamp", "day": "date"})
    columns = made["columns"]
    assert columns["flag"]["categories"] == {"false": 1, "true": 1}
    assert (columns["at"]["min"], columns["at"]["max"]) == (0.0, 60.0)
    assert (columns["day"]["min"], columns["day"]["max"]) == (0.0, 86_400.0)
    assert [column["nulls"] for column in columns.values()] == [1, 1, 1]
    assert histogram(platform.warehouse, select(uri), made)["rows"] == 3


def test_more_columns_than_one_query_holds_are_all_profiled(platform: Platform) -> None:
    names = [f"c{number}" for number in range(95)]
    table = pa.table({name: [number, number + 1.0] for number, name in enumerate(names)})
    made, uri = profiled(platform, table, dict.fromkeys(names, "float"))
    assert list(made["columns"]) == names
    assert [column["min"] for column in made["columns"].values()] == list(range(95))
    now = histogram(platform.warehouse, select(uri), made)
    assert (list(now["columns"]), now["rows"]) == (names, 2)


@pytest.mark.parametrize("dialect", ["redshift", "bigquery"])
def test_the_histogram_is_sql_that_every_warehouse_has_words_for(platform: Platform, dialect: str) -> None:
    """What it cannot show: that the other warehouse runs it. The port's contract suite does that."""
    made, _ = profiled(
        platform,
        pa.table({"x": [1.0, 2.0], "s": ["a", "b"], "f": [True, False]}),
        {"x": "float", "s": "string", "f": "bool"},
    )
    recorder = _Recorder(platform.warehouse)
    histogram(recorder, "SELECT 1.0 AS x, 'a' AS s, TRUE AS f", made)  # type: ignore[arg-type]
    assert len(recorder.queries) == 1
    translated = sqlglot.transpile(
        recorder.queries[0], read="duckdb", write=dialect, unsupported_level=sqlglot.ErrorLevel.RAISE
    )
    assert "GROUPING SETS" in translated[0]


class _Recorder:
    """The real warehouse, remembering what it was asked."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse
        self.queries: list[str] = []

    def query(self, select: str, parameters: Any = ()) -> list[dict[str, Any]]:
        self.queries.append(select)
        return self._warehouse.query(select, parameters)


def test_parameters_of_the_select_come_before_the_categories(platform: Platform) -> None:
    made = profile(platform.warehouse, "SELECT 'a' AS s FROM range(3)", [Column(name="s", type="string")])
    rows = "SELECT * FROM (VALUES ('k1', 'a'), ('k1', 'new'), ('k2', 'a')) AS t(k, s) WHERE k IN (?, ?)"
    now = histogram(platform.warehouse, rows, made, ["k1", "a"])
    assert now["rows"] == 2
    assert now["columns"]["s"] == {
        "type": "string",
        "kind": "categorical",
        "nulls": 0,
        "categories": {"a": 1},
        "other": 1,
    }
