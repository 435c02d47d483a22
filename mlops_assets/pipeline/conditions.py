"""Declared column checks as SQL conditions that an arriving row must meet, by quarantine's reason."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING

from mlops_assets.declaration.schema import Arrivals, ColumnCheck
from mlops_assets.errors import DeclarationError

if TYPE_CHECKING:
    from sqlglot import exp

_NUMBERS = ("int", "float")
_SHOWN = 60


def conditions(arrivals: Arrivals) -> dict[str, str]:
    """Reason -> condition in DuckDB's dialect. A missing value meets every condition but `not_null`.

    >>> from mlops_assets.declaration.schema import Arrivals
    >>> conditions(Arrivals(prefix="p", columns={"n": "int"}, checks=[{"column": "n", "min": 0}]))
    {'n: below 0': '"n" IS NULL OR "n" >= 0'}

    Raises:
        DeclarationError: as `check_bounds` does.
    """
    check_bounds(arrivals)
    found: dict[str, exp.Expr] = {}
    for check in arrivals.checks:
        for reason, condition in _of(check, arrivals.columns[check.column].type).items():
            found[reason] = found[reason].and_(condition) if reason in found else condition  # type: ignore[attr-defined]
    return {reason: condition.sql("duckdb") for reason, condition in found.items()}


def check_bounds(arrivals: Arrivals) -> None:
    """Refuse bounds that no row can be held against; cheap enough for loading the code location.

    Raises:
        DeclarationError: for a bound on a column that is not a number, or a bound that is not finite.
    """
    for check in arrivals.checks:
        if check.min is not None or check.max is not None:
            _refuse_odd_bounds(check, arrivals.columns[check.column].type)


def _of(check: ColumnCheck, type_: str) -> dict[str, exp.Expr]:
    from sqlglot import exp

    name = check.column
    column = exp.column(name, quoted=True)
    made: dict[str, exp.Expr] = {}
    if check.not_null:
        made[f"{name}: missing"] = column.is_(exp.null()).not_()
    if type_ == "float" and (check.min is not None or check.max is not None):
        # NaN sorts above every number here and below none elsewhere: a bound alone would let it through.
        limit = sys.float_info.max
        made[f"{name}: not a finite number"] = _or_missing(name, column.between(-limit, limit))
    if check.min is not None:
        made[f"{name}: below {check.min:.12g}"] = _or_missing(name, column >= _number(check.min))
    if check.max is not None:
        made[f"{name}: above {check.max:.12g}"] = _or_missing(name, column <= _number(check.max))
    if check.one_of is not None:
        values = [exp.convert(str(value) if type_ == "string" else value) for value in check.one_of]
        reason = _short(f"{name}: not one of {', '.join(str(value) for value in check.one_of)}")
        made[reason] = _or_missing(name, column.isin(*values))
    if check.matches is not None:
        pattern = exp.Literal.string(f"^({check.matches})$")
        like = exp.RegexpLike(this=exp.cast(column.copy(), "text"), expression=pattern)
        made[_short(f"{name}: does not match {check.matches}")] = _or_missing(name, like)
    return made


def _refuse_odd_bounds(check: ColumnCheck, type_: str) -> None:
    if type_ not in _NUMBERS:
        raise DeclarationError(
            f"A check bounds {check.column!r}, which is {type_}, not a number.",
            where="arrivals.checks",
            mend="Use one_of or matches, or declare the column as int or float.",
        )
    if not all(math.isfinite(bound) for bound in (check.min, check.max) if bound is not None):
        raise DeclarationError(
            f"A bound of {check.column!r} is not a finite number.",
            where="arrivals.checks",
            mend="Leave it out.",
        )


def _or_missing(name: str, condition: exp.Expr) -> exp.Expr:
    from sqlglot import exp

    return exp.or_(exp.column(name, quoted=True).is_(exp.null()), condition)


def _number(value: float) -> exp.Expr:
    from sqlglot import exp

    return exp.convert(int(value) if value.is_integer() and abs(value) < 2**63 else value)


def _short(reason: str) -> str:
    return reason if len(reason) <= _SHOWN else f"{reason[: _SHOWN - 1]}…"
