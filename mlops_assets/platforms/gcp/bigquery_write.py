"""Writing Arrow batches as a table of BigQuery: parts, a load job, then in place of the old rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from mlops_assets.errors import DataError
from mlops_assets.platforms.dialect_bigquery import encoded
from mlops_assets.platforms.gcp.bigquery_sql import arrow_type

if TYPE_CHECKING:
    import pyarrow as pa

NUMBER = "__number"


def column_type(kind: pa.DataType, name: str) -> str:
    """The column type that holds an Arrow type.

    Raises:
        DataError: for a type that no column holds.
    """
    import pyarrow.types as kinds

    if kinds.is_dictionary(kind):
        kind = kind.value_type
    if kinds.is_decimal(kind) and kind.precision - kind.scale <= 29 and 0 <= kind.scale <= 9:
        return "NUMERIC"
    if kinds.is_timestamp(kind):
        return "DATETIME" if kind.tz is None else "TIMESTAMP"
    found: list[tuple[Callable[[Any], bool], str]] = [
        (kinds.is_boolean, "BOOL"),
        (kinds.is_integer, "INT64"),
        (kinds.is_floating, "FLOAT64"),
        (kinds.is_date, "DATE"),
    ]
    texts = (kinds.is_string, kinds.is_large_string, kinds.is_string_view, kinds.is_null)
    found += [(check, "STRING") for check in texts]
    for check, spelled in found:
        if check(kind):
            return spelled
    raise DataError(
        f"The column {name!r} is of type {kind}, which BigQuery does not hold.",
        mend="Turn it into text, numbers, booleans, dates or timestamps.",
    )


def staged_batches(
    batches: pa.RecordBatchReader, *, numbered: bool
) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """The batches in types that a load job takes, with the rows' numbers where asked.

    Raises:
        DataError: for a type or a value that BigQuery does not hold, or a stream that breaks.
    """
    import pyarrow as pa

    fields = [(encoded(item.name), arrow_type(column_type(item.type, item.name))) for item in batches.schema]
    schema = pa.schema([*fields, (NUMBER, pa.int64())] if numbered else fields)

    def staged() -> Iterator[pa.RecordBatch]:
        seen = 0
        try:
            for batch in batches:
                columns = [_cast(column, *field) for column, field in zip(batch.columns, fields, strict=True)]
                if numbered:
                    columns.append(pa.array(range(seen, seen + batch.num_rows), pa.int64()))
                    seen += batch.num_rows
                yield pa.RecordBatch.from_arrays(columns, schema=schema)
        except OSError as error:
            raise DataError(f"The rows cannot be read: {error}", mend="Run it again.") from error

    return schema, staged()


def _cast(column: pa.Array, name: str, kind: pa.DataType) -> pa.Array:
    import pyarrow as pa

    # Nanoseconds are cut off, as BigQuery has none; anything else that would be lost is refused.
    try:
        return column.cast(kind, safe=not pa.types.is_timestamp(kind))
    except pa.ArrowInvalid as error:
        raise DataError(
            f"The column {name!r} holds a value that BigQuery does not: {error}",
            mend="Change the column's type.",
        ) from None
