"""What the DuckDB catalogue knows of a relation, and swapping a new one in for the old."""

# ruff: noqa: S608 - identifiers are quoted, values are parameters or quoted literals

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mlops_assets.artifacts import Column
from mlops_assets.artifacts.values import LogicalType
from mlops_assets.platforms.arriving.typed_values import INTEGERS
from mlops_assets.platforms.sql import quote, quote_relation, split_relation

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_LOGICAL: dict[str, LogicalType] = {
    **dict.fromkeys(INTEGERS, "int"),
    **dict.fromkeys(("FLOAT", "DOUBLE"), "float"),
    "BOOLEAN": "bool",
    "DATE": "date",
}


def logical_type(kind: str) -> LogicalType:
    """The logical type of a DuckDB type; what has none of its own, as nested ones have not, is a string."""
    if kind.endswith("]"):  # of decimals or timestamps, too
        return "string"
    if kind.startswith("DECIMAL"):
        return "float"
    if kind.startswith("TIMESTAMP"):
        return "timestamp"
    return _LOGICAL.get(kind, "string")


def existing_types(connection: DuckDBPyConnection, relation: str) -> dict[str, str]:
    """Column -> DuckDB type, in order; empty where the relation does not exist."""
    found = connection.execute(
        "SELECT column_name, data_type FROM duckdb_columns() WHERE database_name = current_database() "
        "AND schema_name = ? AND table_name = ? ORDER BY column_index",
        list(split_relation(relation)),
    )
    return {str(name): str(kind) for name, kind in found.fetchall()}


def columns_of(connection: DuckDBPyConnection, relation: str) -> tuple[Column, ...]:
    """The relation's columns with logical types; empty where it does not exist."""
    types = existing_types(connection, relation)
    return tuple(Column(name=name, type=logical_type(kind)) for name, kind in types.items())


def kind_of(connection: DuckDBPyConnection, relation: str) -> str | None:
    """`TABLE` or `VIEW`, or None where there is neither."""
    schema, table = split_relation(relation)
    found = connection.execute(
        "SELECT 'TABLE' FROM duckdb_tables() WHERE schema_name = $1 AND table_name = $2 "
        "UNION ALL SELECT 'VIEW' FROM duckdb_views() WHERE schema_name = $1 AND view_name = $2",
        [schema, table],
    ).fetchall()
    return str(found[0][0]) if found else None


def make_schema(connection: DuckDBPyConnection, relation: str) -> None:
    """Create the relation's schema where it is missing."""
    connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quote(split_relation(relation)[0])}")


def drop(connection: DuckDBPyConnection, relation: str) -> None:
    """Drop the table or view, whichever it is, if any."""
    kind = kind_of(connection, relation)
    if kind is not None:
        connection.execute(f"DROP {kind} {quote_relation(relation)}")


def swap(connection: DuckDBPyConnection, staging: str, relation: str) -> None:
    """Put `staging` in the place of `relation`; to be called in the transaction that made it."""
    drop(connection, relation)
    connection.execute(
        f"ALTER TABLE {quote_relation(staging)} RENAME TO {quote(split_relation(relation)[1])}"
    )


def widen(connection: DuckDBPyConnection, relation: str, source: str) -> None:
    """Give `relation` the columns it lacks of `source` (any SQL relation), and types that hold both."""
    target = quote_relation(relation)
    present = existing_types(connection, relation)
    both = f"SELECT * FROM {target} UNION ALL BY NAME SELECT * FROM {source}"
    described = connection.execute(f"DESCRIBE {both}").fetchall()
    folded = {name.lower(): kind for name, kind in present.items()}
    for name, kind, *_ in described:
        if name.lower() not in folded:
            connection.execute(f"ALTER TABLE {target} ADD COLUMN {quote(name)} {kind}")
        elif folded[name.lower()] != kind:
            connection.execute(f"ALTER TABLE {target} ALTER COLUMN {quote(name)} SET DATA TYPE {kind}")


def replace_keys(
    connection: DuckDBPyConnection, relation: str, source: str, unique_key: Sequence[str]
) -> None:
    """Delete the rows whose `unique_key` is in `source`, then insert all of it; NULL equals NULL."""
    target = quote_relation(relation)
    keys = ", ".join(quote(key) for key in unique_key)
    equal = " AND ".join(
        f"target.{quote(key)} IS NOT DISTINCT FROM incoming.{quote(key)}" for key in unique_key
    )
    connection.execute(
        f"DELETE FROM {target} AS target USING (SELECT DISTINCT {keys} FROM {source}) AS incoming "
        f"WHERE {equal}"
    )
    connection.execute(f"INSERT INTO {target} BY NAME SELECT * FROM {source}")
