"""Warnings: columns that give the target away, identifiers, copies, and classes too small to split."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mlops_assets.sample_data import housing_batches, wine_csv
from mlops_assets.starting import ColumnWarning, look, warn

ROWS = 400


def _frame() -> pd.DataFrame:
    random = np.random.default_rng(0)
    rooms = random.integers(1, 9, ROWS)
    return pd.DataFrame(
        {
            "rooms": rooms,
            "size": random.normal(100, 20, ROWS).round(2),
            "price": (rooms * 40_000 + random.normal(0, 20_000, ROWS)).round(2),
        }
    )


def _warnings(tmp_path: Path, frame: pd.DataFrame, target: str) -> dict[str, ColumnWarning]:
    frame.to_csv(tmp_path / "data.csv", index=False)
    return {warning.column: warning for warning in warn(look(tmp_path / "data.csv"), target)}


def test_a_clean_file_gives_no_warning(tmp_path: Path) -> None:
    assert _warnings(tmp_path, _frame(), "price") == {}


@pytest.mark.parametrize(
    "leak",
    [
        pytest.param(lambda price: price, id="the target again"),
        pytest.param(lambda price: price * 1.19 + 3, id="in another currency"),
        pytest.param(lambda price: np.log(price + 200_000), id="its logarithm"),
        pytest.param(lambda price: -price, id="upside down"),
        pytest.param(lambda price: price.where(price.index % 3 > 0) * 2, id="with gaps"),
    ],
)
def test_a_column_that_gives_a_number_away_is_left_out(tmp_path: Path, leak) -> None:
    frame = _frame()
    frame["hint"] = leak(frame["price"])
    warnings = _warnings(tmp_path, frame, "price")
    assert {name: (item.kind, item.excludes) for name, item in warnings.items()} == {"hint": ("leak", True)}


@pytest.mark.parametrize(
    "leak",
    [
        pytest.param(lambda kind: kind.str.upper(), id="the class in capitals"),
        pytest.param(lambda kind: kind.map({"a": 10, "b": 20, "c": 31}), id="the class as a number"),
        pytest.param(
            lambda kind: pd.Series(np.where(kind == "a", 0.0, 5.0) + (kind == "c") * 9.0), id="by ranges"
        ),
    ],
)
def test_a_column_that_gives_a_class_away_is_left_out(tmp_path: Path, leak) -> None:
    frame = _frame()
    frame["kind"] = np.random.default_rng(1).choice(["a", "b", "c"], ROWS)
    frame["hint"] = leak(frame["kind"])
    assert _warnings(tmp_path, frame, "kind")["hint"].kind == "leak"


def test_a_missing_value_may_give_a_class_away(tmp_path: Path) -> None:
    frame = _frame()
    frame["churned"] = np.random.default_rng(2).choice(["yes", "no"], ROWS)
    frame["left_on_line"] = np.where(frame["churned"] == "yes", 1.0, np.nan) * frame["rooms"]
    assert _warnings(tmp_path, frame, "churned")["left_on_line"].kind == "leak"


def test_a_useful_column_is_no_leak(tmp_path: Path) -> None:
    frame = _frame()
    frame["kind"] = np.where(frame["price"] > 200_000, "dear", "cheap")
    frame = frame.drop(columns="price")
    assert _warnings(tmp_path, frame, "kind") == {}


def test_a_rare_class_makes_no_column_a_leak(tmp_path: Path) -> None:
    frame = _frame()
    frame["fraud"] = np.where(np.arange(ROWS) < 2, "yes", "no")
    assert "leak" not in {item.kind for item in _warnings(tmp_path, frame, "fraud").values()}


def test_the_shipped_data_holds_no_leak_but_its_identifiers(tmp_path: Path) -> None:
    housing = warn(look(housing_batches(tmp_path, days=1, rows_per_day=2_000)[0]), "PRICE")
    wine = warn(look(wine_csv(tmp_path)), "cultivar")
    assert [(item.column, item.kind) for item in housing] == [
        ("listing_id", "identifier"),
        ("listed_at", "date"),
    ]
    assert [(item.column, item.kind) for item in wine] == [("sample_id", "identifier")]


def test_identifiers_are_left_out(tmp_path: Path) -> None:
    frame = _frame()
    random = np.random.default_rng(3)
    frame.insert(0, "Unnamed: 0", range(ROWS))
    frame["customer_id"] = random.permutation(ROWS) * 7
    frame["uuid"] = [f"{number:032x}" for number in random.permutation(ROWS)]
    frame["owner_id"] = random.integers(0, 150, ROWS)
    warnings = _warnings(tmp_path, frame, "price")
    assert {name for name, item in warnings.items() if item.kind == "identifier" and item.excludes} == {
        "unnamed_0",
        "customer_id",
        "uuid",
        "owner_id",
    }
    assert "--key owner_id" in warnings["owner_id"].message


def test_copies_constants_empty_columns_and_free_text_are_left_out(tmp_path: Path) -> None:
    frame = _frame()
    frame["rooms_again"] = frame["rooms"]
    frame["currency"] = "EUR"
    frame["nothing"] = np.nan
    frame["remark"] = [f"a remark about house {number}" for number in range(ROWS)]
    warnings = _warnings(tmp_path, frame, "price")
    assert {name: item.kind for name, item in warnings.items() if item.excludes} == {
        "rooms_again": "duplicate",
        "currency": "constant",
        "nothing": "empty",
        "remark": "free_text",
    }
    assert "rooms" in warnings["rooms_again"].message


def test_many_values_and_dates_are_kept_with_a_word(tmp_path: Path) -> None:
    frame = _frame()
    frame["city"] = [f"city {number % 90}" for number in range(ROWS)]
    frame["sold"] = pd.date_range("2024-01-01", periods=ROWS).strftime("%Y-%m-%d")
    warnings = _warnings(tmp_path, frame, "price")
    assert {name: (item.kind, item.excludes) for name, item in warnings.items()} == {
        "city": ("many_values", False),
        "sold": ("date", False),
    }


def test_dates_in_another_form_are_left_out_with_the_mend(tmp_path: Path) -> None:
    frame = _frame()
    frame["sold"] = pd.date_range("2024-01-01", periods=ROWS).strftime("%d.%m.%Y")
    warning = _warnings(tmp_path, frame, "price")["sold"]
    assert warning.excludes
    assert "YYYY-MM-DD" in warning.message


def test_thin_classes_and_missing_targets_are_named(tmp_path: Path) -> None:
    frame = _frame()
    frame["kind"] = ["rare"] * 3 + ["a", "b"] * 198 + [None]
    frame.to_csv(tmp_path / "data.csv", index=False)
    found = {item.kind: item for item in warn(look(tmp_path / "data.csv"), "kind")}
    assert "rare (3)" in found["small_class"].message
    assert "1 row" in found["missing_target"].message


def test_values_of_no_type_are_announced(tmp_path: Path) -> None:
    frame = _frame().astype({"size": object})
    frame.loc[5, "size"] = "about 3"
    warning = _warnings(tmp_path, frame, "price")["size"]
    assert (warning.kind, warning.excludes) == ("unparsed", False)
    assert "quarantine" in warning.message
