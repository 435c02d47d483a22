"""How far an arrival's distributions lie from the training data's: a pure comparison of two profiles.

A small arrival differs from anything by chance. Each statistic therefore comes with the value that chance
alone exceeds once in a thousand arrivals without drift; only what is above both that and its limit counts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

# An empty bin counts as at least this share, so that its logarithm is finite.
EPSILON = 1e-4
# Quantile of the normal distribution at 0.999.
_Z = 3.0902
# Kolmogorov's distribution at 0.999: the factor of sqrt((n + m) / (n m)).
_KOLMOGOROV = 1.9495
STATISTICS = ("psi", "ks", "null_rate", "new_categories")


@dataclass(frozen=True)
class Limits:
    """Above these a column counts as drifted; the meaning of each is `ColumnDrift`'s."""

    psi: float = 0.2
    ks: float = 0.2
    null_rate: float = 0.1
    new_categories: float = 0.05


@dataclass(frozen=True)
class ColumnDrift:
    """One column of an arrival against the reference.

    Attributes:
        psi: population stability index over the coarse bins, or over the categories.
        ks: largest distance of the two distribution functions on the grid of edges; None for categories.
        null_rate: rise of the share of missing values (negative where it fell).
        new_categories: share of the values outside the reference's categories, beyond the share that the
            reference itself has outside of those kept; None for numbers.
        drifted: the statistics that are above their limit and above chance.
    """

    column: str
    psi: float
    ks: float | None
    null_rate: float
    new_categories: float | None
    drifted: tuple[str, ...] = ()

    @property
    def severity(self) -> float:
        """Sorts columns, the worst first when descending: drifted statistics, then the stability index."""
        return len(self.drifted) * 1e6 + self.psi


def compare(reference: Mapping[str, Any], current: Mapping[str, Any], limits: Limits) -> list[ColumnDrift]:
    """Every column of `current` against the same column of `reference`, the worst first.

    Args:
        reference: what `profiling.profile` made of the training data.
        current: what `profiling.histogram` made of the arrival with that reference.
        limits: what counts as drift.
    """
    rows = (reference["rows"], current["rows"])
    found = [
        _column(name, reference["columns"][name], column, rows, limits)
        for name, column in current["columns"].items()
    ]
    return sorted(found, key=lambda drift: (-drift.severity, drift.column))


def _column(
    name: str, before: Mapping[str, Any], now: Mapping[str, Any], rows: tuple[int, int], limits: Limits
) -> ColumnDrift:
    rows_before, rows_now = rows
    expected, actual = _coarse(before), _coarse(now)
    filled_before, filled_now = sum(expected), sum(actual)
    comparable = filled_before > 0 and filled_now > 0
    values: dict[str, float | None] = {
        "psi": psi(expected, actual) if comparable else 0.0,
        "ks": ks(before["counts"], now["counts"]) if comparable and before["kind"] == "numeric" else None,
        "null_rate": _share(now["nulls"], rows_now) - _share(before["nulls"], rows_before),
        "new_categories": _new_share(before, now) if before["kind"] == "categorical" else None,
    }
    # New categories have no level of chance: a category that training never saw is news in one row.
    chance = {
        "psi": psi_by_chance(len(expected), filled_before, filled_now) if comparable else 0.0,
        "ks": ks_by_chance(filled_before, filled_now) if comparable else 0.0,
        "null_rate": _rise_by_chance(before["nulls"], rows_before, now["nulls"], rows_now),
        "new_categories": 0.0,
    }
    drifted = tuple(
        statistic
        for statistic in STATISTICS
        if (value := values[statistic]) is not None
        and value > max(getattr(limits, statistic), chance[statistic])
    )
    return ColumnDrift(
        name,
        psi=values["psi"] or 0.0,
        ks=values["ks"],
        null_rate=values["null_rate"] or 0.0,
        new_categories=values["new_categories"],
        drifted=drifted,
    )


def psi(expected: Sequence[int], actual: Sequence[int]) -> float:
    """Population stability index of two counts over the same bins: sum of (a - e) ln(a / e) over the shares.

    Source: N. Siddiqi, Credit Risk Scorecards, Wiley 2006. A share below that of half a row, or below
    `EPSILON`, counts as that.
    """
    pairs = zip(_shares(expected), _shares(actual), strict=True)
    return math.fsum((a - e) * math.log(a / e) for e, a in pairs)


def _shares(counts: Sequence[int]) -> list[float]:
    total = sum(counts)
    # Half a row: in a small sample an empty bin says little.
    least = max(EPSILON, 0.5 / total)
    return [max(count / total, least) for count in counts]


def psi_by_chance(bins: int, expected: int, actual: int) -> float:
    """The stability index that two samples of one distribution exceed once in a thousand times.

    It is distributed as (1/n + 1/m) times chi-squared with bins - 1 degrees of freedom (B. Yurdakul and
    J. Naranjo, Statistical properties of the population stability index, Journal of Risk Model Validation
    2020); the quantile of chi-squared is Wilson and Hilferty's (PNAS 1931).
    """
    freedom = bins - 1
    if freedom < 1:
        return 0.0
    spread = 2 / (9 * freedom)
    return (1 / expected + 1 / actual) * freedom * (1 - spread + _Z * math.sqrt(spread)) ** 3


def ks(expected: Sequence[int], actual: Sequence[int]) -> float:
    """Largest distance of the two distribution functions at the edges of the bins (Kolmogorov and Smirnov).

    Between the edges it may be larger, by less than the share of the largest bin.
    """
    total_expected, total_actual = sum(expected), sum(actual)
    pairs = zip(accumulate(expected), accumulate(actual), strict=True)
    return max(abs(e / total_expected - a / total_actual) for e, a in pairs)


def ks_by_chance(expected: int, actual: int) -> float:
    """The distance that two samples of one distribution exceed at most once in a thousand times (Smirnov)."""
    return _KOLMOGOROV * math.sqrt((expected + actual) / (expected * actual))


def _rise_by_chance(nulls_before: int, rows_before: int, nulls_now: int, rows_now: int) -> float:
    """The rise of a share that chance exceeds once in a thousand times, by the normal approximation."""
    if not rows_before or not rows_now:
        return 0.0
    share = (nulls_before + nulls_now) / (rows_before + rows_now)
    return _Z * math.sqrt(share * (1 - share) * (1 / rows_before + 1 / rows_now))


def _coarse(column: Mapping[str, Any]) -> list[int]:
    """Counts of the categories and the rest, or of the coarse bins of a number."""
    if column["kind"] == "categorical":
        return [*column["categories"].values(), column["other"]]
    cumulated = list(accumulate(column["counts"]))
    bounds = [0, *(cumulated[position] for position in column["bins"]), cumulated[-1]]
    return [high - low for low, high in pairwise(bounds)]


def _new_share(before: Mapping[str, Any], now: Mapping[str, Any]) -> float:
    usual = _share(before["other"], sum(before["categories"].values()) + before["other"])
    return max(0.0, _share(now["other"], sum(now["categories"].values()) + now["other"]) - usual)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
