"""Frames of every kind as Arrow batches and back: what happens follows the type returned or asked for.

One table routes both ways. Nothing here knows where the rows are kept.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from mlops_assets.errors import DataError
from mlops_assets.runtime.parquet_file import open_parquet

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

_BATCH = 131_072
# Full name of the type (public modules only) -> kind.
_KINDS = {
    "pandas.DataFrame": "pandas",
    "polars.DataFrame": "polars",
    "polars.LazyFrame": "lazy",
    "pyarrow.Table": "table",
    "pyarrow.RecordBatchReader": "reader",
}
_CHOICES = ", ".join(_KINDS)


class Source(Protocol):
    """Where rows can be read from, again and again."""

    def schema(self) -> pa.Schema:
        """Names and types of the columns."""
        ...

    def read(self, columns: Sequence[str] | None = None) -> pa.RecordBatchReader:
        """The rows, streamed; only `columns`, in that order, where they are given."""
        ...


def kind_of(type_: Any, where: str) -> str:
    """The kind of frame that a type (an annotation, or the type of an object) is.

    A missing annotation is `pandas`, the frame that most code takes.

    Raises:
        DataError: for any other type.
    """
    import typing

    if type_ is None or type_ in (typing.Any, type(None), object):
        return "pandas"
    for base in getattr(type_, "__mro__", ()):
        kind = _KINDS.get(f"{base.__module__.split('.', 1)[0]}.{base.__name__}")
        if kind is not None:
            return kind
    raise DataError(
        f"{getattr(type_, '__name__', type_)} is no frame that can be stored or loaded.",
        where=where,
        mend=f"Return and annotate one of {_CHOICES}; or give the asset another I/O manager.",
    )


# --- frames to batches ------------------------------------------------------------------------------------


@contextmanager
def batches(frame: Any, where: str) -> Iterator[pa.RecordBatchReader]:
    """The rows of `frame` as a stream of Arrow batches, valid inside the `with`.

    A LazyFrame is computed by polars' streaming engine into a temporary file: memory stays bounded.

    Raises:
        DataError: for another type, a frame without columns, or a column whose values Arrow cannot hold.
    """
    import pyarrow as pa

    kind = kind_of(type(frame), where)
    try:
        if kind == "lazy":
            with tempfile.TemporaryDirectory(prefix="frame-") as folder:
                path = Path(folder) / "frame.parquet"
                frame.sink_parquet(path)
                with _parquet_reader(path) as reader:
                    yield _checked(reader, where)
        else:
            yield _checked(_TO_READER[kind](frame, where), where)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise DataError(
            f"A column cannot be stored: {str(error)[:300]}.",
            where=where,
            mend="Give each column values of one type.",
        ) from error


@contextmanager
def _parquet_reader(path: Path) -> Iterator[pa.RecordBatchReader]:
    import pyarrow as pa

    with open_parquet(path) as file:
        yield pa.RecordBatchReader.from_batches(file.schema_arrow, file.iter_batches(batch_size=_BATCH))


def _checked(reader: pa.RecordBatchReader, where: str) -> pa.RecordBatchReader:
    _check_names(reader.schema.names, where)
    return reader


def _check_names(names: Sequence[str], where: str) -> None:
    if not names:
        raise DataError("The frame has no columns.", where=where, mend="Return at least one column.")
    if len(set(names)) != len(names):
        raise DataError("Two columns have the same name.", where=where, mend="Rename one of them.")


def _from_pandas(frame: pd.DataFrame, where: str) -> pa.RecordBatchReader:
    """The index is left out, as a warehouse has none; part by part, so that there is no second copy."""
    import pyarrow as pa

    named = frame.copy(deep=False)  # set_axis copies every value
    named.columns = [str(name) for name in frame.columns]
    _check_names(list(named.columns), where)
    schema = pa.Schema.from_pandas(named, preserve_index=False)
    parts = (named.iloc[start : start + _BATCH] for start in range(0, max(len(named), 1), _BATCH))
    made = (pa.RecordBatch.from_pandas(part, schema=schema, preserve_index=False) for part in parts)
    return pa.RecordBatchReader.from_batches(schema, made)


def _from_polars(frame: pl.DataFrame, _: str) -> pa.RecordBatchReader:
    return frame.to_arrow().to_reader(max_chunksize=_BATCH)


def _from_table(table: pa.Table, _: str) -> pa.RecordBatchReader:
    return table.to_reader(max_chunksize=_BATCH)


_TO_READER: dict[str, Callable[[Any, str], pa.RecordBatchReader]] = {
    "pandas": _from_pandas,
    "polars": _from_polars,
    "table": _from_table,
    "reader": lambda reader, _: reader,
}


# --- sources to frames ------------------------------------------------------------------------------------


def load(kind: str, source: Source, columns: Sequence[str] | None) -> Any:
    """The rows of `source` as a frame of `kind`; only `columns` where they are given."""
    return _FROM_SOURCE[kind](source, columns)


def _to_pandas(source: Source, columns: Sequence[str] | None) -> pd.DataFrame:
    """Whole numbers and booleans with missing values stay that (Int64, boolean), not float and object."""
    import pandas as pd
    import pyarrow as pa

    table = source.read(columns).read_all()
    nullable: dict[Any, Any] = {pa.bool_(): pd.BooleanDtype()}
    nullable |= {getattr(pa, name.lower())(): getattr(pd, f"{name}Dtype")() for name in _INTEGERS}
    frame = table.to_pandas()
    for name in table.column_names:
        column = table.column(name)
        if column.null_count and column.type in nullable:
            frame[name] = column.to_pandas(types_mapper=nullable.get)
    return frame


_INTEGERS = ("Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64")


def _to_polars(source: Source, columns: Sequence[str] | None) -> pl.DataFrame:
    import polars as pl

    frame = pl.from_arrow(source.read(columns).read_all())
    assert isinstance(frame, pl.DataFrame)
    return frame


def _to_lazy(source: Source, columns: Sequence[str] | None) -> pl.LazyFrame:
    """Reads nothing until it is collected, and then only the columns and as many rows as the query needs."""
    import polars as pl
    from polars.io.plugins import register_io_source

    schema = source.schema()
    names = list(columns) if columns is not None else schema.names
    empty = pl.from_arrow(schema.empty_table().select(names))
    assert isinstance(empty, pl.DataFrame)

    def scan(
        with_columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, _: int | None
    ) -> Iterator[pl.DataFrame]:
        wanted = with_columns if with_columns is not None else names
        # A batch keeps its rows only through a column.
        with source.read(wanted or names[:1]) as reader:
            for batch in reader:
                frame = pl.from_arrow(batch)
                assert isinstance(frame, pl.DataFrame)
                frame = frame.head(n_rows) if n_rows is not None else frame
                n_rows = n_rows - frame.height if n_rows is not None else None
                yield frame.filter(predicate) if predicate is not None else frame
                if n_rows == 0:
                    return

    return register_io_source(scan, schema=empty.schema)


_FROM_SOURCE: dict[str, Callable[[Source, Sequence[str] | None], Any]] = {
    "pandas": _to_pandas,
    "polars": _to_polars,
    "lazy": _to_lazy,
    "table": lambda source, columns: source.read(columns).read_all(),
    "reader": lambda source, columns: source.read(columns),
}
