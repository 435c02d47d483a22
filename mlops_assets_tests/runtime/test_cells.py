"""Casting one column: what is accepted, what becomes null, and which row is named."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from mlops_assets.errors import SignatureError
from mlops_assets.runtime.cells import cast_column, from_values
from mlops_assets.runtime.signature import Feature

DAY, NOON = date(2026, 1, 31), datetime(2026, 1, 31, 12)


def feature(type_: str) -> Feature:
    return Feature(name="x", type=type_)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "type_", "expected"),
    [
        (["1", " 2 ", "", None], "int", [1, 2, None, None]),
        (["1.0", "-3e2"], "int", [1, -300]),
        ([1.0, float("nan"), None], "int", [1, None, None]),
        (["1.5", "nan", "-1e-3"], "float", [1.5, None, -0.001]),
        ([Decimal("1.5"), None], "float", [1.5, None]),
        ([1, 2**60], "float", [1.0, float(2**60)]),
        ([2**60 + 1], "int", [2**60 + 1]),
        (["true", "No", "1", None], "bool", [True, False, True, None]),
        ([1, 0, None], "bool", [True, False, None]),
        ([1, 20], "string", ["1", "20"]),
        (["", None, " a "], "string", ["", None, " a "]),
        ([True, None], "string", ["true", None]),
        (["2026-01-31T12:00:00", "2026-01-31 12:00"], "timestamp", [NOON, NOON]),
        (["2026-01-31T14:00:00+02:00", "2026-01-31T12:00:00Z"], "timestamp", [NOON, NOON]),
        ([datetime(2026, 1, 31, 13, tzinfo=timezone(timedelta(hours=1)))], "timestamp", [NOON]),
        ([datetime(2026, 1, 31, 12, tzinfo=UTC), None], "timestamp", [NOON, None]),
        ([DAY], "timestamp", [datetime(2026, 1, 31)]),
        (["2026-01-31", None], "date", [DAY, None]),
        ([datetime(2026, 1, 31)], "date", [DAY]),
        ([None, None], "int", [None, None]),
    ],
)
def test_values_cast(values: list[Any], type_: str, expected: list[Any]) -> None:
    assert cast_column(pa.chunked_array([pa.array(values)]), feature(type_)).to_pylist() == expected


def test_dictionaries_are_decoded() -> None:
    column = pa.chunked_array([pa.array(["a", None, "a"]).dictionary_encode()])
    assert cast_column(column, feature("string")).to_pylist() == ["a", None, "a"]


@pytest.mark.parametrize(
    ("values", "type_", "row"),
    [
        (["1", "2", "x"], "int", 3),
        ([1.0, 2.5], "int", 2),
        (["1_000"], "float", 1),
        ([1.0, float("inf")], "float", 2),
        (["1", "-inf"], "float", 2),
        ([2], "bool", 1),
        (["perhaps"], "bool", 1),
        ([1.5], "string", 1),
        (["31/01/2026"], "timestamp", 1),
        ([5], "timestamp", 1),
        ([True], "float", 1),
        ([None, NOON], "date", 2),
        ([NOON], "float", 1),
        (["9" * 30], "int", 1),
    ],
)
def test_a_value_of_another_type_is_named_with_row_and_column(
    values: list[Any], type_: str, row: int
) -> None:
    with pytest.raises(SignatureError, match=f"row {row + 100}, column x"):
        cast_column(pa.chunked_array([pa.array(values)]), feature(type_), first_row=100)


def test_json_values_of_mixed_kinds_cast_one_by_one() -> None:
    assert from_values([1, 2.0, "3", None], feature("int")).to_pylist() == [1, 2, 3, None]
    with pytest.raises(SignatureError, match="row 2, column x"):
        from_values([1, [2]], feature("int"))
