"""SQL expressions that turn a text into a typed value: NULL where it is not one, never a guess.

int: digits with a sign, and `3.0` as 3; not `3.5`, `1e3`, `0x1F`, `1_000`, nor beyond 64 bits.
float: decimals and exponents; not `nan`, `inf`, nor what overflows to infinity.
bool: true/false, t/f, yes/no, y/n, 1/0, in any case.
timestamp: ISO 8601, a date with an optional time and offset; stored in UTC, to the microsecond.
date: an ISO 8601 date, or one with midnight as its time.
string: everything.

Blanks around a value are dropped, except in a string. Years have four digits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mlops_assets.artifacts.values import LogicalType
from mlops_assets.platforms.sql import literal

STORED: dict[str, str] = {
    "int": "BIGINT",
    "float": "DOUBLE",
    "bool": "BOOLEAN",
    "string": "VARCHAR",
    "timestamp": "TIMESTAMP",
    "date": "DATE",
}

_DATE = r"\d{4}-\d{2}-\d{2}"
_TIMESTAMP = _DATE + r"([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?(Z|[+-]\d{2}(:?\d{2})?)?)?"
# What DuckDB calls its whole numbers.
INTEGERS = (
    "TINYINT",
    "SMALLINT",
    "INTEGER",
    "BIGINT",
    "HUGEINT",
    "UTINYINT",
    "USMALLINT",
    "UINTEGER",
    "UBIGINT",
)

# A cast that the guard below judges; computed once, in a SELECT of its own.
_CAST: dict[str, str] = {"int": "TRY_CAST({t} AS BIGINT)", "float": "TRY_CAST({t} AS DOUBLE)"}

# `{t}` is the text, `{c}` its cast. A cast alone takes `1_000`, `0x1F`, `epoch` and drops an offset: guarded.
_FROM_TEXT: dict[str, str] = {
    "int": "CASE WHEN CAST({c} AS VARCHAR) = {t} "
    r"OR regexp_full_match(trim({t}), '[+-]?\d+(\.0*)?') THEN {c} END",
    "float": "CASE WHEN isfinite({c}) AND NOT contains({t}, '_') THEN {c} END",
    "bool": "CASE WHEN lower(trim({t})) IN ('true', 't', 'yes', 'y', '1') THEN true "
    "WHEN lower(trim({t})) IN ('false', 'f', 'no', 'n', '0') THEN false END",
    "string": "{t}",
    "timestamp": f"CASE WHEN regexp_full_match(trim({{t}}), '{_TIMESTAMP}') "
    "THEN TRY_CAST({t} AS TIMESTAMPTZ) AT TIME ZONE 'UTC' END",
    "date": f"CASE WHEN regexp_full_match(trim({{t}}), '{_DATE}([T ]00:00(:00(\\.0+)?)?)?') "
    "THEN TRY_CAST(left(trim({t}), 10) AS DATE) END",
}

# (logical type, type in a Parquet file) -> expression over the value `{v}`; other pairs go through text.
_DIRECT: dict[tuple[str, str], str] = {
    **{("int", source): "TRY_CAST({v} AS BIGINT)" for source in INTEGERS},
    **{("float", source): "CAST({v} AS DOUBLE)" for source in INTEGERS},
    **{
        ("float", source): "CASE WHEN isfinite({v}) THEN CAST({v} AS DOUBLE) END"
        for source in ("FLOAT", "DOUBLE")
    },
    ("bool", "BOOLEAN"): "{v}",
    ("date", "DATE"): "{v}",
    ("timestamp", "TIMESTAMP"): "{v}",
    ("timestamp", "DATE"): "CAST({v} AS TIMESTAMP)",
    ("timestamp", "TIMESTAMP WITH TIME ZONE"): "{v} AT TIME ZONE 'UTC'",
}


def stored(columns: Mapping[str, str]) -> dict[str, str]:
    """Column -> logical type as column -> DuckDB type."""
    return {column: STORED[logical] for column, logical in columns.items()}


def missing(text: str, logical: LogicalType | str, null_values: Sequence[str]) -> str:
    """Condition: the text stands for a missing value."""
    subject = text if logical == "string" else f"trim({text})"
    listed = (
        f"{subject} IN ({', '.join(literal(value) for value in null_values)})" if null_values else "false"
    )
    return f"({text} IS NULL OR {listed})"


def cast(text: str, logical: LogicalType | str) -> str:
    """The first step from text to value, for `from_text`; NULL for the types that need none."""
    return _CAST.get(logical, "NULL").replace("{t}", text)


def from_text(text: str, casted: str, logical: LogicalType | str, null_values: Sequence[str]) -> str:
    """The typed value of a text and its `cast` (two SQL names); NULL where missing or not of the type."""
    value = _FROM_TEXT[logical].replace("{t}", text).replace("{c}", casted)
    # A blank is of no type but string, so only a null value that could be read as a value needs a look.
    telling = [item for item in null_values if item.strip() or logical == "string"]
    return f"CASE WHEN NOT {missing(text, logical, telling)} THEN {value} END" if telling else value


def direct(value: str, source: str, logical: LogicalType | str) -> str | None:
    """The typed value of one that has the type `source` already; None where it is to go through text."""
    expression = _DIRECT.get((logical, source))
    return expression.replace("{v}", value) if expression else None
