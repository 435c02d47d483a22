"""Redshift's expressions and types in PostgreSQL's spelling, and PostgreSQL's own features refused."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mlops_assets_tests.standins.redshift.tokens import Token, closing, word
from mlops_assets_tests.standins.redshift.wire import FEATURE, RedshiftError

# What PostgreSQL would take and Redshift does not; each is matched on the words outside of literals.
_REFUSED = {
    name: re.compile(pattern, re.I)
    for name, pattern in {
        "ON CONFLICT": r"\bON CONFLICT\b",
        "RETURNING": r"\bRETURNING\b",
        "CREATE INDEX": r"^CREATE (UNIQUE )?INDEX\b",
        "DISTINCT ON": r"\bDISTINCT ON \(",
        "IS DISTINCT FROM": r"\bIS (NOT )?DISTINCT FROM\b",
        "LATERAL": r"\bLATERAL\b",
        "FILTER": r"\) FILTER \( WHERE\b",
        "VALUES in FROM": r"\bFROM \( VALUES\b",
        "generate_series": r"\bgenerate_series \(",
        "array_agg": r"\barray_agg \(",
        "string_agg": r"\bstring_agg \(",
        "QUALIFY (not built into this stand-in)": r"\bQUALIFY\b",
        "PIVOT (not built into this stand-in)": r"\bPIVOT \(",
        "MERGE (not built into this stand-in)": r"^MERGE\b",
        "type jsonb": r"\bJSONB\b",
        "type SERIAL": r"\b(BIG)?SERIAL\b",
        "CREATE EXTERNAL": r"^CREATE EXTERNAL\b",
    }.items()
}
# Functions whose first argument is a unit without quotes.
_UNITS = {"DATEADD", "DATE_ADD", "DATEDIFF", "DATE_DIFF"}
TYPES = {
    "SUPER": "jsonb",
    "VARBYTE": "bytea",
    "VARBINARY": "bytea",
    "NVARCHAR": "varchar",
    "NCHAR": "char",
    "BPCHAR": "char",
    "TIMESTAMPTZ": "timestamptz",
}
_RENAMED = {"NVL": "COALESCE", "LEN": "LENGTH"}
LONGEST = 65_535
_AGGREGATES = {"SUM", "COUNT", "AVG", "MIN", "MAX", "STDDEV_SAMP", "VAR_SAMP", "STDDEV", "VARIANCE"}


def refuse(parts: Sequence[Token]) -> None:
    """Raise what the service says to a feature that it does not have."""
    plain = " ".join(part.text for part in parts if part.kind not in ("string", "dollar", "quoted"))
    for name, pattern in _REFUSED.items():
        if pattern.search(plain):
            raise RedshiftError(f"{name} is not supported by Amazon Redshift", FEATURE)
    _refuse_unframed(parts)


def _refuse_unframed(parts: Sequence[Token]) -> None:
    """An aggregate OVER an order must say its frame, and the frame counts rows."""
    opened: list[int] = []
    calls: dict[int, str] = {}  # closing bracket -> what stands before its opening one
    for at, part in enumerate(parts):
        if part.text == "(":
            opened.append(at)
        elif part.text == ")" and opened:
            start = opened.pop()
            calls[at] = parts[start - 1].key if start else ""
    for at, part in enumerate(parts[:-1]):
        if part.key == "OVER" and parts[at + 1].text == "(" and calls.get(at - 1) in _AGGREGATES:
            window = [item.key for item in parts[at + 1 : closing(parts, at + 1)]]
            if "ORDER" in window and "ROWS" not in window:
                words = "Aggregate window functions with an ORDER BY clause require a frame clause"
                raise RedshiftError(words, FEATURE)


def expressions(parts: Sequence[Token], *, case_sensitive: bool) -> list[Token]:
    """The tokens with every function, type and name in PostgreSQL's spelling.

    Args:
        parts: tokens of a statement, or of a part of one.
        case_sensitive: as `enable_case_sensitive_identifier` says; else quoted names fold to lower case too.
    """
    found: list[Token] = []
    integers: set[int] = set()  # closing brackets of EXTRACT, which gives an integer
    for at, part in enumerate(parts):
        before = parts[at - 1].text if at else ""
        after = parts[at + 1].text if at + 1 < len(parts) else ""
        if part.kind == "quoted" and not case_sensitive:
            found.append(Token("quoted", part.text.lower(), part.before))
        elif part.kind == "word":
            if part.key == "EXTRACT" and after == "(":
                integers.add(closing(parts, at + 1))
            in_unit = before == "(" and at >= 2 and parts[at - 2].key in _UNITS
            found.append(Token("word", _word(part, before, after, in_unit=in_unit), part.before))
        else:
            found.append(part)
        if at in integers:
            found.append(word("::integer"))
    return found


def _word(part: Token, before: str, after: str, *, in_unit: bool) -> str:
    key = part.key
    if in_unit:
        return f"'{part.text}'"
    if key in _RENAMED and after == "(":
        return _RENAMED[key]
    if key == "MAX" and before == "(" and after == ")":
        return str(LONGEST)
    if key == "SYSDATE":
        return "getdate()"
    if key in TYPES and (before == "::" or before.upper() == "AS"):
        return TYPES[key]
    return part.text
