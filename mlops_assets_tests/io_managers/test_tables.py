"""Assets as tables of the warehouse: partitions, names, and overwrites that fail midway."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from mlops_assets.errors import ArtifactError, DataError
from mlops_assets.platforms.ports import Platform
from mlops_assets_tests.io_managers.conftest import Materialise, on_local_and_aws

DAYS = dg.DailyPartitionsDefinition(start_date="2026-01-01", end_date="2026-01-05")


def rows(platform: Platform, relation: str) -> list[dict[str, Any]]:
    return sorted(platform.warehouse.query(f"SELECT * FROM {relation}"), key=lambda row: (*row.values(),))


def breaking_stream() -> pa.RecordBatchReader:
    """A frame whose rows stop coming midway."""

    def batches() -> Iterator[pa.RecordBatch]:
        yield pa.record_batch({"a": [100]})
        raise OSError("the source went away")

    return pa.RecordBatchReader.from_batches(pa.schema({"a": pa.int64()}), batches())


def test_an_overwrite_that_fails_midway_keeps_the_old_rows(
    materialise: Materialise, platform: Platform
) -> None:
    frames: list[Any] = [pa.table({"a": [1, 2, 3]}), breaking_stream()]

    @dg.asset(key=["shop", "numbers"], io_manager_key="tables")
    def numbers():
        return frames.pop(0)

    materialise([numbers])
    assert not materialise([numbers], raise_on_error=False).success
    assert rows(platform, "shop.numbers") == [{"a": 1}, {"a": 2}, {"a": 3}]


def test_a_partition_that_fails_midway_keeps_its_old_rows_and_leaves_no_staging_table(
    materialise: Materialise, platform: Platform
) -> None:
    frames: list[Any] = [pa.table({"a": [1]}), breaking_stream()]

    @dg.asset(key=["shop", "numbers"], io_manager_key="tables", partitions_def=DAYS)
    def numbers():
        return frames.pop(0)

    materialise([numbers], partition_key="2026-01-01")
    assert not materialise([numbers], partition_key="2026-01-01", raise_on_error=False).success
    assert rows(platform, "shop.numbers") == [{"a": 1, "_partition": "2026-01-01"}]
    found = platform.warehouse.query(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = 'shop'"
    )
    assert found == [{"table_name": "numbers"}]


def test_a_partition_replaces_its_own_rows_and_no_others(
    materialise: Materialise, platform: Platform
) -> None:
    value = [1]

    @dg.asset(io_manager_key="tables", partitions_def=DAYS)
    def numbers() -> pl.DataFrame:
        return pl.DataFrame({"a": [value[0], value[0]]})

    for value[0], day in enumerate(["2026-01-01", "2026-01-02", "2026-01-01"], 1):
        materialise([numbers], partition_key=day)
    assert [tuple(row.values()) for row in rows(platform, "assets.numbers")] == [
        (2, "2026-01-02"),
        (2, "2026-01-02"),
        (3, "2026-01-01"),
        (3, "2026-01-01"),
    ]


def test_a_partition_without_rows_empties_it(materialise: Materialise, platform: Platform) -> None:
    frame = [pa.table({"a": [1]})]

    @dg.asset(io_manager_key="tables", partitions_def=DAYS)
    def numbers() -> pa.Table:
        return frame[0]

    materialise([numbers], partition_key="2026-01-01")
    materialise([numbers], partition_key="2026-01-02")
    frame[0] = frame[0].slice(0, 0)
    materialise([numbers], partition_key="2026-01-01")
    assert rows(platform, "assets.numbers") == [{"a": 1, "_partition": "2026-01-02"}]


@on_local_and_aws
@pytest.mark.parametrize(
    ("definition", "keys"),
    [
        (dg.StaticPartitionsDefinition(["north", "so'uth"]), ["north", "so'uth"]),
        (DAYS, ["2026-01-01", "2026-01-02"]),
        (dg.DynamicPartitionsDefinition(name="arrived"), ["a/b.csv", "Ünï"]),
        (
            dg.MultiPartitionsDefinition(
                {"x": dg.StaticPartitionsDefinition(["1", "2"]), "y": dg.StaticPartitionsDefinition(["3"])}
            ),
            ["1|3", "2|3"],
        ),
    ],
)
def test_partitions_of_every_kind_are_stored_and_loaded_one_by_one_and_together(
    materialise: Materialise, definition: dg.PartitionsDefinition, keys: list[str]
) -> None:
    seen: list[Any] = []

    @dg.asset(io_manager_key="tables", partitions_def=definition)
    def upstream(context: dg.AssetExecutionContext) -> pd.DataFrame:
        return pd.DataFrame({"key": [str(context.partition_key)]})

    @dg.asset(partitions_def=definition)
    def each(upstream: pl.DataFrame) -> None:
        seen.append(upstream.to_dicts())

    @dg.asset
    def together(upstream: pa.Table) -> None:
        seen.append(sorted(upstream.to_pylist(), key=lambda row: row["key"]))

    with dg.DagsterInstance.ephemeral() as instance:
        if isinstance(definition, dg.DynamicPartitionsDefinition):
            instance.add_dynamic_partitions("arrived", keys)
        for key in keys:
            materialise([upstream, each], partition_key=key, instance=instance)
        materialise([upstream, together], selection=[together], instance=instance)
    assert seen == [[{"key": keys[0]}], [{"key": keys[1]}], [{"key": key} for key in sorted(keys)]]


def test_one_run_over_several_partitions_is_told_apart_by_the_declared_column(
    materialise: Materialise, platform: Platform
) -> None:
    frame = [pl.DataFrame({"day": ["2026-01-01", "2026-01-02", "2026-01-02"], "a": [1, 2, 3]})]

    @dg.asset(
        io_manager_key="tables",
        partitions_def=DAYS,
        backfill_policy=dg.BackfillPolicy.single_run(),
        metadata={"partition_column": "day"},
    )
    def numbers() -> pl.DataFrame:
        return frame[0].with_columns(pl.col("day").str.to_date())

    tags = {
        "dagster/asset_partition_range_start": "2026-01-01",
        "dagster/asset_partition_range_end": "2026-01-02",
    }
    materialise([numbers], tags=tags)
    frame[0] = pl.DataFrame({"day": ["2026-01-01"], "a": [9]})
    materialise([numbers], tags=tags)
    assert [row["a"] for row in rows(platform, "assets.numbers")] == [9]


@on_local_and_aws
@pytest.mark.parametrize(
    ("frame", "message"),
    [
        ({"a": [1]}, "no column 'day'"),
        ({"day": ["2026-01-03"]}, "no partition of this run"),
        ({"day": [None]}, "no partition of this run"),
    ],
)
def test_rows_of_other_partitions_are_refused(
    materialise: Materialise, platform: Platform, frame: dict[str, list[Any]], message: str
) -> None:
    @dg.asset(io_manager_key="tables", partitions_def=DAYS, metadata={"partition_column": "day"})
    def numbers() -> pa.Table:
        return pa.table(frame)

    with pytest.raises(DataError, match=message):
        materialise([numbers], partition_key="2026-01-01")
    assert platform.warehouse.columns("assets.numbers") is None


def test_the_ui_shows_rows_relation_and_columns(materialise: Materialise) -> None:
    @dg.asset(key=["shop", "numbers"], io_manager_key="tables")
    def numbers() -> pa.Table:
        return pa.table({"a": [1, 2], "b": ["x", "y"]})

    event = materialise([numbers]).get_asset_materialization_events()[0]
    metadata = event.step_materialization_data.materialization.metadata
    assert metadata["dagster/row_count"].value == 2
    assert metadata["dagster/table_name"].value == "shop.numbers"
    schema = metadata["dagster/column_schema"].value
    assert isinstance(schema, dg.TableSchema)
    assert [(column.name, column.type) for column in schema.columns] == [("a", "int"), ("b", "string")]


def test_a_table_that_was_never_made_and_a_column_that_is_not_there_are_named(
    materialise: Materialise,
) -> None:
    @dg.asset(io_manager_key="tables")
    def upstream() -> pa.Table:
        return pa.table({"a": [1]})

    @dg.asset(ins={"upstream": dg.AssetIn(metadata={"columns": ["b"]})})
    def downstream(upstream: pa.Table) -> None: ...

    with pytest.raises(ArtifactError, match=r"upstream.*not been materialised"):
        materialise([upstream, downstream], selection=[downstream])
    with pytest.raises(DataError, match=r"no column 'b'; it has a"):
        materialise([upstream, downstream])
