"""Reading a split's Parquet files in batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mlops_assets.errors import DataError
from mlops_assets.runtime.parquet_file import open_parquet

BATCH_ROWS = 131_072


def split_files(folder: Path) -> list[Path]:
    """The Parquet files of a split, in order of name.

    Raises:
        DataError: where there is none.
    """
    files = sorted(folder.glob("*.parquet"))
    if not files:
        raise DataError(
            "The split holds no Parquet file.", where=str(folder), mend="Materialise the dataset again."
        )
    return files


def iterate_split(
    folder: Path, columns: Sequence[str], *, rows: int = BATCH_ROWS
) -> Iterator[pa.RecordBatch]:
    """The named columns, in that order, in batches of at most `rows`, in the order they were written.

    Raises:
        DataError: where a file is damaged or a column is missing.
    """
    for path in split_files(folder):
        with _opened(path) as file:
            _check_columns(path, file.schema_arrow, columns)
            for batch in file.iter_batches(batch_size=rows, columns=list(columns)):
                yield batch.select(list(columns))


def split_rows(folder: Path) -> int:
    """Rows of a split, from the files' footers; DataError where one is damaged."""
    total = 0
    for path in split_files(folder):
        with _opened(path) as file:
            total += file.metadata.num_rows
    return total


def split_schema(folder: Path, columns: Sequence[str]) -> pa.Schema:
    """Schema of the named columns; DataError as in `iterate_split`."""
    path = split_files(folder)[0]
    with _opened(path) as file:
        _check_columns(path, file.schema_arrow, columns)
        return pa.schema([file.schema_arrow.field(name) for name in columns])


def _opened(path: Path) -> pq.ParquetFile:
    try:
        return open_parquet(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(
            f"The Parquet file is damaged: {str(error)[:120]}",
            where=str(path),
            mend="Materialise the dataset again.",
        ) from None


def _check_columns(path: Path, schema: pa.Schema, columns: Sequence[str]) -> None:
    missing = [name for name in columns if name not in schema.names]
    if missing:
        raise DataError(
            f"The split has no column {missing[0]!r}; it has {', '.join(schema.names)}.",
            where=str(path),
            mend="Select it in the dataset's table, or take it out of the declaration.",
        )
