"""BigQuery's own spelling: names, literals, parameters, names of staging relations."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mlops_assets.platforms import sql
from mlops_assets.platforms.dialect_bigquery import encoded
from mlops_assets.platforms.gcp.bigquery_types import arrow_type

if TYPE_CHECKING:
    import pyarrow as pa

DIALECT = "bigquery"
STORED: Mapping[str, str] = {
    "int": "INT64",
    "float": "FLOAT64",
    "bool": "BOOL",
    "string": "STRING",
    "timestamp": "DATETIME",
    "date": "DATE",
}
"""Logical type -> column type. A timestamp here has no zone, as DATETIME has none."""

_CATALOGUE = re.compile(r"`information_schema`\.`(\w+)`", re.IGNORECASE)


def quote(name: str) -> str:
    """`name` encoded and quoted."""
    return sql.quote(encoded(name), DIALECT)


def quote_relation(relation: str) -> str:
    """`schema.table` with both parts encoded and quoted."""
    schema, table = sql.split_relation(relation)
    return f"{quote(schema)}.{quote(table)}"


def literal(text: str) -> str:
    """`text` as a string literal, on one line."""
    import json

    # JSON's escapes are BigQuery's, beyond the plane that has four digits.
    return json.dumps(text, ensure_ascii=False)


def transpiled(select: str, location: str) -> str:
    """A statement in DuckDB's dialect; the catalogue is the location's."""
    written = sql.transpile(select, DIALECT)
    return _CATALOGUE.sub(lambda m: f"`region-{location.lower()}`.INFORMATION_SCHEMA.{m[1].upper()}", written)


def logical_schema(columns: Mapping[str, str]) -> pa.Schema:
    """The schema of parts whose columns have these logical types, under BigQuery's names."""
    import pyarrow as pa

    return pa.schema([(encoded(name), arrow_type(STORED[kind])) for name, kind in columns.items()])


def parameter_type(value: Any) -> str:
    """The type of a parameter."""
    from datetime import date, datetime

    kinds = ((bool, "BOOL"), (int, "INT64"), (float, "FLOAT64"), (datetime, "DATETIME"), (date, "DATE"))
    if isinstance(value, datetime) and value.tzinfo is not None:
        return "TIMESTAMP"
    return next((name for kind, name in kinds if isinstance(value, kind)), "STRING")


def beside(relation: str, purpose: str = "staging") -> str:
    """A name in the same schema that nobody has."""
    schema, table = sql.split_relation(relation)
    return f"{schema}.{table[:200]}__{purpose}_{uuid.uuid4().hex[:8]}"
