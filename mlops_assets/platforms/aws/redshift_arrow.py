"""Between Arrow and Redshift: which column type holds what, and rows of a cursor as batches."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from mlops_assets.errors import DataError
from mlops_assets.platforms.aws.redshift_connection import Rows
from mlops_assets.platforms.aws.redshift_sql import LONGEST, STORED

if TYPE_CHECKING:
    import pyarrow as pa

_NUMERIC = re.compile(r"numeric\((\d+),\s*(\d+)\)")


def column_type(kind: pa.DataType, name: str) -> str:
    """The column type that holds an Arrow type.

    Raises:
        DataError: for a type that no column holds.
    """
    import pyarrow.types as kinds

    if kinds.is_dictionary(kind):
        kind = kind.value_type
    if kinds.is_decimal(kind) and kind.precision <= 38 and kind.scale >= 0:
        return f"numeric({kind.precision},{kind.scale})"
    if kinds.is_timestamp(kind):
        return "timestamp" if kind.tz is None else "timestamptz"
    found: list[tuple[Callable[[Any], bool], str]] = [
        (kinds.is_boolean, "boolean"),
        (kinds.is_integer, "bigint"),
        (kinds.is_floating, "double precision"),
        (kinds.is_date, "date"),
    ]
    texts = (kinds.is_string, kinds.is_large_string, kinds.is_string_view, kinds.is_null)
    found += [(check, f"varchar({LONGEST})") for check in texts]
    for check, spelled in found:
        if check(kind):
            return spelled
    raise DataError(
        f"The column {name!r} is of type {kind}, which Redshift does not hold.",
        mend="Turn it into text, numbers, booleans, dates or timestamps.",
    )


def staged_type(kind: pa.DataType, name: str) -> pa.DataType:
    """The type that Parquet carries the column in: one that COPY takes into its column type.

    Timestamps go without a zone, in UTC and to the microsecond.
    """
    import pyarrow as pa

    spelled = column_type(kind, name)
    if (digits := _NUMERIC.match(spelled)) is not None:
        return pa.decimal128(int(digits[1]), int(digits[2]))
    return {
        "boolean": pa.bool_(),
        "bigint": pa.int64(),
        "double precision": pa.float64(),
        "date": pa.date32(),
        "timestamp": pa.timestamp("us"),
        "timestamptz": pa.timestamp("us"),
    }.get(spelled, pa.string())


def logical_schema(columns: Mapping[str, str]) -> pa.Schema:
    """The schema of parts whose columns have these logical types."""
    import pyarrow as pa

    return pa.schema([(name, arrow_type(STORED[kind])) for name, kind in columns.items()])


def as_staged(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The batch in the types of `schema`, which `staged_type` gave.

    Raises:
        DataError: for a value that does not fit, naming the column.
    """
    import pyarrow as pa

    columns = []
    for field, column in zip(schema, batch.columns, strict=True):
        is_moment = pa.types.is_timestamp(field.type)
        # Nanoseconds are cut off, as Redshift has none; anything else that would be lost is refused.
        try:
            staged = column.cast(field.type, safe=not is_moment)
        except pa.ArrowInvalid as error:
            raise DataError(
                f"The column {field.name!r} holds a value that Redshift does not: {error}",
                mend="Change the column's type.",
            ) from None
        if pa.types.is_string(field.type):
            _check_length(field.name, staged)
        columns.append(staged)
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _check_length(name: str, column: pa.Array) -> None:
    import pyarrow.compute as pc

    # Arrow's stubs leave out the functions that it makes when it is loaded.
    longest = pc.call_function("max", [pc.call_function("binary_length", [column])]).as_py()
    if longest is not None and longest > LONGEST:
        raise DataError(
            f"The column {name!r} holds a text of {longest:,} bytes; Redshift takes {LONGEST:,}.",
            mend="Shorten it, or keep it in the object store and its key in the table.",
        )


# --- rows of a cursor ---------------------------------------------------------------------------------------


def arrow_type(kind: str) -> pa.DataType:
    """The Arrow type of a result's column, from its type as the catalogue spells it."""
    import pyarrow as pa

    if (digits := _NUMERIC.match(kind)) is not None:
        return pa.decimal128(int(digits[1]), int(digits[2]))
    return {
        "boolean": pa.bool_(),
        "smallint": pa.int16(),
        "integer": pa.int32(),
        "bigint": pa.int64(),
        "real": pa.float32(),
        "double precision": pa.float64(),
        "numeric": pa.float64(),
        "date": pa.date32(),
        "timestamp": pa.timestamp("us"),
        "timestamp without time zone": pa.timestamp("us"),
        "timestamp with time zone": pa.timestamp("us", "UTC"),
    }.get(kind, pa.string())


def schema_of(rows: Rows) -> pa.Schema:
    """The Arrow schema of a result."""
    import pyarrow as pa

    return pa.schema([(name, arrow_type(kind)) for name, kind in zip(rows.columns, rows.types, strict=True)])


def batch_of(rows: Sequence[Sequence[Any]], schema: pa.Schema) -> pa.RecordBatch:
    """Rows of values as one batch."""
    import pyarrow as pa

    columns = list(zip(*rows, strict=True)) if rows else [()] * len(schema)
    arrays = [
        pa.array([None if value is None else float(value) for value in column], field.type)
        if pa.types.is_floating(field.type) and any(isinstance(value, Decimal) for value in column[:1])
        else pa.array(column, field.type)
        for column, field in zip(columns, schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
