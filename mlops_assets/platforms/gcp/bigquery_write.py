"""Writing Arrow batches as a table of BigQuery: parts, a load job, then in place of the old rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from mlops_assets.errors import DataError
from mlops_assets.platforms.dialect_bigquery import decoded, encoded
from mlops_assets.platforms.gcp.bigquery_types import Shape, arrow_type, parsed

if TYPE_CHECKING:
    import pyarrow as pa

NUMBER = "__number"
_DEEPEST = 15


def column_type(kind: pa.DataType, name: str) -> str:
    """The column type that holds an Arrow type.

    Raises:
        DataError: for a type that no column holds.
    """
    found = _type(kind, name)
    if _depth(parsed(found)) > _DEEPEST:
        raise DataError(
            f"The column {name!r} has structs in more than {_DEEPEST} levels, which BigQuery does not hold.",
            mend="Select the inner ones as columns of their own.",
        )
    return found


def _type(kind: pa.DataType, name: str) -> str:
    import pyarrow.types as kinds

    if kinds.is_dictionary(kind):
        kind = kind.value_type
    if is_list(kind):
        return _array(_type(kind.value_type, name), name)
    if kinds.is_struct(kind):
        return _struct(kind, name)
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


def is_list(kind: pa.DataType) -> bool:
    """Whether it is a list, however its values lie in memory."""
    import pyarrow.types as kinds

    checks = (kinds.is_list, kinds.is_large_list, kinds.is_fixed_size_list)
    return any(check(kind) for check in checks)


def _array(element: str, name: str) -> str:
    if parsed(element).repeated:
        raise DataError(
            f"The column {name!r} is a list of lists, which BigQuery does not hold.",
            mend="Wrap the inner list: a list of structs with one field, the list.",
        )
    return f"ARRAY<{element}>"


def _struct(kind: pa.DataType, name: str) -> str:
    if not kind.num_fields:
        raise DataError(
            f"The column {name!r} is a struct without fields, which BigQuery does not hold.",
            mend="Leave it out, or give it a field.",
        )
    names = [item.name.lower() for item in kind]
    if "" in names or len({*names}) < len(names):
        raise DataError(
            f"The column {name!r} has fields of one name, or of none, which BigQuery does not hold.",
            mend="Rename them; whether letters are small or capital makes no difference.",
        )
    fields = (f"`{encoded(item.name)}` {_type(item.type, f'{name}.{item.name}')}" for item in kind)
    return f"STRUCT<{', '.join(fields)}>"


def _depth(shape: Shape) -> int:
    return 1 + max(_depth(kind) for _, kind in shape.fields) if shape.fields else 0


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
    """The values as another type; `name` is the column's in BigQuery."""
    import pyarrow as pa

    if pa.types.is_list(kind):
        return _cast_lists(column, name, kind)
    if pa.types.is_struct(kind):
        return _cast_structs(column, name, kind)
    # Nanoseconds are cut off, as BigQuery has none; anything else that would be lost is refused.
    try:
        return column.cast(kind, safe=not pa.types.is_timestamp(kind))
    except pa.ArrowInvalid as error:
        raise DataError(
            f"The column {decoded(name)!r} holds a value that BigQuery does not: {error}",
            mend="Change the column's type.",
        ) from None


def _cast_lists(column: pa.Array, name: str, kind: pa.ListType) -> pa.Array:
    """A list that is missing is an empty one, which BigQuery would make of it."""
    import pyarrow as pa
    import pyarrow.compute as pc

    items = column.flatten()
    if items.null_count:
        raise DataError(
            f"The column {decoded(name)!r} holds a list with a missing element, which BigQuery does not.",
            mend="Leave missing elements out, or wrap each element in a struct with one field.",
        )
    lengths = pc.fill_null(pc.call_function("list_value_length", [column]), 0)
    ends = pc.call_function("cumulative_sum", [lengths.cast(pa.int64())])
    offsets = pa.concat_arrays([pa.array([0], pa.int64()), ends]).cast(pa.int32())
    return pa.ListArray.from_arrays(offsets, _cast(items, name, kind.value_type), type=kind)


def _cast_structs(column: pa.Array, name: str, kind: pa.StructType) -> pa.Array:
    """By position, as the fields have other names where BigQuery takes theirs not."""
    import pyarrow as pa

    values = [
        _cast(values, f"{name}.{field.name}", field.type)
        for values, field in zip(column.flatten(), kind, strict=True)
    ]
    return pa.StructArray.from_arrays(values, fields=list(kind), mask=column.is_null())
