"""Lists and structs as columns of tables: what comes back, and what BigQuery's rules forbid by name."""

import io
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from functools import reduce
from typing import Any

import dagster as dg
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlops_assets.errors import DataError, DeclarationError
from mlops_assets.platforms.ports import Platform, TableBuild
from mlops_assets_tests.io_managers.conftest import Materialise
from mlops_assets_tests.standins.gcp.fixtures import Gcp

on_local_and_gcp = pytest.mark.parametrize("platform", ["local", "gcp"], indirect=True)
on_gcp = pytest.mark.parametrize("platform", ["gcp"], indirect=True)
MOMENT = datetime(2026, 3, 29, 1, 30, 0, 123_456, timezone(timedelta(hours=5, minutes=30)))
ZONED = pa.timestamp("us", "Asia/Kolkata")
LINE = pa.struct([("item", pa.string()), ("price", pa.decimal128(10, 2)), ("amounts", pa.list_(pa.int32()))])
ADDRESS = pa.struct([("city", pa.string()), ("codes", pa.list_(pa.int64())), ("order", pa.bool_())])
ROWS = pa.table(
    {
        "id": [1, 2, 3],
        "tags": pa.array([["a", "Ünï'\"`\n"], [], ["x" * 10_000]]),
        "days": pa.array([[date(1900, 2, 28)], [], [date(2026, 1, 1)] * 3]),
        "Seen; at": pa.array([[MOMENT], [], [MOMENT, MOMENT]], pa.list_(ZONED)),
        "paid": pa.array([[Decimal("1.50")], [], [Decimal("-0.01")]], pa.list_(pa.decimal128(10, 2))),
        "point": pa.array(
            [{"x": 0.5, "odd name": None, "at": MOMENT}, None, {"x": None, "odd name": "b", "at": None}],
            pa.struct([("x", pa.float32()), ("odd name", pa.string()), ("at", ZONED)]),
        ),
        "lines": pa.array(
            [
                [
                    {"item": "tea", "price": Decimal("3.20"), "amounts": [1, 2]},
                    {"item": None, "price": None, "amounts": []},
                ],
                [],
                [{"item": "", "price": Decimal("-1.00"), "amounts": [3]}],
            ],
            pa.list_(LINE),
        ),
        "owner": pa.array(
            [
                {"name": "Ada", "address": {"city": "Oslo", "codes": [1], "order": True}},
                {"name": None, "address": None},
                {"name": "Bo", "address": {"city": None, "codes": [], "order": None}},
            ],
            pa.struct([("name", pa.string()), ("address", ADDRESS)]),
        ),
    }
)


def nested_structs(levels: int) -> pa.Array:
    return pa.array([reduce(lambda inner, _: {"a": inner}, range(levels), 1)])


def write(platform: Platform, columns: dict[str, Any], *key: str) -> Any:
    return platform.warehouse.write("shop.rows", pa.table(columns).to_reader(), unique_key=key)


def rows(platform: Platform) -> list[dict[str, Any]]:
    return platform.warehouse.read("SELECT * FROM shop.rows ORDER BY id").read_all().to_pylist()


@on_local_and_gcp
@pytest.mark.parametrize("kind", [pa.Table, pd.DataFrame, pl.DataFrame, pl.LazyFrame])
def test_nested_columns_come_back_from_frames_of_every_kind(materialise: Materialise, kind: Any) -> None:
    seen: list[pa.Table] = []
    # pandas holds a list of moments as an array of numpy's, which know no zone.
    table = ROWS.drop_columns("Seen; at") if kind is pd.DataFrame else ROWS

    @dg.asset(io_manager_key="tables")
    def upstream() -> pa.Table:
        return table

    @dg.asset(io_manager_key="tables")
    def copied(upstream: kind) -> kind:  # type: ignore[valid-type]
        return upstream

    @dg.asset
    def as_arrow(copied: pa.Table) -> None:
        seen.append(copied)

    materialise([upstream, copied, as_arrow])
    assert seen[0].sort_by("id").to_pylist() == table.to_pylist()


@on_local_and_gcp
def test_a_nested_table_without_rows_keeps_its_types(materialise: Materialise) -> None:
    table, seen = [ROWS], []

    @dg.asset(io_manager_key="tables")
    def upstream() -> pa.Table:
        return table[0]

    @dg.asset
    def downstream(upstream: pa.Table) -> None:
        seen.append(upstream)

    materialise([upstream, downstream])
    table[0] = ROWS.slice(0, 0)
    materialise([upstream, downstream])
    assert (seen[1].num_rows, seen[1].schema) == (0, seen[0].schema)
    assert pa.types.is_list(seen[1].schema.field("lines").type)


@on_local_and_gcp
def test_rows_of_equal_key_are_replaced_with_their_nested_columns(platform: Platform) -> None:
    write(platform, {name: ROWS[name] for name in ROWS.column_names}, "id")
    changed = ROWS.slice(0, 1).set_column(0, "id", pa.array([3]))
    write(platform, {name: changed[name] for name in changed.column_names}, "id")
    assert rows(platform) == [*ROWS.slice(0, 2).to_pylist(), *changed.to_pylist()]


@on_local_and_gcp
def test_a_nested_column_is_described_as_one_without_a_type_of_its_own(platform: Platform) -> None:
    ref = write(platform, {name: ROWS[name] for name in ROWS.column_names})
    assert [column.type for column in ref.columns] == ["int", *["string"] * 7]
    assert platform.warehouse.columns("shop.rows") == ref.columns


@on_local_and_gcp
def test_small_results_hold_lists_and_dicts(platform: Platform) -> None:
    write(platform, {"id": [1], "point": ROWS["point"].slice(0, 1), "lines": ROWS["lines"].slice(0, 1)})
    (found,) = platform.warehouse.query("SELECT * FROM shop.rows")
    assert found == ROWS.select(["id", "point", "lines"]).slice(0, 1).to_pylist()[0]


@on_local_and_gcp
def test_a_partition_is_replaced_and_emptied_beside_the_nested_rows_of_others(
    materialise: Materialise, platform: Platform
) -> None:
    table = [ROWS.select(["id", "lines"])]
    keys = dg.StaticPartitionsDefinition(["a", "b"])

    @dg.asset(key=["shop", "rows"], io_manager_key="tables", partitions_def=keys)
    def upstream() -> pa.Table:
        return table[0]

    materialise([upstream], partition_key="a")
    table[0] = pa.table({"id": pa.array([4]), "lines": ROWS["lines"].slice(0, 1)})
    materialise([upstream], partition_key="b")
    materialise([upstream], partition_key="a")
    four = table[0].to_pylist()[0]
    assert sorted(rows(platform), key=str) == [{**four, "_partition": key} for key in "ab"]
    table[0] = table[0].slice(0, 0)
    materialise([upstream], partition_key="a")
    assert rows(platform) == [{**four, "_partition": "b"}]


@on_local_and_gcp
def test_nested_rows_are_exported_as_they_are_read(platform: Platform) -> None:
    write(platform, {name: ROWS[name] for name in ROWS.column_names})
    uri = platform.store.root.join("exported.parquet")
    assert platform.warehouse.export("SELECT * FROM shop.rows ORDER BY id DESC", uri) == 3
    found = pq.read_table(io.BytesIO(platform.store.read(uri))).to_pylist()
    assert found == list(reversed(ROWS.to_pylist()))


@on_local_and_gcp
def test_a_partition_key_is_one_value(materialise: Materialise) -> None:
    days = dg.StaticPartitionsDefinition(["a"])

    @dg.asset(io_manager_key="tables", partitions_def=days, metadata={"partition_column": "day"})
    def upstream() -> pa.Table:
        return pa.table({"day": [["a"]]})

    with pytest.raises(DataError, match=r"'day' is of type list<.*no partition key"):
        materialise([upstream], partition_key="a")


@on_gcp
def test_the_rows_go_by_one_load_and_one_extract_into_repeated_fields_and_records(
    materialise: Materialise, gcp: Gcp
) -> None:
    @dg.asset(io_manager_key="tables")
    def upstream() -> pa.Table:
        return ROWS

    @dg.asset
    def downstream(upstream: pa.Table) -> None:
        pass

    jobs = gcp.server.bigquery.jobs
    before = len(jobs.all())
    materialise([upstream, downstream])
    kinds = [job.kind for job in jobs.all()[: len(jobs.all()) - before]]
    assert (kinds.count("load"), kinds.count("extract")) == (1, 1)
    fields = {item["name"]: item for item in gcp.server.bigquery.catalogue.fields("assets", "upstream")}
    assert [fields[name]["mode"] for name in ("tags", "point", "lines")] == [
        *("REPEATED", "NULLABLE", "REPEATED")
    ]
    assert fields["Seen_x3b__x20_at"]["type"] == "TIMESTAMP"
    inner = [(item["name"], item["type"], item["mode"]) for item in fields["lines"]["fields"]]
    assert inner == [
        *(
            ("item", "STRING", "NULLABLE"),
            ("price", "NUMERIC", "NULLABLE"),
            ("amounts", "INTEGER", "REPEATED"),
        )
    ]
    assert [item["name"] for item in fields["point"]["fields"]] == ["x", "odd_x20_name", "at"]


@on_gcp
def test_a_missing_list_is_an_empty_one(platform: Platform) -> None:
    columns = {
        "id": pa.array([1, 2]),
        "large": pa.array([None, ["a"]], pa.large_list(pa.string())),
        "fixed": pa.array([None, [1, 2]], pa.list_(pa.int8(), 2)),
        "coded": pa.array([None, ["a"]], pa.list_(pa.dictionary(pa.int32(), pa.string()))),
        "nothing": pa.array([None, []], pa.list_(pa.null())),
        "inside": pa.array([{"a": None, "b": 1}, {"a": [2], "b": None}]),
    }
    write(platform, columns)
    assert rows(platform) == [
        {"id": 1, "large": [], "fixed": [], "coded": [], "nothing": [], "inside": {"a": [], "b": 1}},
        {
            "id": 2,
            "large": ["a"],
            "fixed": [1, 2],
            "coded": ["a"],
            "nothing": [],
            "inside": {"a": [2], "b": None},
        },
    ]


@on_gcp
def test_a_new_nested_column_is_added_and_one_of_another_type_refused(platform: Platform) -> None:
    write(platform, {"id": [1]}, "id")
    write(platform, {"id": [2], "tags": [["a"]], "point": [{"x": 1}]}, "id")
    kept = [{"id": 1, "tags": [], "point": None}, {"id": 2, "tags": ["a"], "point": {"x": 1}}]
    assert rows(platform) == kept
    for column in ([[1]], ["text"], [{"a": 1}]):
        with pytest.raises(DataError, match=r"'tags' was ARRAY<STRING> and is .*no type holds both"):
            write(platform, {"id": [2], "tags": column}, "id")
    assert rows(platform) == kept
    write(platform, {"id": [0.5], "tags": [["b"]], "point": [{"x": 2}]}, "id")  # retyped beside nested ones
    assert rows(platform) == [{"id": 0.5, "tags": ["b"], "point": {"x": 2}}, *kept]


@on_gcp
@pytest.mark.parametrize(
    ("column", "message", "mend"),
    [
        (pa.array([[[1]]]), "is a list of lists", "Wrap the inner list"),
        (pa.array([{"a": [[1]]}]), r"'odd\.a' is a list of lists", "Wrap the inner list"),
        (pa.array([[1, None]]), "a list with a missing element", "Leave missing elements out"),
        (pa.array([[{"a": 1}, None]]), "a list with a missing element", "wrap each element in a struct"),
        (pa.array([{"b c": [None]}], pa.struct([("b c", pa.list_(pa.int64()))])), r"'odd\.b c'", "Leave"),
        (pa.array([{}], pa.struct([])), "a struct without fields", "give it a field"),
        (pa.array([{"a": 1, "A": 2}]), "fields of one name", "Rename them"),
        (pa.array([{"": 1}]), "or of none", "Rename them"),
        (pa.array([{"a": b"x"}]), r"'odd\.a' is of type binary", "Turn it into text"),
        (pa.array([[2**63]], pa.list_(pa.uint64())), "holds a value", "Change the column's type"),
        (pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())), "is of type map", "Turn it into"),
        (nested_structs(16), "structs in more than 15 levels", "columns of their own"),
    ],
)
def test_what_no_nested_column_holds_is_refused_before_anything_is_loaded(
    platform: Platform, gcp: Gcp, column: pa.Array, message: str, mend: str
) -> None:
    write(platform, {"id": [1]})
    before = len(gcp.server.bigquery.jobs.all())
    with pytest.raises(DataError, match=message) as caught:
        write(platform, {"id": [2], "odd": column})
    assert "'odd" in str(caught.value) and "BigQuery does not" in str(caught.value)
    assert mend in (caught.value.mend or "")
    assert len(gcp.server.bigquery.jobs.all()) == before
    assert rows(platform) == [{"id": 1}]


@on_gcp
def test_structs_of_fifteen_levels_are_held(platform: Platform) -> None:
    write(platform, {"id": [1], "deep": nested_structs(15)})
    assert rows(platform) == [{"id": 1, "deep": nested_structs(15).to_pylist()[0]}]


@on_gcp
def test_nothing_is_told_apart_partitioned_or_clustered_by_a_nested_column(platform: Platform) -> None:
    columns = {"id": [1], "tags": [["a"]], "point": [{"x": 1}]}
    for name, kind in (("tags", "ARRAY<STRING>"), ("point", "STRUCT<`x` INT64>")):
        with pytest.raises(DataError, match=f"'{name}' is {kind}: rows cannot be told apart"):
            write(platform, columns, name)
    write(platform, columns)
    select = "SELECT * FROM shop.rows"
    with pytest.raises(DataError, match="rows cannot be told apart"):
        platform.warehouse.build(TableBuild("shop.rows", select, "incremental", ("tags",)))
    with pytest.raises(DeclarationError, match="'point' is STRUCT<`x` INT64>: a table cannot be clustered"):
        platform.warehouse.build(TableBuild("shop.built", select, options={"cluster_by": "id, point"}))
    with pytest.raises(DeclarationError, match="'tags' is ARRAY<STRING>: partitions of one day cannot"):
        platform.warehouse.build(TableBuild("shop.built", select, options={"partition_by": "tags"}))
