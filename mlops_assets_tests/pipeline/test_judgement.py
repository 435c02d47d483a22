"""Gates judge finite numbers in the metric's direction; whatever is no number, or missing, fails."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mlops_assets.artifacts import ArtifactUri, Evaluation, GateResult, Interval
from mlops_assets.declaration.schema import Gate
from mlops_assets.pipeline.judgement import judge, policy_digest

NUMBERS = st.floats(-1e12, 1e12)
NOT_NUMBERS = [None, math.nan, math.inf, -math.inf, True, False, "5"]


def _evaluation(metrics: dict[str, Any], **changes: Any) -> Evaluation:
    # model_construct: what judges must not rely on validation for, like a bool that pydantic would coerce.
    intervals = {name: Interval.model_construct(value=value) for name, value in metrics.items()}
    given = {
        "model": "homes",
        "digest": "",
        "candidate_digest": "c",
        "dataset_version": "v",
        "data_digest": "rows",
        "rows": 100,
        "slices": {},
        "slice_rows": {},
        "baseline": {},
        "uri": ArtifactUri("file:///evaluations"),
    }
    return Evaluation.model_construct(**{**given, "metrics": intervals, **changes})


def _one(gate: dict[str, Any], evaluation: Evaluation, champion: Evaluation | None = None) -> GateResult:
    (result,) = judge([Gate.model_validate(gate)], evaluation, champion)
    return result


def test_a_value_above_the_maximum_fails_in_words_a_person_reads() -> None:
    result = _one({"metric": "rmse", "max": 40_000}, _evaluation({"rmse": 45_210.0}))
    assert not result.passed
    assert result.message == "rmse 45,210 is above the most allowed 40,000"
    assert (result.value, result.threshold) == (45_210.0, 40_000.0)


def test_a_value_below_the_minimum_fails_in_words_a_person_reads() -> None:
    result = _one({"metric": "r2", "min": 0.8}, _evaluation({"r2": 0.5}))
    assert result.message == "r2 0.5 is below the least allowed 0.8"


def test_values_that_differ_by_less_than_is_shown_are_shown_in_full() -> None:
    result = _one({"metric": "r2", "min": 0.8}, _evaluation({"r2": 0.8 - 1e-12}))
    assert not result.passed
    assert "0.799999999999" in result.message


@given(NUMBERS)
def test_a_value_on_the_boundary_passes_and_the_next_float_beyond_fails(limit: float) -> None:
    assert _one({"metric": "rmse", "max": limit}, _evaluation({"rmse": limit})).passed
    assert not _one(
        {"metric": "rmse", "max": limit}, _evaluation({"rmse": math.nextafter(limit, math.inf)})
    ).passed
    assert _one({"metric": "r2", "min": limit}, _evaluation({"r2": limit})).passed
    assert not _one(
        {"metric": "r2", "min": limit}, _evaluation({"r2": math.nextafter(limit, -math.inf)})
    ).passed


@given(NUMBERS, NUMBERS, NUMBERS)
def test_minimum_and_maximum_hold_together(value: float, low: float, high: float) -> None:
    result = _one({"metric": "rmse", "min": low, "max": high}, _evaluation({"rmse": value}))
    assert result.passed == (low <= value <= high)


@pytest.mark.parametrize("value", NOT_NUMBERS)
@pytest.mark.parametrize(
    "asked",
    [
        {"min": -1e300},
        {"max": 1e300},
        {"min": -1e300, "max": 1e300},
        {"baseline": {"better_by": 0.0}},
        {"champion": {"tolerance": 1e300}},
    ],
)
def test_what_is_not_a_finite_number_never_passes(value: Any, asked: dict[str, Any]) -> None:
    evaluation = _evaluation({"rmse": value}, baseline={"rmse": 1e300})
    result = _one({"metric": "rmse", **asked}, evaluation, _evaluation({"rmse": 1.0}))
    assert not result.passed
    assert result.value is None
    assert "not a number" in result.message


def test_a_missing_metric_fails() -> None:
    assert not _one({"metric": "rmse", "max": 1e300}, _evaluation({"r2": 1.0})).passed


@pytest.mark.parametrize("limit", [math.nan, math.inf, -math.inf])
def test_a_limit_that_is_not_a_finite_number_never_passes(limit: float) -> None:
    for side in ("min", "max"):
        gate = Gate.model_construct(metric="rmse", **{"min": None, "max": None, side: limit})
        assert not judge([gate], _evaluation({"rmse": 1.0}), None)[0].passed


@pytest.mark.parametrize(
    ("metric", "baseline", "value", "passed"),
    [
        ("rmse", 100.0, 90.0, True),
        ("rmse", 100.0, 90.1, False),
        ("r2", 0.5, 0.55, True),
        ("r2", 0.5, 0.54, False),
        ("r2", -0.5, -0.45, True),
        ("r2", -0.5, -0.46, False),
        ("r2", 0.0, 0.0, False),
        ("r2", 0.0, 0.001, True),
        ("rmse", 0.0, 0.0, False),
    ],
)
def test_better_than_the_baseline_by_a_share_of_it_in_the_metrics_direction(
    metric: str, baseline: float, value: float, passed: bool
) -> None:
    evaluation = _evaluation({metric: value}, baseline={metric: baseline})
    assert _one({"metric": metric, "baseline": {"better_by": 0.1}}, evaluation).passed is passed


@given(NUMBERS)
def test_as_good_as_the_baseline_is_not_better(value: float) -> None:
    for metric in ("rmse", "r2"):
        evaluation = _evaluation({metric: value}, baseline={metric: value})
        assert not _one({"metric": metric, "baseline": {}}, evaluation).passed


@pytest.mark.parametrize(
    "baseline", [{}, {"rmse": None}, {"rmse": math.nan}, {"rmse": math.inf}, {"rmse": True}]
)
def test_a_baseline_that_is_not_a_number_fails(baseline: dict[str, Any]) -> None:
    assert not _one({"metric": "rmse", "baseline": {}}, _evaluation({"rmse": 0.0}, baseline=baseline)).passed


@pytest.mark.parametrize(
    ("metric", "champion", "value", "passed"),
    [
        ("rmse", 100.0, 102.0, True),
        ("rmse", 100.0, 102.1, False),
        ("rmse", 100.0, 1.0, True),
        ("r2", 0.5, 0.49, True),
        ("r2", 0.5, 0.48, False),
        ("r2", -1.0, -1.02, True),
        ("r2", -1.0, -1.03, False),
        ("r2", 0.0, 0.0, True),
        ("r2", 0.0, -0.001, False),
    ],
)
def test_no_worse_than_the_champion_within_the_tolerance(
    metric: str, champion: float, value: float, passed: bool
) -> None:
    result = _one(
        {"metric": metric, "champion": {"tolerance": 0.02}},
        _evaluation({metric: value}),
        _evaluation({metric: champion}),
    )
    assert result.passed is passed


@given(NUMBERS, NUMBERS)
def test_without_tolerance_one_of_two_models_is_no_worse_than_the_other(one: float, other: float) -> None:
    gate = {"metric": "rmse", "champion": {}}
    forth = _one(gate, _evaluation({"rmse": one}), _evaluation({"rmse": other})).passed
    back = _one(gate, _evaluation({"rmse": other}), _evaluation({"rmse": one})).passed
    assert forth or back
    assert (forth and back) == (one == other)


def test_without_a_champion_the_gate_against_it_passes_and_says_so() -> None:
    result = _one({"metric": "rmse", "champion": {}}, _evaluation({"rmse": 5.0}))
    assert result.passed
    assert "no other champion" in result.message


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_a_champion_that_could_not_be_measured_fails_the_gate(value: float | None) -> None:
    champion = _evaluation({"rmse": value})
    assert not _one({"metric": "rmse", "champion": {}}, _evaluation({"rmse": 5.0}), champion).passed


def test_a_champion_measured_on_other_rows_fails_the_gate() -> None:
    champion = _evaluation({"rmse": 9.0}, data_digest="other")
    result = _one({"metric": "rmse", "champion": {}}, _evaluation({"rmse": 5.0}), champion)
    assert "other rows" in result.message
    assert not result.passed


def _sliced(values: dict[str, Any], rows: dict[str, int]) -> Evaluation:
    return _evaluation(
        {"r2": 0.9}, slices={name: {"r2": value} for name, value in values.items()}, slice_rows=rows
    )


def test_a_gate_on_a_slice_column_holds_in_each_slice() -> None:
    rows = {"region=north": 50, "region=south": 50}
    gate = {"metric": "r2", "min": 0.5, "slice": "region"}
    assert _one(gate, _sliced({"region=north": 0.6, "region=south": 0.7}, rows)).passed
    failed = _one(gate, _sliced({"region=north": 0.6, "region=south": 0.4}, rows))
    assert failed.message == "r2 of region=south 0.4 is below the least allowed 0.5"


def test_a_gate_on_one_slice_leaves_the_others_alone() -> None:
    rows = {"region=north": 50, "region=south": 50}
    gate = {"metric": "r2", "min": 0.5, "slice": "region=north"}
    assert _one(gate, _sliced({"region=north": 0.6, "region=south": 0.4}, rows)).passed


@pytest.mark.parametrize("name", ["region=east", "region", "city"])
def test_a_missing_slice_fails(name: str) -> None:
    result = _one(
        {"metric": "r2", "min": 0.0, "slice": name}, _sliced({"regions=north": 0.9}, {"regions=north": 50})
    )
    assert not result.passed
    assert f"no slice {name}" in result.message


@pytest.mark.parametrize("value", NOT_NUMBERS)
def test_a_slice_without_a_number_fails(value: Any) -> None:
    gate = {"metric": "r2", "min": -1e300, "slice": "region"}
    evaluation = _sliced(
        {"region=north": 0.9, "region=south": value}, {"region=north": 50, "region=south": 50}
    )
    assert not _one(gate, evaluation).passed


def test_a_small_slice_is_reported_and_not_judged_beside_a_large_one() -> None:
    gate = {"metric": "r2", "min": 0.5, "slice": "region"}
    evaluation = _sliced({"region=north": 0.9, "region=south": 0.1}, {"region=north": 30, "region=south": 29})
    result = _one(gate, evaluation)
    assert result.passed
    assert "not judged for fewer than 30 rows: region=south" in result.message


@pytest.mark.parametrize("name", ["region", "region=south"])
def test_where_every_slice_asked_for_is_too_small_the_gate_fails(name: str) -> None:
    result = _one(
        {"metric": "r2", "min": 0.5, "slice": name}, _sliced({"region=south": 0.9}, {"region=south": 29})
    )
    assert not result.passed
    assert "29 rows" in result.message


def test_results_keep_the_gates_order_names_and_severities() -> None:
    gates = [
        Gate(metric="rmse", max=1.0, severity="warn"),
        Gate(metric="r2", min=0.5),
    ]
    results = judge(gates, _evaluation({"rmse": 2.0, "r2": 0.6}), None)
    assert [(item.name, item.severity, item.passed) for item in results] == [
        ("rmse_max", "warn", False),
        ("r2_min", "error", True),
    ]


@given(NUMBERS, NUMBERS)
def test_the_policy_digest_tells_any_two_limits_apart(one: float, other: float) -> None:
    assume(one != other)
    assert policy_digest([Gate(metric="rmse", max=one)]) != policy_digest([Gate(metric="rmse", max=other)])
