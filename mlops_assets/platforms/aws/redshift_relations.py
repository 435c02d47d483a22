"""What Redshift's catalogue knows of a relation, and changing relations inside a transaction."""

# ruff: noqa: S608 - identifiers are quoted, values are parameters or quoted literals

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mlops_assets.artifacts import Column
from mlops_assets.errors import DataError
from mlops_assets.platforms.aws.redshift_connection import Connection
from mlops_assets.platforms.aws.redshift_sql import (
    LONGEST,
    beside,
    literal,
    logical_type,
    quote,
    quote_relation,
)
from mlops_assets.platforms.sql import split_relation

_RANK = {"smallint": 1, "integer": 2, "bigint": 3, "numeric": 4, "real": 5, "double precision": 6}
_MOMENTS = ("date", "timestamp without time zone", "timestamp with time zone")


def make_schema(connection: Connection, relation: str) -> None:
    """Create the relation's schema where it is missing."""
    connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quote(split_relation(relation)[0])}")


def kind_of(connection: Connection, relation: str) -> str | None:
    """`TABLE`, `VIEW` or `MATERIALIZED VIEW`, or None where there is none."""
    schema, table = split_relation(relation)
    names = {"s": schema, "t": table}
    found = connection.execute(
        "SELECT table_type FROM svv_tables WHERE table_schema = :s AND table_name = :t", names
    )
    if not found.rows:
        return None
    if "VIEW" not in str(found.one()):
        return "TABLE"
    views = connection.execute("SELECT 1 FROM svv_mv_info WHERE schema_name = :s AND name = :t", names)
    return "MATERIALIZED VIEW" if views.rows else "VIEW"


def types_of(connection: Connection, relation: str) -> dict[str, str]:
    """Column -> type, with its length or digits, in order; empty where there is no such relation."""
    schema, table = split_relation(relation)
    found = connection.execute(
        "SELECT column_name, data_type, character_maximum_length, numeric_precision, numeric_scale "
        "FROM svv_columns WHERE table_schema = :s AND table_name = :t ORDER BY ordinal_position",
        {"s": schema, "t": table},
    )
    return {
        str(name): _spelled(str(kind), length, precision, scale)
        for name, kind, length, precision, scale in found.rows
    }


def _spelled(kind: str, length: object, precision: object, scale: object) -> str:
    if kind.startswith("character") and length is not None:
        return f"varchar({length})"
    return f"numeric({precision},{scale})" if kind == "numeric" else kind


def columns_of(connection: Connection, relation: str) -> tuple[Column, ...]:
    """The relation's columns with logical types; empty where there is no such relation."""
    return logical_columns(types_of(connection, relation))


def logical_columns(types: Mapping[str, str]) -> tuple[Column, ...]:
    """Columns of these types with logical ones."""
    return tuple(Column(name=name, type=logical_type(kind.split("(")[0])) for name, kind in types.items())


def create(connection: Connection, relation: str, types: Mapping[str, str], attributes: str = "") -> None:
    """Create a table where it is missing."""
    defined = ", ".join(f"{quote(name)} {kind}" for name, kind in types.items())
    connection.execute(
        f"CREATE TABLE IF NOT EXISTS {quote_relation(relation)} ({defined}) {attributes}".strip()
    )


def drop(connection: Connection, relation: str) -> None:
    """Drop the relation, whichever kind it is, if any.

    Views that hold on to this very relation go along: materialized ones, which are made anew after it, and
    bound ones that somebody made by hand. Late-binding views stay.
    """
    kind = kind_of(connection, relation)
    if kind is not None:
        connection.execute(f"DROP {kind} {quote_relation(relation)} CASCADE")


def swap(connection: Connection, staging: str, relation: str) -> None:
    """Put `staging` in the place of `relation`; the transaction that made it makes it seen."""
    drop(connection, relation)
    connection.execute(
        f"ALTER TABLE {quote_relation(staging)} RENAME TO {quote(split_relation(relation)[1])}"
    )


def lock(connection: Connection, relation: str) -> None:
    """Have no other transaction change or read the table before this one ends, if there is one."""
    if kind_of(connection, relation) == "TABLE":
        connection.execute(f"LOCK TABLE {quote_relation(relation)}")


# --- whose work it is ---------------------------------------------------------------------------------------


def sign(connection: Connection, relation: str, token: str) -> None:
    """Leave a mark on a table that tells which transaction made it what it is."""
    connection.execute(f"COMMENT ON TABLE {quote_relation(relation)} IS {literal(token)}")


def is_signed(connection: Connection, relation: str, token: str) -> bool:
    """Whether the transaction of this token was the last one that changed the table."""
    schema, table = split_relation(relation)
    found = connection.execute(
        "SELECT d.description FROM pg_catalog.pg_description AS d "
        "JOIN pg_catalog.pg_class AS c ON c.oid = d.objoid AND d.objsubid = 0 "
        "JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE n.nspname = :s AND c.relname = :t",
        {"s": schema, "t": table},
    )
    return any(str(value) == token for (value,) in found.rows)


# --- incremental --------------------------------------------------------------------------------------------


def widen(connection: Connection, relation: str, source: str) -> None:
    """Give `relation` the columns it lacks of the table `source`, and types that hold both.

    Redshift changes no type in place, so the table is written anew where one is to be wider.

    Raises:
        DataError: for a column that changed to a type with nothing in common.
    """
    present, coming = types_of(connection, relation), types_of(connection, source)
    for name, kind in coming.items():
        if name not in present:
            connection.execute(f"ALTER TABLE {quote_relation(relation)} ADD COLUMN {quote(name)} {kind}")
    both = {name: _common(name, kind, coming.get(name, kind)) for name, kind in present.items()}
    if both != present:
        added = {name: kind for name, kind in coming.items() if name not in present}
        retype(connection, relation, {**both, **added})


def retype(connection: Connection, relation: str, types: Mapping[str, str]) -> None:
    """Write a table anew with these types, for exactly its columns."""
    wider = beside(relation, "wider")
    create(connection, wider, types)
    names = ", ".join(quote(name) for name in types)
    values = ", ".join(f"CAST({quote(name)} AS {kind})" for name, kind in types.items())
    connection.execute(
        f"INSERT INTO {quote_relation(wider)} ({names}) SELECT {values} FROM {quote_relation(relation)}"
    )
    swap(connection, wider, relation)


def _common(name: str, present: str, coming: str) -> str:
    """A type that holds the values of both."""
    if present == coming:
        return present
    first, second = present.split("(", maxsplit=1)[0], coming.split("(", maxsplit=1)[0]
    if first == second == "varchar":
        return max(present, coming, key=lambda kind: int(kind.split("(")[1].rstrip(")")))
    if "varchar" in (first, second):
        return f"varchar({LONGEST})"
    if first in _RANK and second in _RANK:
        wider = max(present, coming, key=lambda kind: _RANK[kind.split("(")[0]])
        return "double precision" if "numeric" in (first, second) and first != second else wider
    if first in _MOMENTS and second in _MOMENTS:
        return max(first, second, key=_MOMENTS.index)
    raise DataError(
        f"The column {name!r} was {present} and is {coming} now: no type holds both.",
        mend="Cast it in the SQL, or drop the table and build it anew.",
    )


def replace_keys(connection: Connection, relation: str, source: str, unique_key: Sequence[str]) -> None:
    """Delete the rows whose `unique_key` is in the table `source`, insert all of it; NULL equals NULL."""
    target, incoming = quote_relation(relation), quote_relation(source)
    equal = " AND ".join(
        f"({target}.{quote(key)} = {incoming}.{quote(key)} "
        f"OR ({target}.{quote(key)} IS NULL AND {incoming}.{quote(key)} IS NULL))"
        for key in unique_key
    )
    connection.execute(f"DELETE FROM {target} USING {incoming} WHERE {equal}")
    names = ", ".join(quote(name) for name in types_of(connection, source))
    connection.execute(f"INSERT INTO {target} ({names}) SELECT {names} FROM {incoming}")
