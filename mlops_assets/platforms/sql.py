"""SQL that every platform shares: quoting, relation names, DuckDB's dialect transpiled to the platform's."""

from __future__ import annotations

from functools import lru_cache

from mlops_assets.errors import DataError

DIALECT = "duckdb"


def quote(identifier: str, dialect: str = DIALECT) -> str:
    """`identifier` quoted for `dialect`, whatever it holds.

    >>> quote("price")
    '"price"'

    Raises:
        DataError: for an empty name or one with a NUL byte, which no dialect can hold.
    """
    if not identifier or "\x00" in identifier:
        raise DataError(f"{identifier!r} is not a name.", mend="Give the table or column a name.")
    if dialect == DIALECT:
        return '"' + identifier.replace('"', '""') + '"'
    from sqlglot import exp

    return exp.to_identifier(identifier, quoted=True).sql(dialect=dialect)


def split_relation(relation: str) -> tuple[str, str]:
    """Schema and table of `schema.table`.

    Raises:
        DataError: where it does not have exactly these two parts.
    """
    schema, dot, table = relation.partition(".")
    if not (schema and dot and table) or "." in table:
        raise DataError(f"{relation!r} is not a relation.", mend="Name it `schema.table`.")
    return schema, table


def quote_relation(relation: str, dialect: str = DIALECT) -> str:
    """`schema.table` with both parts quoted."""
    schema, table = split_relation(relation)
    return f"{quote(schema, dialect)}.{quote(table, dialect)}"


def literal(text: str) -> str:
    """`text` as a string literal, for the places where DuckDB takes no parameter (COPY, views)."""
    return "'" + text.replace("'", "''") + "'"


@lru_cache(maxsize=256)
def transpile(select: str, dialect: str) -> str:
    """One statement in DuckDB's dialect as a statement of `dialect`; unchanged where that is DuckDB's.

    Elsewhere its parameters `?` become `:p1`, `:p2`, …, in the order in which they are written.

    Raises:
        DataError: for more than one statement, or what `dialect` cannot express.
    """
    if dialect == DIALECT:
        return select
    import sqlglot
    from sqlglot.errors import SqlglotError

    from mlops_assets.platforms.dialects import rewrite

    try:
        statements = [item for item in sqlglot.parse(_numbered(select), read=DIALECT) if item is not None]
        if len(statements) != 1:
            raise DataError(f"{len(statements)} statements where one was expected.", mend="Keep one SELECT.")
        written = rewrite(statements[0], dialect)
        return written.sql(dialect, identify=True, unsupported_level=sqlglot.ErrorLevel.RAISE, comments=False)
    except SqlglotError as error:
        raise DataError(
            f"The SQL cannot be written in {dialect}: {str(error).splitlines()[0]}",
            mend="Rewrite the expression with functions that both have.",
        ) from error


def _numbered(select: str) -> str:
    """The statement with its parameters by name; the order in its tree is not the order in its text."""
    from sqlglot import TokenType
    from sqlglot.dialects.dialect import Dialect

    if "?" not in select:
        return select
    marks = [
        token
        for token in Dialect.get_or_raise(DIALECT).tokenize(select)
        if token.token_type is TokenType.PLACEHOLDER
    ]
    pieces, at = [], 0
    for number, mark in enumerate(marks, start=1):
        pieces += [select[at : mark.start], f"$p{number}"]
        at = mark.end + 1
    return "".join([*pieces, select[at:]])
