"""The table of metrics, and numbers as people see them."""

from __future__ import annotations

import doctest
import math

import pytest

from mlops_assets.artifacts import metrics
from mlops_assets.artifacts.metrics import METRICS, brief, in_order, shown


def test_the_examples_of_the_docstrings_hold() -> None:
    done = doctest.testmod(metrics)
    assert (done.failed, done.attempted >= 3) == (0, True)


def test_whatever_the_order_the_metrics_that_people_ask_for_come_first() -> None:
    assert in_order(sorted(METRICS)) == list(METRICS)
    assert in_order(["own", "max_error", "r2"]) == ["r2", "max_error", "own"]


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0"), (1234.5678, "1,234.6"), (9_999.96, "10,000"), (-36_225.28, "-36,225")]
)
def test_numbers_have_five_digits_and_parted_thousands(value: float, text: str) -> None:
    assert shown(value) == text


@pytest.mark.parametrize("value", [0.0, 1e-12, 0.123456789, 12345.6789, -9.87654321e15])
def test_a_brief_number_is_the_number_to_six_digits(value: float) -> None:
    assert brief(value) == pytest.approx(value, rel=5e-6)
    assert brief(brief(value)) == brief(value)


def test_a_brief_number_need_not_be_finite() -> None:
    assert math.isnan(brief(math.nan))
    assert brief(math.inf) == math.inf
