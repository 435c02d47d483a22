"""Parquet as this package writes it, whatever it is for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq


def parquet_writer(where: Any, schema: pa.Schema, *, compression: str) -> pq.ParquetWriter:
    """A writer of one file; `where` is a path or a binary stream.

    Floats get no dictionary: their values hardly repeat, and looking for those that do takes ten times longer
    than writing them.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    # False or names, which the stubs do not know.
    repeating: Any = [field.name for field in schema if not pa.types.is_floating(field.type)] or False
    return pq.ParquetWriter(where, schema, compression=compression, use_dictionary=repeating)
