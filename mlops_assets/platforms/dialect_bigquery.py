"""Where BigQuery says something in another way than DuckDB, beyond what sqlglot knows; its names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlglot import exp

    from mlops_assets.platforms.dialects import Rewrite

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ESCAPE = re.compile(r"_x([0-9a-f]{2,6})_")


def encoded(name: str) -> str:
    """`name` in letters, digits and underscores, which every name of BigQuery may hold.

    >>> encoded("price"), encoded("a b"), encoded("1st")
    ('price', 'a_x20_b', '_x31_st')
    """
    safe = _ESCAPE.sub(lambda match: f"_x5f_{match[0][1:]}", name)
    if _PLAIN.fullmatch(safe):
        return safe
    plain = [letter if re.fullmatch(r"[A-Za-z0-9_]", letter) else _escaped(letter) for letter in safe]
    if plain[0].isdigit():
        plain[0] = _escaped(plain[0])
    return "".join(plain)


def decoded(name: str) -> str:
    """What `encoded` was given.

    >>> decoded("a_x20_b"), decoded(encoded("_x20_"))
    ('a b', '_x20_')
    """
    return _ESCAPE.sub(lambda match: chr(int(match[1], 16)), name)


def _escaped(letter: str) -> str:
    return f"_x{ord(letter):02x}_"


def rewrites() -> Mapping[type[exp.Expr], Rewrite]:
    """Kind of expression -> its rewriting."""
    from sqlglot import exp

    from mlops_assets.platforms.dialects import refused

    quantile = refused("A quantile of a group", "Use it as a window function, or min, max or avg.")

    def window_alone(node: exp.PercentileCont | exp.PercentileDisc) -> exp.Expr:
        return node if isinstance(node.parent, exp.Window) else quantile(node)

    return {
        exp.DPipe: _joined_texts,
        exp.Table: _numbers,
        exp.Identifier: _identifier,
        exp.Anonymous: _function,
        exp.Median: quantile,
        exp.Quantile: quantile,
        exp.PercentileCont: window_alone,
        exp.PercentileDisc: window_alone,
    }


def _identifier(node: exp.Identifier) -> exp.Expr:
    node.set("this", encoded(node.name))
    return node


def _function(node: exp.Anonymous) -> exp.Expr:
    if node.name.lower() == "strlen":
        node.set("this", "BYTE_LENGTH")
    return node


def _joined_texts(node: exp.DPipe) -> exp.Expr:
    """`||` turns nothing into text by itself here."""
    from sqlglot import exp

    def as_text(value: Any) -> exp.Expr:
        is_text = isinstance(value, exp.DPipe) or (isinstance(value, exp.Literal) and value.is_string)
        is_text = is_text or (isinstance(value, exp.Cast) and value.is_type("text", "varchar"))
        return value if is_text else exp.cast(value, "text")

    node.set("this", as_text(node.this))
    node.set("expression", as_text(node.expression))
    return node


def _numbers(node: exp.Table) -> exp.Expr:
    """A series with the name of its column, which UNNEST's own alias would hide."""
    from sqlglot import exp

    series = node.this
    if not isinstance(series, exp.GenerateSeries):
        return node
    start, end = series.args["start"], series.args["end"]
    if series.args.get("is_end_exclusive"):
        end = exp.Sub(this=exp.paren(end.copy()), expression=exp.Literal.number(1))
    column = (node.alias_column_names or ["generate_series"])[0]
    array = exp.GenerateSeries(this=None, start=start.copy(), end=end, step=series.args.get("step"))
    unnested = exp.Unnest(expressions=[array], alias=exp.TableAlias(columns=[exp.to_identifier(column)]))
    select = exp.select(exp.column(column)).from_(unnested)
    return select.subquery(node.alias or "series", copy=False)
