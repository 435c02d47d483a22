"""Assets as Parquet in the object store: immutable versions behind a pointer."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
import polars as pl
import pyarrow as pa
import pytest

from mlops_assets.artifacts import ArtifactUri
from mlops_assets.errors import ArtifactError, DataError
from mlops_assets.io_managers.pointers import Pointers
from mlops_assets.platforms.ports import Platform
from mlops_assets_tests.io_managers.conftest import Materialise, on_local_and_aws

REGIONS = dg.StaticPartitionsDefinition(["north", "..", "a/b", "so uth%2F"])


def test_an_overwrite_that_fails_midway_keeps_the_old_version(
    materialise: Materialise, platform: Platform
) -> None:
    def batches() -> Iterator[pa.RecordBatch]:
        yield pa.record_batch({"a": [100]})
        raise OSError("the source went away")

    frames: list[Any] = [
        pa.table({"a": [1, 2]}),
        pa.RecordBatchReader.from_batches(pa.schema({"a": pa.int64()}), batches()),
    ]
    seen: list[Any] = []

    @dg.asset(io_manager_key="datasets")
    def upstream():
        return frames.pop(0)

    @dg.asset
    def downstream(upstream: pa.Table) -> None:
        seen.append(upstream.to_pylist())

    materialise([upstream])
    before = sorted(str(info.uri) for info in platform.store.list(platform.store.root))
    assert not materialise([upstream], raise_on_error=False).success
    assert sorted(str(info.uri) for info in platform.store.list(platform.store.root)) == before
    materialise([upstream, downstream], selection=[downstream])
    assert seen == [[{"a": 1}, {"a": 2}]]


@on_local_and_aws
def test_the_same_rows_are_the_same_version_and_other_rows_leave_the_old_one_readable(
    materialise: Materialise, platform: Platform
) -> None:
    frame = [pl.DataFrame({"a": [1]})]

    @dg.asset(io_manager_key="datasets")
    def upstream() -> pl.DataFrame:
        return frame[0]

    pointers = Pointers(platform.store)
    materialise([upstream])
    first = pointers.required(["upstream"], None)
    materialise([upstream])
    assert pointers.required(["upstream"], None) == first
    frame[0] = pl.DataFrame({"a": [2]})
    materialise([upstream])
    second = pointers.required(["upstream"], None)
    assert second.version != first.version
    assert pl.read_parquet(platform.store.local(first.file("data.parquet")))["a"].to_list() == [1]
    assert pl.read_parquet(platform.store.local(second.file("data.parquet")))["a"].to_list() == [2]


def test_partitions_lie_apart_whatever_their_keys_and_load_one_by_one_and_together(
    materialise: Materialise, platform: Platform
) -> None:
    seen: list[Any] = []

    @dg.asset(io_manager_key="datasets", partitions_def=REGIONS)
    def upstream(context: dg.AssetExecutionContext) -> pl.LazyFrame:
        return pl.LazyFrame({"region": [context.partition_key]})

    @dg.asset(partitions_def=REGIONS)
    def each(upstream: pl.DataFrame) -> None:
        seen.extend(upstream["region"])

    @dg.asset
    def together(upstream: pl.LazyFrame) -> None:
        seen.extend(upstream.collect()["region"])

    keys = list(REGIONS.get_partition_keys())
    for key in keys:
        assert materialise([upstream, each], partition_key=key).success
    assert seen == keys
    seen.clear()
    assert materialise([upstream, together], selection=[together]).success
    assert seen == keys
    folder = platform.store.root.join("assets", "upstream")
    assert {folder.relative(info.uri).split("/")[0] for info in platform.store.list(folder)} == {
        "partition=north",
        "partition=..",
        "partition=a%2Fb",
        "partition=so%20uth%252F",
    }


def test_partitions_whose_columns_differ_load_together(materialise: Materialise) -> None:
    definition = dg.StaticPartitionsDefinition(["1", "2"])
    seen: list[Any] = []

    @dg.asset(io_manager_key="datasets", partitions_def=definition)
    def upstream(context: dg.AssetExecutionContext) -> pa.Table:
        return pa.table({"a": [1]} if context.partition_key == "1" else {"a": [2.5], "b": ["x"]})

    @dg.asset
    def together(upstream: pa.Table) -> None:
        seen.extend(upstream.to_pylist())

    for key in ("1", "2"):
        materialise([upstream], partition_key=key)
    materialise([upstream, together], selection=[together])
    assert seen == [{"a": 1.0, "b": None}, {"a": 2.5, "b": "x"}]


def test_nested_values_bytes_and_what_is_missing_come_back(materialise: Materialise) -> None:
    rows = [
        {"list": [1, None], "struct": {"a": [{"b": "x"}], "c": None}, "bytes": b"\x00\xff", "none": None},
        {"list": None, "struct": None, "bytes": None, "none": None},
        {"list": [], "struct": {"a": None, "c": 1.5}, "bytes": b"", "none": None},
    ]
    table = pa.Table.from_pylist(rows)
    seen: list[pa.Table] = []

    @dg.asset(io_manager_key="datasets")
    def upstream() -> pa.Table:
        return table

    @dg.asset
    def downstream(upstream: pa.Table) -> None:
        seen.append(upstream)

    materialise([upstream, downstream])
    assert seen[0].equals(table)


@on_local_and_aws
def test_one_run_over_several_partitions_is_refused(materialise: Materialise) -> None:
    @dg.asset(
        io_manager_key="datasets",
        partitions_def=dg.StaticPartitionsDefinition(["1", "2"]),
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def upstream() -> pa.Table:
        return pa.table({"a": [1]})

    tags = {"dagster/asset_partition_range_start": "1", "dagster/asset_partition_range_end": "2"}
    with pytest.raises(DataError, match="2 partitions"):
        materialise([upstream], tags=tags)


@on_local_and_aws
def test_a_broken_pointer_and_a_missing_one_are_named(materialise: Materialise, platform: Platform) -> None:
    @dg.asset(io_manager_key="datasets")
    def upstream() -> pa.Table:
        return pa.table({"a": [1]})

    @dg.asset
    def downstream(upstream: pa.Table) -> None: ...

    with pytest.raises(ArtifactError, match=r"upstream.*not been materialised"):
        materialise([upstream, downstream], selection=[downstream])
    materialise([upstream])
    pointer: ArtifactUri = platform.store.root.join("assets", "upstream", "latest.json")
    platform.store.write(pointer, b"{")
    with pytest.raises(ArtifactError, match=r"pointer.*again"):
        materialise([upstream, downstream], selection=[downstream])
