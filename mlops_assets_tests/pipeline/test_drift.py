"""The statistics of drift against an independent oracle, and what they do and do not call drift."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from mlops_assets.pipeline.drift import EPSILON, Limits, compare, ks, ks_by_chance, psi, psi_by_chance

COUNTS = st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 10_000)), min_size=1, max_size=30)


def numeric(counts: list[int], nulls: int = 0) -> dict[str, Any]:
    edges = [float(edge) for edge in range(len(counts) - 1)]
    return {
        "type": "float",
        "kind": "numeric",
        "nulls": nulls,
        "edges": edges,
        "bins": list(range(len(edges))),
        "counts": counts,
    }


def categorical(categories: dict[str, int], other: int = 0, nulls: int = 0) -> dict[str, Any]:
    return {"type": "string", "kind": "categorical", "nulls": nulls, "categories": categories, "other": other}


def profile(**columns: dict[str, Any]) -> dict[str, Any]:
    first = next(iter(columns.values()))
    filled = (
        first["counts"] if first["kind"] == "numeric" else [*first["categories"].values(), first["other"]]
    )
    return {"format": 1, "rows": sum(filled) + first["nulls"], "columns": columns}


@given(COUNTS)
def test_psi_is_the_symmetric_divergence_of_the_shares(pairs: list[tuple[int, int]]) -> None:
    expected, actual = np.array(pairs, dtype=float).T
    assume(expected.sum() and actual.sum())
    e = np.clip(expected / expected.sum(), max(EPSILON, 0.5 / expected.sum()), None)
    a = np.clip(actual / actual.sum(), max(EPSILON, 0.5 / actual.sum()), None)
    oracle = float(np.sum((a - e) * np.log(a / e)))
    measured = psi([int(count) for count in expected], [int(count) for count in actual])
    assert measured == pytest.approx(oracle, abs=1e-12)
    assert measured >= 0
    assert psi([int(count) for count in actual], [int(count) for count in expected]) == pytest.approx(
        measured
    )


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 8), min_size=1, max_size=60),
    st.lists(st.integers(0, 8), min_size=1, max_size=60),
)
def test_ks_is_scipys_where_the_edges_are_the_values(before: list[int], now: list[int]) -> None:
    measured = ks(np.bincount(before, minlength=9).tolist(), np.bincount(now, minlength=9).tolist())
    assert measured == pytest.approx(stats.ks_2samp(before, now, method="asymp").statistic, abs=1e-12)  # type: ignore[attr-defined]


@pytest.mark.parametrize("bins", [2, 5, 10, 50])
@pytest.mark.parametrize(("n", "m"), [(100_000, 50), (1_000, 1_000)])
def test_the_level_of_chance_is_the_quantile_of_its_distribution(bins: int, n: int, m: int) -> None:
    oracle = (1 / n + 1 / m) * stats.chi2.ppf(0.999, bins - 1)
    assert psi_by_chance(bins, n, m) == pytest.approx(oracle, rel=0.06)
    assert ks_by_chance(n, m) == pytest.approx(
        stats.kstwobign.ppf(0.999) * np.sqrt((n + m) / (n * m)), rel=1e-3
    )


@pytest.mark.parametrize("rows", [3, 10, 40, 200, 2_000])
def test_arrivals_of_the_same_distribution_are_seldom_called_drifted(rows: int) -> None:
    random = np.random.default_rng(1)
    reference = profile(x=numeric([10_000] * 10))
    alarms = 0
    for _ in range(1_000):
        arrived = np.bincount(random.integers(0, 10, size=rows), minlength=10).tolist()
        alarms += bool(compare(reference, profile(x=numeric(arrived)), Limits())[0].drifted)
    assert alarms <= 10


def test_a_moved_distribution_is_called_drifted_even_in_a_small_arrival() -> None:
    reference = profile(x=numeric([10_000] * 10))
    found = compare(reference, profile(x=numeric([0] * 8 + [20, 20])), Limits())[0]
    assert found.drifted == ("psi", "ks")
    assert found.ks == pytest.approx(0.8)


def test_the_worst_column_comes_first() -> None:
    same, moved = numeric([500, 500]), numeric([900, 100])
    found = compare(profile(a=same, b=same, c=same), profile(a=same, b=moved, c=same), Limits())
    assert [item.column for item in found] == ["b", "a", "c"]


def test_missing_values_are_judged_apart_from_the_values() -> None:
    found = compare(
        profile(x=numeric([450, 450], nulls=100)), profile(x=numeric([250, 250], nulls=500)), Limits()
    )[0]
    assert found.drifted == ("null_rate",)
    assert found.null_rate == pytest.approx(0.4)
    assert found.psi == 0


def test_fewer_missing_values_are_no_drift() -> None:
    found = compare(profile(x=numeric([250, 250], nulls=500)), profile(x=numeric([500, 500])), Limits())[0]
    assert found.null_rate == pytest.approx(-0.5)
    assert found.drifted == ()


def test_a_category_that_training_never_saw_is_drift_by_its_share() -> None:
    reference = profile(x=categorical({"a": 900, "b": 100}))
    few = compare(reference, profile(x=categorical({"a": 890, "b": 100}, other=10)), Limits())[0]
    many = compare(reference, profile(x=categorical({"a": 840, "b": 100}, other=60)), Limits())[0]
    assert (few.new_categories, many.new_categories) == (0.01, 0.06)
    assert few.drifted == ()
    assert many.drifted == ("psi", "new_categories")


def test_categories_that_the_reference_did_not_keep_are_not_new() -> None:
    reference = profile(x=categorical({"a": 500}, other=500))
    found = compare(reference, profile(x=categorical({"a": 500}, other=500)), Limits())[0]
    assert found.new_categories == 0
    assert found.drifted == ()


@pytest.mark.parametrize(
    ("before", "now"),
    [
        (numeric([0, 0], nulls=10), numeric([5, 5])),
        (numeric([5, 5]), numeric([0, 0], nulls=10)),
        (numeric([0], nulls=10), numeric([0], nulls=10)),
        (categorical({}, nulls=10), categorical({}, other=10)),
    ],
)
def test_columns_without_values_on_a_side_are_compared_by_what_there_is(before: Any, now: Any) -> None:
    found = compare(profile(x=before), profile(x=now), Limits())[0]
    assert found.psi == 0
    assert not {"psi", "ks"} & set(found.drifted)
