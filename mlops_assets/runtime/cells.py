"""One column of arriving values (Arrow, text, JSON) cast to a feature's type; errors name column and row."""

# pyright: reportAttributeAccessIssue=false
# pyarrow makes the functions of pyarrow.compute at import, where no type checker sees them.

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mlops_assets.errors import SignatureError
from mlops_assets.runtime.signature import Feature

ARROW: dict[str, pa.DataType] = {
    "int": pa.int64(),
    "float": pa.float64(),
    "bool": pa.bool_(),
    "string": pa.string(),
    "timestamp": pa.timestamp("us"),
    "date": pa.date32(),
}
_EXPECTED = {
    "int": "a whole number",
    "float": "a finite number",
    "bool": "true or false",
    "string": "text",
    "timestamp": "an ISO 8601 time",
    "date": "an ISO 8601 date",
}
_BOOLS = {"true": True, "t": True, "yes": True, "y": True, "1": True} | {
    "false": False,
    "f": False,
    "no": False,
    "n": False,
    "0": False,
}


def cast_column(column: pa.ChunkedArray, feature: Feature, first_row: int = 0) -> pa.ChunkedArray:
    """`column` as the Arrow type of the feature's type; text is parsed, NaN and blank cells become null.

    Args:
        column: any type; dictionaries are decoded.
        feature: its name and logical type.
        first_row: number of the column's first row, for messages (rows count from 1 there).

    Raises:
        SignatureError: naming the column and the first row whose value is not of the type.
    """
    if pa.types.is_dictionary(column.type):
        column = pc.cast(column, column.type.value_type)
    if pa.types.is_floating(column.type) or pa.types.is_decimal(column.type):
        column = pc.cast(column, pa.float64(), safe=False)
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, pa.float64()), column)
    if column.null_count == len(column):
        return pa.chunked_array([pa.nulls(len(column), ARROW[feature.type])])
    if feature.type != "string" and _is_text(column.type):
        column = pc.utf8_trim_whitespace(pc.cast(column, pa.string()))
        column = pc.if_else(pc.equal(column, ""), pa.scalar(None, pa.string()), column)
    try:
        return _cast(column, feature)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        # Arrow names no row and knows fewer spellings (`yes`, a zone, `3.0` for 3): value by value then.
        return _each(column.to_pylist(), feature, first_row)


def from_values(values: Sequence[Any], feature: Feature, first_row: int = 0) -> pa.ChunkedArray:
    """A column of JSON values (numbers, text, true/false, null), cast as `cast_column` does."""
    return _each(values, feature, first_row)


def _cast(column: pa.ChunkedArray, feature: Feature) -> pa.ChunkedArray:
    kind, target = column.type, ARROW[feature.type]
    if _is_text(kind) or kind == target:
        cast = pc.cast(column, target)
    elif _is_number(kind) and feature.type in ("int", "float"):
        cast = pc.cast(column, target, safe=feature.type == "int")
    elif pa.types.is_temporal(kind) and not pa.types.is_time(kind) and feature.type in ("timestamp", "date"):
        zone = getattr(kind, "tz", None)
        instants = pc.cast(pc.cast(column, pa.timestamp("us", zone), safe=False), pa.int64())
        times = pc.cast(instants, pa.timestamp("us"))
        cast = pc.cast(times, target, safe=False)
        if feature.type == "date" and pc.any(pc.not_equal(pc.cast(cast, pa.timestamp("us")), times)).as_py():
            raise pa.ArrowInvalid("a time of day")
    else:
        raise pa.ArrowInvalid(f"{kind} to {feature.type}")
    if feature.type == "float":
        if pc.any(pc.is_inf(cast)).as_py():
            raise pa.ArrowInvalid("infinity")
        cast = pc.if_else(pc.is_nan(cast), pa.scalar(None, pa.float64()), cast)
    return cast


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind)


def _each(values: Sequence[Any], feature: Feature, first_row: int) -> pa.ChunkedArray:
    parse, parsed = _PARSERS[feature.type], []
    for row, value in enumerate(values):
        try:
            missing = value is None or _is_nan(value) or (feature.type != "string" and value == "")
            result = None if missing else parse(value)
            parsed.append(None if _is_nan(result) else result)
        except (ValueError, TypeError, OverflowError):
            shown = repr(value)
            raise SignatureError(
                f"{shown if len(shown) <= 40 else shown[:37] + '…'} is not {_EXPECTED[feature.type]}.",
                where=f"row {first_row + row + 1}, column {feature.name}",
                mend=f"Send {_EXPECTED[feature.type]}, or null where it is unknown.",
            ) from None
    return pa.chunked_array([pa.array(parsed, type=ARROW[feature.type])])


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise TypeError(value)
    if isinstance(value, str) and "_" in value:  # Python reads 1_000 as a number; files mean something else
        raise ValueError(value)
    number = float(value)
    if math.isinf(number):
        raise ValueError(value)
    return number


def _int(value: Any) -> int:
    number = _number(value)
    # Python's own int keeps the digits that float64 would lose.
    plain = isinstance(value, int) or (isinstance(value, str) and not set(value) & set(".eE"))
    exact = int(value) if plain else int(number)
    if exact != number and abs(exact) < 1 << 53:
        raise ValueError(value)
    if not -(1 << 63) <= exact < 1 << 63:
        raise OverflowError(value)
    return exact


def _bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in _BOOLS:
        return _BOOLS[value.strip().lower()]
    if isinstance(value, int | float) and value in (0, 1):
        return bool(value)
    raise ValueError(value)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    # A whole number is a code (a postcode, a store); a fraction as text has no single spelling.
    if isinstance(value, str | int):
        return str(value)
    raise TypeError(value)


def _time(value: Any) -> datetime:
    if isinstance(value, str):
        value = datetime.fromisoformat(value.strip())
    elif isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    if not isinstance(value, datetime):
        raise TypeError(value)
    return value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value


def _date(value: Any) -> date:
    time = _time(value)
    if time.time() != datetime.min.time():
        raise ValueError(value)
    return time.date()


_PARSERS: dict[str, Callable[[Any], Any]] = {
    "int": _int,
    "float": _number,
    "bool": _bool,
    "string": _text,
    "timestamp": _time,
    "date": _date,
}
