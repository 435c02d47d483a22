"""From a parsed SQL file to a SqlTable: every column resolved, canonical SQL, column lineage."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_assets.declaration.loaded import SqlTable
from mlops_assets.declaration.restrictions import line_of, place
from mlops_assets.declaration.source import raise_all
from mlops_assets.declaration.sql import SqlFile
from mlops_assets.declaration.suggesting import one_of, suggest
from mlops_assets.errors import DeclarationError

if TYPE_CHECKING:
    from sqlglot import exp
    from sqlglot.lineage import Node
    from sqlglot.optimizer.scope import Scope
    from sqlglot.schema import MappingSchema

ARRIVALS_EXTRA = ("_object", "_row", "_loaded_at")
"""Columns of `arrivals` beside the declared ones; `SELECT *` leaves them out."""

_COLUMN = re.compile(r"^[a-z_][a-z0-9_]{0,126}$")


class Catalog:
    """The columns of the model's tables, as they become known."""

    def __init__(self, model: str, arrivals: Sequence[str]) -> None:
        self.model = model
        self.columns: dict[str, tuple[str, ...]] = {"arrivals": tuple(arrivals)}

    def schema(self) -> MappingSchema:
        """The columns as sqlglot wants them. Types play no part in names."""
        from sqlglot.schema import MappingSchema

        names = {**self.columns, "arrivals": (*self.columns["arrivals"], *ARRIVALS_EXTRA)}
        return MappingSchema(
            {self.model: {table: dict.fromkeys(columns, "UNKNOWN") for table, columns in names.items()}},
            visible={self.model: dict(self.columns)},
            dialect="duckdb",
        )


def resolve(file: SqlFile, catalog: Catalog) -> SqlTable:
    """Resolve every column of `file` against `catalog`, and add the table's own columns to it.

    The canonical SQL has qualified, quoted names, stars expanded and no comments, so that neither a comment
    nor white space changes it.

    Raises:
        DeclarationError: listing each unknown, ambiguous, unnamed or repeated column with its line.

    """
    from sqlglot.errors import SqlglotError
    from sqlglot.lineage import lineage
    from sqlglot.optimizer.qualify import qualify
    from sqlglot.optimizer.scope import build_scope

    raise_all(list(_unnamed(file)))
    schema = catalog.schema()
    try:
        query = qualify(
            file.expression.copy(),
            dialect="duckdb",
            db=catalog.model,
            schema=schema,
            allow_partial_qualification=True,
            validate_qualify_columns=False,
        )
        scope = build_scope(query)
        assert scope is not None  # a SELECT has one
        raise_all([*_unresolved(scope, schema, file.path), *_outputs(query, file)])
        nodes = lineage(None, query, schema, dialect="duckdb", scope=scope, trim_selects=False, copy=False)
    except (SqlglotError, ValueError) as error:
        raise DeclarationError(
            f"The columns cannot be resolved: {str(error).splitlines()[0]}",
            where=place(file.path, file.expression),
            mend="Give each table an alias and each column its table's alias.",
        ) from None
    catalog.columns[file.name] = tuple(nodes)
    return SqlTable(
        name=file.name,
        path=file.path,
        select=query.sql(dialect="duckdb", comments=False),
        materialization=file.materialization,
        unique_key=file.unique_key,
        dependencies=tuple(sorted(file.relations)),
        lineage={column: _origins(node) for column, node in nodes.items()},
        passthrough={column: origin for column, node in nodes.items() if (origin := _copied(node))},
        options=file.options,
        description=file.description,
    )


# --- what is wrong with the columns -------------------------------------------------------------------------


def _unnamed(file: SqlFile) -> Iterator[DeclarationError]:
    from sqlglot import exp

    for number, column in enumerate(file.expression.selects, start=1):
        star = isinstance(column.this if isinstance(column, exp.Column) else column, exp.Star)
        if not star and not column.alias and not isinstance(column, (exp.Column, exp.Dot)):
            yield DeclarationError(
                f"Column {number} ({column.sql(dialect='duckdb', comments=False)}) has no name.",
                where=place(file.path, column),
                mend="Give it one with AS.",
            )


def _outputs(query: exp.Query, file: SqlFile) -> Iterator[DeclarationError]:
    """Mistakes in the names that come out."""
    from sqlglot import exp

    where = place(file.path, file.expression)
    if any(column.is_star for column in query.selects):
        yield DeclarationError("What `*` stands for cannot be told.", where=where, mend="Name the columns.")
        return
    names = [column.alias_or_name for column in query.selects]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield DeclarationError(
            f"Two columns have the name {name!r}.",
            where=where,
            mend="Name one of them with AS, or leave it out.",
        )
    for name in names:
        if not _COLUMN.match(name):
            yield DeclarationError(
                f"The column name {name!r} does not work on every platform.",
                where=where,
                mend="Use lower-case letters, digits and underscores.",
            )
    for union in query.find_all(exp.SetOperation):
        left, right = (len(side.selects) for side in (union.left, union.right) if isinstance(side, exp.Query))
        if left != right and not union.args.get("by_name"):
            yield DeclarationError(
                f"The two sides of {union.key.upper()} have {left} and {right} columns.",
                where=where,
                mend="Select the same columns on both sides.",
            )
    for name in file.unique_key:
        if name not in names:
            yield DeclarationError(
                f"unique_key names the unknown column {name!r}.",
                where=f"{file.path}:{file.lines['unique_key']}",
                mend=suggest(name, names, one_of(names)),
            )


def _unresolved(root: Scope, schema: MappingSchema, path: Path) -> Iterator[DeclarationError]:
    """Columns that no table in reach has, or that more than one has."""
    seen: set[int] = set()
    for scope in root.traverse():
        for whole in scope.table_columns:
            yield DeclarationError(
                f"{whole.name!r} is a whole row, not a column.",
                where=place(path, whole),
                mend="Name its columns.",
            )
        for column in scope.columns:
            # A column without a place was not written but made, from USING or a star: it is right as it is.
            if id(column) in seen or line_of(column) is None:
                continue
            seen.add(id(column))
            reach = _reach(_owner(scope, column.table, schema), schema)
            names = reach.get(column.table, ())
            if names is not None and column.name not in names:
                yield _column_mistake(column, reach, path)


def _owner(scope: Scope, table: str, schema: MappingSchema) -> Scope:
    """The nearest scope, from this one outwards, that selects from `table`; this one where none does."""
    current: Scope | None = scope
    while current is not None:
        if not table or table in _reach(current, schema):
            return current
        closed = current.is_cte or (current.is_derived_table and not current.can_be_correlated)
        current = None if closed else current.parent
    return scope


def _reach(scope: Scope, schema: MappingSchema) -> dict[str, tuple[str, ...] | None]:
    """Alias -> columns of what the scope selects from; None where they are not known."""
    from sqlglot import exp

    sources = {alias: source for alias, (_, source) in scope.selected_sources.items()}
    # The other side of a SEMI or ANTI join is selected from by its ON alone.
    for join in scope.expression.args.get("joins") or ():
        if join.alias_or_name in scope.sources:
            sources.setdefault(join.alias_or_name, scope.sources[join.alias_or_name])
    found: dict[str, tuple[str, ...] | None] = {}
    for alias, source in sources.items():
        if isinstance(source, exp.Table):
            names = tuple(schema.column_names(source)) if source.db else ()
        else:
            inner = source.expression
            names = (
                tuple(inner.named_selects) if isinstance(inner, exp.Query) else tuple(source.outer_columns)
            )
        found[alias] = None if not names or "*" in names else names
    return found


def _column_mistake(
    column: exp.Column, reach: Mapping[str, tuple[str, ...] | None], path: Path
) -> DeclarationError:
    table, name = column.table, column.name
    where = place(path, column)
    if table and table not in reach:
        return DeclarationError(
            f"There is no table or alias {table!r} here.",
            where=where,
            mend=suggest(table, reach, one_of(reach)),
        )
    owners = [alias for alias, names in reach.items() if names and name in names]
    if not table and len(owners) > 1:
        return DeclarationError(
            f"The column {name!r} is in {' and in '.join(owners)}.",
            where=where,
            mend=f"Write {owners[0]}.{name}.",
        )
    known = [item for alias, names in reach.items() if table in ("", alias) for item in names or ()]
    return DeclarationError(
        f"Unknown column {name!r}.", where=where, mend=suggest(name, known, one_of(dict.fromkeys(known)))
    )


# --- lineage ------------------------------------------------------------------------------------------------


def _origins(node: Node) -> tuple[tuple[str, str], ...]:
    return tuple(sorted({origin for leaf in node.walk() if (origin := _leaf(leaf))}))


def _copied(node: Node) -> tuple[str, str] | None:
    """The column that `node` copies unchanged, where each step on the way is nothing but a column."""
    from sqlglot import exp

    while not isinstance(node.expression, exp.Table):
        if len(node.downstream) != 1 or not isinstance(node.expression.unalias(), exp.Column):
            return None
        (node,) = node.downstream
    return _leaf(node)


def _leaf(node: Node) -> tuple[str, str] | None:
    from sqlglot import exp

    if not isinstance(node.expression, exp.Table) or not node.expression.db:
        return None
    return node.expression.name, exp.to_column(node.name).name
