"""Slices: every row in exactly one, missing values by themselves, labels that gates can name."""

from __future__ import annotations

from datetime import date

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_assets.runtime.slices import slices_of


def labels(values: pa.Array) -> dict[str, int]:
    return {label: int(mask.sum()) for label, mask in slices_of("c", pa.chunked_array([values]))}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pa.array(["b", "a", None, "b"]), {"c=a": 1, "c=b": 2, "c=(missing)": 1}),
        (pa.array(["", None]), {"c=": 1, "c=(missing)": 1}),
        (pa.array([True, None, False]), {"c=false": 1, "c=true": 1, "c=(missing)": 1}),
        (pa.array([3, 1, 3]), {"c=1": 1, "c=3": 2}),
        (pa.array([0.5, 2.0, float("nan")]), {"c=0.5": 1, "c=2": 1, "c=(missing)": 1}),
        (pa.array([date(2026, 1, 31)]), {"c=2026-01-31": 1}),
        (pa.array([None], pa.string()), {"c=(missing)": 1}),
        (pa.array([], pa.string()), {}),
    ],
)
def test_one_slice_per_value(values: pa.Array, expected: dict[str, int]) -> None:
    assert labels(values) == expected


def test_many_numbers_become_quartiles() -> None:
    found = labels(pa.array(np.arange(100.0)))
    assert list(found.values()) == [24, 25, 25, 26]
    assert list(found)[-1].endswith("99]")


def test_rare_text_is_grouped() -> None:
    found = labels(pa.array([f"v{index // 2}" for index in range(160)]))
    assert len(found) == 51
    assert found["c=(other)"] == 60


@given(st.lists(st.one_of(st.none(), st.floats(allow_infinity=False)), max_size=200))
def test_every_row_is_in_exactly_one_slice(values: list[float | None]) -> None:
    masks = [mask for _, mask in slices_of("c", pa.chunked_array([pa.array(values, pa.float64())]))]
    assert np.array_equal(sum(masks, np.zeros(len(values), int)), np.ones(len(values), int))
