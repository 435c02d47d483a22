"""Every kind of frame comes back as it went in, through the warehouse and through Parquet."""

import datetime as dt
import typing
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from mlops_assets.errors import DataError
from mlops_assets.io_managers.frames import batches, kind_of
from mlops_assets_tests.io_managers.conftest import Materialise, on_local_and_aws

ROWS: dict[str, list[Any]] = {
    "number": [1, 2, None],
    "share": [0.5, None, -1.25],
    "name": ["a", None, "Ünï'\"çode\n"],
    "flag": [True, False, None],
    "at": [dt.datetime(2026, 1, 1, 12, 30, 15, 250_000), None, dt.datetime(1969, 12, 31)],
    "day": [dt.date(2026, 1, 1), None, dt.date(1900, 2, 28)],
    'Odd Name; "quoted"': ["x", "y", "z"],
}
ANNOTATIONS = [pd.DataFrame, pl.DataFrame, pl.LazyFrame, pa.Table, pa.RecordBatchReader]


def as_kind(kind: Any, table: pa.Table) -> Any:
    if kind is pd.DataFrame:
        return table.to_pandas(types_mapper={pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}.get)
    if kind is pl.DataFrame:
        return pl.from_arrow(table)
    if kind is pl.LazyFrame:
        frame = pl.from_arrow(table)
        assert isinstance(frame, pl.DataFrame)
        return frame.lazy()
    return table if kind is pa.Table else table.to_reader()


def rows_of(frame: Any) -> list[dict[str, Any]]:
    if isinstance(frame, pa.RecordBatchReader):
        frame = frame.read_all()
    if isinstance(frame, pl.LazyFrame):
        frame = frame.collect()
    if isinstance(frame, pl.DataFrame):
        return frame.to_dicts()
    if isinstance(frame, pa.Table):
        return frame.to_pylist()
    return [
        {name: None if pd.isna(value) else _plain(value) for name, value in row.items()}
        for row in frame.to_dict("records")
    ]


def _plain(value: Any) -> Any:
    return value.to_pydatetime() if isinstance(value, pd.Timestamp) else value


@on_local_and_aws
@pytest.mark.parametrize("manager", ["tables", "datasets"])
@pytest.mark.parametrize("loaded_as", ANNOTATIONS)
@pytest.mark.parametrize("stored_as", ANNOTATIONS)
def test_rows_come_back_whatever_they_are_stored_and_loaded_as(
    materialise: Materialise, manager: str, stored_as: Any, loaded_as: Any
) -> None:
    table = pa.table(ROWS)
    seen: list[Any] = []

    @dg.asset(io_manager_key=manager)
    def upstream() -> stored_as:  # type: ignore[valid-type]
        return as_kind(stored_as, table)

    @dg.asset
    def downstream(upstream: loaded_as) -> None:  # type: ignore[valid-type]
        assert isinstance(upstream, loaded_as)
        seen.extend(rows_of(upstream))

    assert materialise([upstream, downstream]).success
    assert sorted(seen, key=lambda row: row['Odd Name; "quoted"']) == table.to_pylist()


@on_local_and_aws
@pytest.mark.parametrize("manager", ["tables", "datasets"])
@pytest.mark.parametrize("kind", ANNOTATIONS)
def test_a_frame_without_rows_keeps_its_columns_and_types(
    materialise: Materialise, manager: str, kind: Any
) -> None:
    empty = pa.table(ROWS).slice(0, 0)
    seen: list[pa.Table] = []

    @dg.asset(io_manager_key=manager)
    def upstream() -> kind:  # type: ignore[valid-type]
        return as_kind(kind, empty)

    @dg.asset
    def downstream(upstream: pa.Table) -> None:
        seen.append(upstream)

    assert materialise([upstream, downstream]).success
    assert seen[0].num_rows == 0
    assert seen[0].column_names == empty.column_names
    assert seen[0].schema.field("share").type == pa.float64()


@on_local_and_aws
@pytest.mark.parametrize("manager", ["tables", "datasets"])
def test_whole_numbers_and_booleans_with_missing_values_stay_that_in_pandas(
    materialise: Materialise, manager: str
) -> None:
    seen: list[pd.DataFrame] = []
    big = 2**53 + 1

    @dg.asset(io_manager_key=manager)
    def upstream() -> pa.Table:
        return pa.table({"id": [big, None], "flag": [True, None], "full": [1, 2]})

    @dg.asset
    def downstream(upstream: pd.DataFrame) -> None:
        seen.append(upstream)

    materialise([upstream, downstream])
    assert seen[0]["id"].iloc[0] == big
    assert [str(kind) for kind in seen[0].dtypes] == ["Int64", "boolean", "int64"]


@on_local_and_aws
@pytest.mark.parametrize("manager", ["tables", "datasets"])
def test_an_input_without_annotation_is_a_pandas_frame(materialise: Materialise, manager: str) -> None:
    seen: list[Any] = []

    @dg.asset(io_manager_key=manager)
    def upstream():
        return pl.DataFrame({"a": [1]})

    @dg.asset
    def downstream(upstream):
        seen.append(upstream)

    materialise([upstream, downstream])
    assert isinstance(seen[0], pd.DataFrame)


@on_local_and_aws
@pytest.mark.parametrize("manager", ["tables", "datasets"])
@pytest.mark.parametrize("kind", ANNOTATIONS)
def test_only_the_columns_asked_for_are_loaded(materialise: Materialise, manager: str, kind: Any) -> None:
    seen: list[Any] = []

    @dg.asset(io_manager_key=manager)
    def upstream() -> pa.Table:
        return pa.table({"a": [1], "b": [2], "c": [3]})

    @dg.asset(ins={"upstream": dg.AssetIn(metadata={"columns": ["c", "a"]})})
    def downstream(upstream: kind) -> None:  # type: ignore[valid-type]
        seen.extend(rows_of(upstream))

    materialise([upstream, downstream])
    assert [list(row.items()) for row in seen] == [[("c", 3), ("a", 1)]]


@pytest.mark.parametrize("manager", ["tables", "datasets"])
def test_a_lazy_frame_can_be_collected_twice_with_filters_slices_and_counts(
    materialise: Materialise, manager: str
) -> None:
    seen: list[Any] = []

    @dg.asset(io_manager_key=manager)
    def upstream() -> pa.Table:
        return pa.table({"a": range(1_000), "b": [f"{n % 7}" for n in range(1_000)]})

    @dg.asset
    def downstream(upstream: pl.LazyFrame) -> None:
        seen.append(upstream.filter(pl.col("a") >= 990).select("b").collect().height)
        seen.append(upstream.head(5).collect().height)
        seen.append(upstream.select(pl.len()).collect().item())
        seen.append(upstream.group_by("b").agg(pl.col("a").sum()).collect()["a"].sum())

    assert materialise([upstream, downstream]).success
    assert seen == [10, 5, 1_000, 499_500]


@on_local_and_aws
@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: 42, "int is no frame"),
        (pd.DataFrame, "no columns"),
        (lambda: pd.DataFrame({"a": [1, "x"]}), "values of one type"),
        (lambda: pd.DataFrame([[1, 2]], columns=["a", "a"]), "same name"),
    ],
)
@pytest.mark.parametrize("manager", ["tables", "datasets"])
def test_what_cannot_be_stored_is_refused_with_the_assets_name_and_the_mend(
    materialise: Materialise, manager: str, made: Any, message: str
) -> None:
    @dg.asset(io_manager_key=manager)
    def upstream():
        return made()

    with pytest.raises(DataError, match=message) as caught:
        materialise([upstream])
    assert caught.value.where == "upstream"
    assert caught.value.mend


@pytest.mark.parametrize("annotation", [int, dict, list[int], pl.Series, pa.RecordBatch])
def test_other_annotations_are_refused_with_the_choices(annotation: Any) -> None:
    with pytest.raises(DataError, match="RecordBatchReader"):
        kind_of(annotation, "here")


@pytest.mark.parametrize("annotation", [None, typing.Any, type(None), object])
def test_no_annotation_means_pandas(annotation: Any) -> None:
    assert kind_of(annotation, "here") == "pandas"


def test_a_lazy_frame_is_streamed_from_a_file_that_is_gone_afterwards(
    tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with batches(pl.LazyFrame({"a": range(10)}), "here") as reader:
        assert len(list(tmp_path.iterdir())) == 1
        assert reader.read_all().num_rows == 10
    assert list(tmp_path.iterdir()) == []
