"""The pieces that the stages' own SQL is put together from: sqlglot expressions with every identifier quoted.

`text` writes DuckDB's dialect, which the warehouse transpiles to its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mlops_assets.artifacts import Column

if TYPE_CHECKING:
    from sqlglot import exp


def column(name: str, table: str | None = None) -> exp.Column:
    """A column, quoted."""
    from sqlglot import exp

    return exp.column(name, table, quoted=True)


def relation(name: str) -> exp.Table:
    """`schema.table`, both quoted."""
    from sqlglot import exp

    schema, table = name.split(".", 1)
    return exp.table_(table, db=schema, quoted=True)


def count() -> exp.Count:
    """`COUNT(*)`."""
    from sqlglot import exp

    return exp.Count(this=exp.Star())


def count_where(condition: exp.Expr) -> exp.Count:
    """How many rows meet `condition`."""
    from sqlglot import exp

    return exp.Count(this=exp.Case().when(condition, exp.convert(1)))


def present(name: str) -> exp.Expr:
    """The column is not NULL."""
    from sqlglot import exp

    return column(name).is_(exp.null()).not_()


def as_text(expression: exp.Expr, type_: str) -> exp.Expr:
    """`expression`, of the logical type `type_`, as text; not every warehouse casts a boolean to it."""
    from sqlglot import exp

    if type_ != "bool":
        return exp.cast(expression, "text")
    named = exp.Case().when(expression, exp.convert("true"))
    return named.when(exp.not_(expression.copy()), exp.convert("false"))


# Least magnitude that is beyond the band -> what makes its values whole numbers of at most 15 digits, which a
# double holds exactly. The usual magnitudes come first.
_BANDS = (("1e3", "1e12"), ("1e12", "1e3"), ("1e24", "1e-9"))
_TINY = ("1e-9", "1e24")


def as_stable_text(expression: exp.Expr, type_: str) -> exp.Expr:
    """`expression` as text that is the same on every engine, for hashes.

    Each engine writes a float in its own way (1.0 or 1, 15 digits or 17). So a float is brought to a whole
    number first, by one product, which IEEE 754 rounds alike everywhere, and cut off. Floats that are equal
    stay equal; others become so only where they differ beyond the digits that are kept, or from 1e24 on.
    """
    from sqlglot import exp

    if type_ != "float":
        return as_text(expression, type_)
    double = exp.cast(expression, "double")
    size = exp.Abs(this=double.copy())
    found = exp.Case().when(expression.copy().is_(exp.null()), exp.null())
    for most, factor in (_TINY, *_BANDS):
        scaled = exp.Mul(this=double.copy(), expression=exp.cast(exp.Literal.number(factor), "double"))
        inside = size.copy() < exp.cast(exp.Literal.number(most), "double")
        if (most, factor) == _TINY:
            inside = exp.and_(inside, exp.NEQ(this=double.copy(), expression=exp.convert(0)))
        whole = exp.cast(exp.Floor(this=scaled), "bigint")
        found = found.when(inside, exp.cast(whole, "text"))
    return found.else_(exp.convert("beyond"))


def selected(name: str, columns: Sequence[Column]) -> str:
    """A plain SELECT of `columns` from the relation `name`."""
    from sqlglot import exp

    return text(exp.select(*(column(item.name) for item in columns)).from_(relation(name)))


def text(select: exp.Expr) -> str:
    """The SQL in DuckDB's dialect."""
    return select.sql("duckdb")
