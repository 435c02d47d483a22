"""What the text of a CSV column means: its type, how that is written, and what stands for a missing value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlops_assets.artifacts.values import LogicalType
from mlops_assets.starting.reading import Form, Source, row_of

if TYPE_CHECKING:
    import duckdb

# Always a missing value; and one only where the rest of the column are numbers, dates or booleans.
NULLS = ("NA", "N/A", "n/a", "#N/A", "<NA>", "NULL", "null", "NaN", "nan", "?")
NULLS_AMONG_VALUES = (
    "None",
    "none",
    "na",
    "nil",
    "-",
    "--",
    ".",
    " ",
    "missing",
    "Missing",
    "unknown",
    "Unknown",
)
# Up to this share of a column's values may be of no type, for quarantine, before the column counts as text.
_TOLERATED = 0.01

# Tried in this order; the first that fits the column's values names its type and form. {value} is the text.
_TESTS: tuple[tuple[LogicalType, Form, str], ...] = (
    ("bool", "plain", "lower({value}) IN ('true', 'false')"),
    ("int", "plain", "regexp_full_match({value}, '[+-]?(0|[1-9][0-9]{{0,17}})')"),
    (
        "float",
        "plain",
        "isfinite(TRY_CAST({value} AS DOUBLE)) AND NOT regexp_matches({value}, '^0[0-9]|[^-+.0-9eE ]')",
    ),
    (
        "date",
        "plain",
        "length({value}) = 10 AND {value} LIKE '____-__-__' AND TRY_CAST({value} AS DATE) IS NOT NULL",
    ),
    ("timestamp", "plain", "{value} LIKE '____-__-__%' AND TRY_CAST({value} AS TIMESTAMP) IS NOT NULL"),
    (
        "string",
        "thousands",
        "regexp_full_match({value}, '[+-]?([0-9]{{1,3}}(,[0-9]{{3}})+|[0-9]{{1,3}})([.][0-9]+)?')",
    ),
    ("string", "decimal_comma", "regexp_full_match({value}, '[+-]?[0-9]+(,[0-9]+)?')"),
    (
        "string",
        "date_text",
        "regexp_full_match({value}, '[0-9]{{1,4}}[./][0-9]{{1,2}}[./][0-9]{{2,4}}( .*)?')",
    ),
)
# Forms that are told apart from plain numbers only by values that really use a comma.
_NEEDS_COMMA = ("thousands", "decimal_comma")
# Place of the type that takes all that a type takes, and more: where more fits, that one it is.
_WIDER = {
    "int": next(index for index, (type_, _, _) in enumerate(_TESTS) if type_ == "float"),
    "date": next(index for index, (type_, _, _) in enumerate(_TESTS) if type_ == "timestamp"),
}


@dataclass(frozen=True)
class TextType:
    """A type and the form it is written in."""

    type: LogicalType
    form: Form = "plain"


def text_types(
    connection: duckdb.DuckDBPyConnection, source: Source, positions: Sequence[int], delimiter: str
) -> tuple[list[TextType], list[str]]:
    """The type of each column, and the file's spellings of a missing value, the empty cell first.

    One pass over the file for every hundred counts.
    """
    spellings = ", ".join(f"'{spelling}'" for spelling in (*NULLS, *NULLS_AMONG_VALUES))
    expressions: list[str] = []
    for position in positions:
        text = source.columns[position]
        value = f"(CASE WHEN {text} NOT IN ({spellings}) THEN {text} END)"
        expressions += [
            f"count({value})",
            f"list(DISTINCT {text}) FILTER (WHERE {text} IN ({spellings}))",
            f"count(*) FILTER (WHERE {value} LIKE '%,%')",
            f"count(*) FILTER (WHERE regexp_full_match({value}, '0[0-9]+'))",
            *(f"count(*) FILTER (WHERE {test.format(value=value)})" for _, _, test in _TESTS),
        ]
    counts = row_of(connection, source, expressions)
    width = 4 + len(_TESTS)
    types: list[TextType] = []
    nulls: dict[str, None] = {"": None}
    for number in range(len(positions)):
        values, spelled, commas, zeros, *fits = counts[number * width : (number + 1) * width]
        found = _decide(values, commas, zeros, fits, delimiter)
        types.append(found)
        meant = NULLS if found == TextType("string") else (*NULLS, *NULLS_AMONG_VALUES)
        nulls.update(dict.fromkeys(sorted(set(spelled or ()) & set(meant))))
    return types, list(nulls)


def _decide(values: int, commas: int, zeros: int, fits: Sequence[Any], delimiter: str) -> TextType:
    # A leading zero is part of a name (a postcode, a code), never of a number.
    if values == 0 or zeros:
        return TextType("string")
    # 1,234 is a thousand in a file whose cells are parted by commas, and one and a bit where they are not.
    left_out = "thousands" if delimiter == ";" else None
    tolerated = values * _TOLERATED if values >= 100 else 0
    for (type_, form, _), fitting in zip(_TESTS, fits, strict=True):
        wider = _WIDER.get(type_)
        if form == left_out or (form in _NEEDS_COMMA and not commas) or (wider and fits[wider] > fitting):
            continue
        if fitting >= values - tolerated:
            return TextType(type_, form)
    return TextType("string")
