"""Between Parquet and the CSV that PostgreSQL's COPY speaks: types and values both ways."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from mlops_assets_tests.standins.redshift.wire import RedshiftError

_BATCH = 1 << 16
_NUMERIC = 1700
_BY_OID: dict[int, pa.DataType] = {
    16: pa.bool_(), 20: pa.int64(), 21: pa.int16(), 23: pa.int32(), 700: pa.float32(), 701: pa.float64(),
    1082: pa.date32(), 1114: pa.timestamp("us"), 1184: pa.timestamp("us", "UTC"),
}  # fmt: skip


def arrow_type(oid: int, modifier: int) -> pa.DataType:
    """The Arrow type of an engine's type; what has none is text."""
    if oid == _NUMERIC:
        digits = (((modifier - 4) >> 16) & 0xFFFF, (modifier - 4) & 0xFFFF) if modifier >= 4 else (38, 0)
        return pa.decimal128(*digits)
    return _BY_OID.get(oid, pa.string())


def _fits(kind: pa.DataType, oid: int) -> bool:
    """Whether COPY takes a Parquet column of type `kind` into a column of type `oid`."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_null(kind):
        return True
    checks = {
        16: pa.types.is_boolean(kind),
        20: pa.types.is_signed_integer(kind),
        23: pa.types.is_signed_integer(kind) and kind.bit_width <= 32,
        21: pa.types.is_signed_integer(kind) and kind.bit_width <= 16,
        700: pa.types.is_float32(kind),
        701: pa.types.is_floating(kind),
        1082: pa.types.is_date(kind),
        1114: pa.types.is_timestamp(kind),
        1184: False,  # Parquet's timestamps go into columns without a zone
        _NUMERIC: pa.types.is_decimal(kind),
    }
    return checks.get(
        oid, pa.types.is_string(kind) or pa.types.is_large_string(kind) or oid not in (1043, 1042)
    )


def open_parquet(file: Path, columns: Sequence[tuple[str, int]], where: str) -> pq.ParquetFile:
    """A Parquet file whose columns fit.

    Args:
        file: a local copy.
        columns: name and type's OID of each column to fill, in the file's order.
        where: the object's URI, for errors.
    """
    try:
        source = pq.ParquetFile(file)
    except (pa.ArrowInvalid, OSError):
        raise RedshiftError(
            f"Spectrum Scan Error: File '{where}' is not a valid Parquet file.", "XX000"
        ) from None
    schema = source.schema_arrow
    if len(schema) != len(columns):
        raise RedshiftError(
            "Spectrum Scan Error: Unmatched number of columns between table and file. "
            f"Table columns: {len(columns)}, Data columns: {len(schema)}, File name: {where}"
        )
    for (name, oid), item in zip(columns, schema, strict=True):
        if not _fits(item.type, oid):
            raise RedshiftError(
                f"Spectrum Scan Error: File '{where}' has an incompatible Parquet schema for column "
                f"'{name}'. Column type: {item.type}"
            )
    return source


def parquet_as_csv(source: pq.ParquetFile) -> Iterator[bytes]:
    """The rows of a Parquet file as CSV, NULL as an empty field without quotes."""
    for batch in source.iter_batches(_BATCH):
        texts = [_plain(column) for column in batch.columns]
        out = pa.BufferOutputStream()
        table = pa.table(texts, names=[str(at) for at in range(len(texts))])
        pacsv.write_csv(table, out, pacsv.WriteOptions(include_header=False))
        yield out.getvalue().to_pybytes()


def _plain(column: pa.Array) -> pa.Array:
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
    if pa.types.is_timestamp(column.type) or pa.types.is_decimal(column.type):
        return column.cast(pa.string())
    if pa.types.is_null(column.type):
        return column.cast(pa.string())
    return column


def csv_as_batches(file: IO[bytes], columns: Sequence[tuple[str, int, int]]) -> Iterator[pa.RecordBatch]:
    """What COPY … TO STDOUT (FORMAT csv, FORCE_QUOTE *) wrote, typed.

    Args:
        file: at its beginning, not empty.
        columns: name, type's OID and modifier.
    """
    types = [arrow_type(oid, modifier) for _, oid, modifier in columns]
    places = [str(at) for at in range(len(columns))]
    reader = pacsv.open_csv(
        file,
        pacsv.ReadOptions(column_names=places, block_size=16 << 20),
        pacsv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
        pacsv.ConvertOptions(
            column_types=dict(zip(places, types, strict=True)),
            null_values=[""],
            true_values=["t"],
            false_values=["f"],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            timestamp_parsers=[pacsv.ISO8601],
        ),
    )
    schema = batch_schema(columns)
    for batch in reader:
        yield pa.RecordBatch.from_arrays(batch.columns, schema=schema)


def batch_schema(columns: Sequence[tuple[str, int, int]]) -> pa.Schema:
    """The Arrow schema of the engine's columns."""
    return pa.schema([(name, arrow_type(oid, modifier)) for name, oid, modifier in columns])
