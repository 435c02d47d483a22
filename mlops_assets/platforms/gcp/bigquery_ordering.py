"""The order of a SELECT as a column of numbers, for what keeps columns and not the order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_assets.errors import DataError
from mlops_assets.platforms.gcp.bigquery_sql import DIALECT

if TYPE_CHECKING:
    from sqlglot import exp

NUMBER = "__number"
_BY = "__by_"


def numbered(sql: str) -> str | None:
    """The SELECT with its rows' numbers as one more column, the last; None where it says no order.

    >>> numbered("SELECT a FROM m.t ORDER BY a")
    'SELECT *, ROW_NUMBER() OVER (ORDER BY `a`) AS `__number` FROM (SELECT a FROM m.t) AS `rows`'

    Raises:
        DataError: for an order that cannot be said of the result's own rows.
    """
    import sqlglot
    from sqlglot import exp

    tree = sqlglot.parse_one(sql, read=DIALECT)
    assert isinstance(tree, exp.Query)
    order = tree.args.get("order")
    if order is None:
        return None
    limited = tree.args.get("limit") is not None or tree.args.get("offset") is not None
    hidden, terms = [], []
    for place, item in enumerate(order.expressions):
        term, by = item.copy(), _meant(tree, item.this)
        if isinstance(by, str):
            term.set("this", exp.column(by, quoted=True))
        else:
            hidden.append(exp.alias_(by.copy(), f"{_BY}{place}", quoted=True))
            term.set("this", exp.column(f"{_BY}{place}", quoted=True))
        terms.append(term)
    if hidden:
        if not isinstance(tree, exp.Select) or tree.args.get("distinct"):
            raise DataError(
                "An ordered UNION or DISTINCT is to be ordered by its own columns.",
                mend="Select what it is ordered by.",
            )
        tree = tree.select(*hidden, append=True, copy=True)
    if not limited:
        tree = tree.copy()
        tree.set("order", None)
    window = exp.Window(this=exp.RowNumber(), order=exp.Order(expressions=terms))
    star = (
        exp.Star(except_=[exp.to_identifier(item.alias, quoted=True) for item in hidden])
        if hidden
        else exp.Star()
    )
    return (
        exp.select(star, exp.alias_(window, NUMBER, quoted=True))
        .from_(tree.subquery(exp.to_identifier("rows", quoted=True), copy=False))
        .sql(DIALECT)
    )


def _meant(tree: exp.Query, by: exp.Expr) -> exp.Expr | str:
    """What an item of ORDER BY means: a column of the result by its name, or an expression inside it."""
    from sqlglot import exp

    names = [item.alias_or_name for item in tree.selects]
    if isinstance(by, exp.Literal) and by.is_int:
        name = names[int(by.name) - 1]
        if name and name != "*":
            return name
        raise DataError("A column without a name is no order.", mend="Name the column, and order by it.")
    if isinstance(by, exp.Column) and not by.table and by.name in names:
        return by.name
    return by
