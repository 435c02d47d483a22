"""What a SELECT may not do: read other things than the model's tables, or differ from run to run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mlops_assets.errors import DeclarationError

if TYPE_CHECKING:
    from sqlglot import exp

# What changes from one run to the next would make a table that cannot be made again.
_CHANGING = {
    "rand", "random", "uuid", "gen_random_uuid", "uuidv4", "uuidv7", "setseed", "nextval", "currval",
    "now", "today", "get_current_time", "get_current_timestamp", "transaction_timestamp", "txid_current",
    "current_date", "current_time", "current_timestamp", "current_datetime", "localtime", "localtimestamp",
}  # fmt: skip
# What reads something else than the model's own tables.
_OUTSIDE = {"getenv", "current_setting", "getvariable", "query", "query_table", "which_secret"}


def relations_of(expression: exp.Query, path: Path) -> tuple[dict[str, int], list[DeclarationError]]:
    """The tables that a SELECT reads (name in lower case -> line), and what it does but may not."""
    from sqlglot import exp

    relations: dict[str, int] = {}
    mistakes: list[DeclarationError] = []
    own = _cte_references(expression)
    for node in expression.walk():
        if isinstance(node, exp.Table) and id(node) not in own:
            try:
                name = _relation(node, path)
            except DeclarationError as error:
                mistakes.append(error)
            else:
                if name is not None:
                    relations.setdefault(name, line_of(node) or 1)
        elif (forbidden := _forbidden(node)) is not None:
            what, mend = forbidden
            mistakes.append(DeclarationError(what, where=place(path, _placed(node)), mend=mend))
    return relations, mistakes


def _cte_references(expression: exp.Query) -> set[int]:
    """The nodes that look like tables but name a CTE of the statement itself."""
    from sqlglot.optimizer.scope import Scope, traverse_scope

    found: set[int] = set()
    for scope in traverse_scope(expression):
        for node, source in scope.selected_sources.values():
            if isinstance(source, Scope):
                found.add(id(node))
    return found


def _relation(table: exp.Table, path: Path) -> str | None:
    """The table's name in lower case; None for a function that makes rows of its own."""
    from sqlglot import exp

    where = place(path, _placed(table))
    if isinstance(table.this, exp.GenerateSeries):
        return None
    if not isinstance(table.this, exp.Identifier):
        raise DeclarationError(
            f"The table function {_function(table.this)} may not be used here.",
            where=where,
            mend="Read `arrivals` or another table of this model; files are read by arrivals.",
        )
    if table.db:
        raise DeclarationError(
            f"{table.sql(dialect='duckdb', comments=False)} is in a schema; a model reads its own tables.",
            where=where,
            mend="Read `arrivals` or another table of this model, without a schema.",
        )
    return table.name.lower()


def _forbidden(node: exp.Expr) -> tuple[str, str] | None:
    """What is wrong with `node` and the mend, where it may not be used."""
    from sqlglot import exp

    if isinstance(node, exp.Func):
        name, shown = _function(node), node.sql(dialect="duckdb", comments=False)
        if name in _CHANGING:
            what = f"{shown} gives something else at each run, so the table could not be made again."
            return what, "Compute it from a column, such as the time that a row carries."
        if name in _OUTSIDE and not isinstance(node.parent, exp.Table):
            return f"{shown} reads something outside the model's tables.", "Take it out."
    parameter = ("Parameters have no value here.", "Write the value.")
    write = ("The statement writes.", "Write one SELECT and nothing else.")
    refused: dict[type[exp.Expr], tuple[str, str]] = {
        exp.TableSample: (
            "A sample differs from run to run.",
            "Filter by a hash: `WHERE hash(key) % 10 = 0`.",
        ),
        exp.Placeholder: parameter,
        exp.Parameter: parameter,
        exp.Pivot: ("PIVOT hides which columns come out.", "Write `sum(x) FILTER (WHERE kind = 'a') AS a`."),
        exp.Columns: ("COLUMNS(…) hides which columns come out.", "Name the columns."),
        exp.Lateral: (
            "LATERAL does not work on every platform.",
            "Write a window function, or a join with a grouped SELECT.",
        ),
        exp.Insert: write,
        exp.Update: write,
        exp.Delete: write,
        exp.Merge: write,
        exp.DDL: write,
        exp.Into: write,
        exp.Command: write,
    }
    queries = (exp.Select, exp.SetOperation, exp.Subquery)
    return next(
        (why for kind, why in refused.items() if isinstance(node, kind) and not isinstance(node, queries)),
        None,
    )


def _function(node: exp.Expr) -> str:
    from sqlglot import exp

    if isinstance(node, exp.Anonymous):
        return node.name.lower()
    return node.sql_name().lower() if isinstance(node, exp.Func) else node.key


def _placed(node: exp.Expr) -> exp.Expr:
    """The nearest node around `node` whose line is known: functions without arguments have none."""
    current: exp.Expr | None = node
    while current is not None:
        if line_of(current) is not None:
            return current
        current = current.parent
    return node


# --- places -------------------------------------------------------------------------------------------------


def line_of(node: exp.Expr) -> int | None:
    """The line of the first token in `node` whose place is known."""
    for part in node.walk():
        line = part.meta_get("line")
        if line:
            return int(line)
    return None


def place(path: Path, node: exp.Expr) -> str:
    """`file:line` of a node."""
    line = line_of(node)
    return f"{path}:{line}" if line else str(path)
