"""Rows of numbers, truth values and times in PostgreSQL's binary COPY format, to and from Arrow.

The engine reads and prints numbers as text several times slower; only what has one width is written so.
https://www.postgresql.org/docs/current/sql-copy.html#SQL-COPY-BINARY-FORMAT
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mlops_assets_tests.standins.redshift.arrow_text import arrow_type

HEAD = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TAIL = struct.pack("!h", -1)
_BATCH = 1 << 15
# The engine counts days and microseconds from 2000-01-01, Arrow from 1970-01-01.
_DAYS = 10_957
_SINCE = {1082: _DAYS, 1114: _DAYS * 86_400_000_000, 1184: _DAYS * 86_400_000_000}
_WIRE = {
    16: np.dtype("i1"), 20: np.dtype(">i8"), 21: np.dtype(">i2"), 23: np.dtype(">i4"),
    700: np.dtype(">f4"), 701: np.dtype(">f8"),
    1082: np.dtype(">i4"), 1114: np.dtype(">i8"), 1184: np.dtype(">i8"),
}  # fmt: skip
_WHOLE = (20, 21, 23)


def are_fixed(oids: Sequence[int]) -> bool:
    """Whether columns of these types can be read."""
    return bool(oids) and all(oid in _WIRE for oid in oids)


def can_write(schema: pa.Schema, oids: Sequence[int]) -> bool:
    """Whether Arrow's columns can be written into columns of these types as they are."""
    return are_fixed(oids) and all(
        item.type == arrow_type(oid, -1) or (oid in _WHOLE and pa.types.is_signed_integer(item.type))
        for item, oid in zip(schema, oids, strict=True)
    )


def parquet_as_binary(source: pq.ParquetFile, oids: Sequence[int]) -> Iterator[bytes]:
    """The rows of a file for which `can_write` holds."""
    yield HEAD
    for batch in source.iter_batches(_BATCH):
        yield _encoded(batch, oids)
    yield TAIL


def _encoded(batch: pa.RecordBatch, oids: Sequence[int]) -> bytes:
    """Every cell at its full width, then those of NULLs taken out: a NULL is a length of -1 and no more."""
    width = 2 + sum(4 + _WIRE[oid].itemsize for oid in oids)
    cells = np.zeros((batch.num_rows, width), np.uint8)
    kept: np.ndarray | None = None
    cells[:, :2] = _bytes(len(oids), ">i2")
    at = 2
    for column, oid in zip(batch.columns, oids, strict=True):
        kind = _WIRE[oid]
        end = at + 4 + kind.itemsize
        cells[:, at : at + 4] = _bytes(kind.itemsize, ">i4")
        cells[:, at + 4 : end] = _values(column, oid).view(np.uint8).reshape(-1, kind.itemsize)
        if column.null_count:
            missing = column.is_null().to_numpy(zero_copy_only=False)
            cells[missing, at : at + 4] = 255
            kept = np.ones(cells.shape, bool) if kept is None else kept
            kept[missing, at + 4 : end] = False
        at = end
    return (cells if kept is None else cells[kept]).tobytes()


def _values(column: pa.Array, oid: int) -> np.ndarray:
    if oid == 1082:
        column = column.view(pa.int32())
    elif oid in _SINCE:
        column = column.view(pa.int64())
    if column.null_count:
        column = column.fill_null(False if oid == 16 else 0)
    found = column.to_numpy(zero_copy_only=False)
    return np.ascontiguousarray((found - _SINCE[oid] if oid in _SINCE else found).astype(_WIRE[oid]))


def _bytes(number: int, kind: str) -> np.ndarray:
    return np.array([number], kind).view(np.uint8)


def binary_as_batches(
    file: Path, rows: int, columns: Sequence[tuple[str, int, int]], schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    """What COPY … TO STDOUT (FORMAT binary) wrote, typed.

    Args:
        file: all of it, HEAD and TAIL included.
        rows: how many.
        columns: name, type's OID and modifier, for which `are_fixed` holds.
        schema: the batches'.
    """
    oids = [oid for _, oid, _ in columns]
    data = np.memmap(file, np.uint8, "r")
    width = 2 + sum(4 + _WIRE[oid].itemsize for oid in oids)
    even = len(HEAD) + rows * width + len(TAIL) == len(data)  # then no row holds a NULL
    starts = np.arange(rows) * width + len(HEAD) if even else _starts(data, rows)
    for first in range(0, rows, _BATCH):
        at, arrays = starts[first : first + _BATCH] + 2, []
        for oid in oids:
            array, at = _column(data, at, oid)
            arrays.append(array)
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def _column(data: np.ndarray, at: np.ndarray, oid: int) -> tuple[pa.Array, np.ndarray]:
    """One column of some rows, and where the next begins in each."""
    kind = _WIRE[oid]
    missing = data[at] == 255  # the first byte of a length of -1; no width is as large
    places = np.where(missing, 0, at + 4)
    found = data[places[:, None] + np.arange(kind.itemsize)].view(kind).reshape(-1)
    values = found.astype(kind.newbyteorder("="))
    if oid in _SINCE:
        values = values + values.dtype.type(_SINCE[oid])
    array = pa.array(values.astype(bool) if oid == 16 else values, mask=missing if missing.any() else None)
    ends = at + np.where(missing, 4, 4 + kind.itemsize)
    return (array if oid not in _SINCE else array.view(arrow_type(oid, -1))), ends


def _starts(data: np.ndarray, rows: int) -> np.ndarray:
    """Where each row begins."""
    content, at, found = data.tobytes(), len(HEAD), np.empty(rows, np.int64)
    for row in range(rows):
        found[row] = at
        (cells,) = struct.unpack_from("!h", content, at)
        at += 2
        for _ in range(cells):
            (size,) = struct.unpack_from("!i", content, at)
            at += 4 + max(size, 0)
    return found
