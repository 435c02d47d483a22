"""Redshift's own spelling: literals, types, names of staging relations."""

from __future__ import annotations

import uuid
from collections.abc import Mapping

from mlops_assets.artifacts.values import LogicalType
from mlops_assets.platforms import sql

DIALECT = "redshift"
LONGEST = 65_535
"""Bytes of the longest VARCHAR."""

STORED: Mapping[str, str] = {
    "int": "bigint",
    "float": "double precision",
    "bool": "boolean",
    "string": f"varchar({LONGEST})",
    "timestamp": "timestamp",
    "date": "date",
}
"""Logical type -> column type."""

_LOGICAL: Mapping[str, LogicalType] = {
    "smallint": "int",
    "integer": "int",
    "bigint": "int",
    "real": "float",
    "double precision": "float",
    "numeric": "float",
    "boolean": "bool",
    "date": "date",
}


def quote(name: str) -> str:
    """`name` quoted."""
    return sql.quote(name, DIALECT)


def quote_relation(relation: str) -> str:
    """`schema.table` with both parts quoted."""
    return sql.quote_relation(relation, DIALECT)


def literal(text: str) -> str:
    """`text` as a string literal; a backslash would escape what follows, the closing quote included."""
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


def logical_type(kind: str) -> LogicalType:
    """The logical type of a type as the catalogue spells it; what has none of its own is a string."""
    if kind.startswith("timestamp"):
        return "timestamp"
    return _LOGICAL.get(kind, "string")


def beside(relation: str, purpose: str = "staging") -> str:
    """A name in the same schema that nobody has; Redshift's names have 127 bytes at most."""
    schema, table = sql.split_relation(relation)
    return f"{schema}.{table[:80]}__{purpose}_{uuid.uuid4().hex[:8]}"
