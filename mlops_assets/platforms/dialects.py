"""Where a warehouse's dialect says something in another way than DuckDB, beyond what sqlglot knows.

One table: kind of expression -> the function that rewrites it, or refuses it with the mend.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from mlops_assets.errors import DataError

if TYPE_CHECKING:
    from sqlglot import exp

    Rewrite = Callable[[Any], exp.Expr]


def rewrite(tree: exp.Expr, dialect: str) -> exp.Expr:
    """The statement with everything that `dialect` lacks said in its own way; inner expressions first.

    Raises:
        DataError: for what it cannot say at all.
    """
    table = rewrites(dialect)
    if not table:
        return tree
    found = [node for node in tree.walk(bfs=False) if type(node) in table]
    for node in reversed(found):
        made = table[type(node)](node)
        if node is tree:
            tree = made
        elif made is not node:
            node.replace(made)
    return tree


@cache
def rewrites(dialect: str) -> Mapping[type[exp.Expr], Rewrite]:
    """Kind of expression -> its rewriting for `dialect`."""
    if dialect == "bigquery":
        from mlops_assets.platforms import dialect_bigquery

        return dialect_bigquery.rewrites()
    from sqlglot import exp
    from sqlglot.transforms import eliminate_qualify

    def without_qualify(select: exp.Select) -> exp.Expr:
        if select.args.get("qualify") and select.is_star:
            raise _cannot("SELECT * with QUALIFY", "Name the columns.")
        return eliminate_qualify(select.copy()) if select.args.get("qualify") else select

    redshift: dict[type[exp.Expr], Rewrite] = {
        exp.Filter: _filter_as_case,
        exp.NullSafeEQ: _equal_or_both_null,
        exp.NullSafeNEQ: lambda node: exp.not_(_equal_or_both_null(node)),
        exp.Avg: _average_of_doubles,
        exp.Window: _with_frame,
        exp.GenerateSeries: _series_of_a_table,
        exp.Table: _numbers,
        exp.Substring: _substring,
        exp.Placeholder: lambda node: exp.Var(this=f":{node.name}"),
        exp.Select: without_qualify,
        exp.ArrayAgg: refused("A list of values", "Aggregate with listagg-like text, or keep rows."),
        exp.Unnest: refused("UNNEST", "Keep one value per row."),
    }
    return {"redshift": redshift}.get(dialect, {})


def _cannot(what: str, mend: str) -> DataError:
    return DataError(f"{what} cannot be written for this warehouse.", mend=mend)


def refused(what: str, mend: str) -> Rewrite:
    """A rewriting that refuses."""

    def refuse(_: Any) -> exp.Expr:
        raise _cannot(what, mend)

    return refuse


def _filter_as_case(node: exp.Filter) -> exp.Expr:
    """`f(x) FILTER (WHERE c)` as `f(CASE WHEN c THEN x END)`; aggregates pass over NULL."""
    from sqlglot import exp

    aggregate, condition = node.this.copy(), node.expression.this
    inside = aggregate.this
    if isinstance(inside, exp.Distinct):
        values = [exp.Case().when(condition.copy(), value) for value in inside.expressions]
        inside.set("expressions", values)
    else:
        value = exp.convert(1) if isinstance(inside, exp.Star) else inside
        aggregate.set("this", exp.Case().when(condition.copy(), value))
    return aggregate


def _equal_or_both_null(node: exp.Binary) -> exp.Expr:
    from sqlglot import exp

    left, right = node.this, node.expression
    both_null = exp.and_(left.copy().is_(exp.null()), right.copy().is_(exp.null()))
    equal = exp.func("COALESCE", exp.EQ(this=left.copy(), expression=right.copy()), exp.false())
    return exp.paren(exp.or_(equal, both_null))


def _average_of_doubles(node: exp.Avg) -> exp.Expr:
    """The average of whole numbers is a whole number in Redshift, cut off."""
    from sqlglot import exp

    inside = node.this
    if isinstance(inside, exp.Distinct):
        inside.set("expressions", [exp.cast(value, "double") for value in inside.expressions])
    elif not (isinstance(inside, exp.Cast) and inside.is_type("double")):
        node.set("this", exp.cast(inside.copy(), "double"))
    return node


def _with_frame(node: exp.Window) -> exp.Expr:
    """An ordered window of an aggregate needs its frame said; none means the same as RANGE, which lacks."""
    from sqlglot import exp

    spec = node.args.get("spec")
    is_ordered_aggregate = isinstance(node.this, exp.AggFunc) and node.args.get("order")
    unframed = is_ordered_aggregate and not isinstance(
        node.this, (exp.RowNumber, exp.FirstValue, exp.LastValue, exp.Lag, exp.Lead)
    )
    if unframed and (spec is None or spec.args.get("kind") == "RANGE"):
        raise _cannot(
            f"{node.this.sql('duckdb')} OVER (… ORDER BY …) without ROWS",
            "Say the frame, such as ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW.",
        )
    return node


def _substring(node: exp.Substring) -> exp.Expr:
    from sqlglot import exp

    parts = [node.this, node.args.get("start"), node.args.get("length")]
    return exp.Anonymous(this="SUBSTRING", expressions=[part for part in parts if part is not None])


def _series_of_a_table(node: exp.GenerateSeries) -> exp.Expr:
    """A series is rewritten with the table that it makes; it makes nothing else."""
    from sqlglot import exp

    if not isinstance(node.parent, exp.Table):
        raise _cannot("A series that is not in FROM", "Select from it: FROM range(10) AS r(i).")
    return node


def _numbers(node: exp.Table) -> exp.Expr:
    """A series of whole numbers out of digits: what makes rows of its own runs on the leader node alone."""
    from sqlglot import exp

    series = node.this
    if not isinstance(series, exp.GenerateSeries):
        return node
    bounds = [series.args.get("start"), series.args.get("end")]
    if not all(isinstance(bound, exp.Literal) and bound.is_int for bound in bounds):
        raise _cannot("A series whose bounds are not whole numbers", "Write the bounds as numbers.")
    start, end = (int(bound.name) for bound in bounds if bound is not None)
    count = max(0, end - start + (0 if series.args.get("is_end_exclusive") else 1))
    places = range(max(1, len(str(max(0, count - 1)))))
    digits = " UNION ALL ".join(f"SELECT {digit} AS d" for digit in range(10))
    number = " + ".join(f"d{place}.d * {10**place}" for place in places)
    columns = node.alias_column_names
    name = exp.to_identifier(columns[0] if columns else "generate_series", quoted=True).sql("duckdb")
    tables = ", ".join(f"({digits}) AS d{place}" for place in places)
    rows = f"SELECT CAST({start} + {number} AS BIGINT) AS {name} FROM {tables} WHERE {number} < {count}"  # noqa: S608
    select = exp.maybe_parse(rows, dialect="duckdb", into=exp.Select)
    return select.subquery(node.alias or "series", copy=False)
