"""The shipped sample data: same bytes for the same seed, every mishap on request, flat memory."""

from __future__ import annotations

import csv
import hashlib
import subprocess
import sys
from datetime import date
from pathlib import Path

import pandas as pd
import pytest

from mlops_assets.sample_data import HOUSING_COLUMNS, housing_batches, wine_csv


def _digests(paths: list[Path]) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def test_the_same_arguments_give_the_same_bytes(tmp_path: Path) -> None:
    wanted = {"days": 3, "rows_per_day": 200, "late": 0.1, "updates": 0.1, "bad_rows": 0.05, "duplicates": 1}
    first = housing_batches(tmp_path / "a", **wanted)  # pyright: ignore[reportArgumentType]
    again = housing_batches(tmp_path / "b", **wanted)  # pyright: ignore[reportArgumentType]
    other = housing_batches(tmp_path / "c", seed=1, **wanted)  # pyright: ignore[reportArgumentType]
    assert _digests(first) == _digests(again)
    assert set(_digests(first).values()).isdisjoint(_digests(other).values())


def test_a_day_is_the_same_whichever_call_makes_it(tmp_path: Path) -> None:
    week = housing_batches(tmp_path / "week", days=3, rows_per_day=50)
    alone = housing_batches(tmp_path / "alone", days=1, rows_per_day=50, start=date(2026, 1, 3))
    assert alone[0].read_bytes() == week[2].read_bytes()


def test_listings_have_the_workshop_columns_and_unique_ids(tmp_path: Path) -> None:
    frame = pd.concat(pd.read_csv(path) for path in housing_batches(tmp_path, days=2, rows_per_day=300))
    assert tuple(frame.columns) == HOUSING_COLUMNS
    assert frame["listing_id"].is_unique
    assert (frame["PRICE"] > 0).all()
    assert not frame.isna().any().any()


def test_gradient_boosting_reaches_an_r2_of_about_nine_tenths(tmp_path: Path) -> None:
    from sklearn.ensemble import HistGradientBoostingRegressor

    path, *_ = housing_batches(tmp_path, days=1, rows_per_day=6_000)
    frame = pd.read_csv(path)
    features = frame.drop(columns=["listing_id", "listed_at", "PRICE"])
    model = HistGradientBoostingRegressor(random_state=0).fit(features[:4_500], frame["PRICE"][:4_500])
    assert 0.85 < model.score(features[4_500:], frame["PRICE"][4_500:]) < 0.95


def test_late_rows_arrive_in_a_file_of_their_own_after_the_next_day(tmp_path: Path) -> None:
    whole = pd.read_csv(housing_batches(tmp_path / "whole", days=1, rows_per_day=100)[0])
    arrived = housing_batches(tmp_path / "late", days=2, rows_per_day=100, late=0.2)
    assert [path.name for path in arrived] == [
        "housing-2026-01-01.csv",
        "housing-2026-01-02.csv",
        "housing-2026-01-01-late.csv",
        "housing-2026-01-02-late.csv",
    ]
    together = pd.concat([pd.read_csv(arrived[0]), pd.read_csv(arrived[2])], ignore_index=True)
    pd.testing.assert_frame_equal(together, whole)


def test_a_duplicate_has_the_same_bytes_under_another_name(tmp_path: Path) -> None:
    first, again, second = housing_batches(tmp_path, days=2, rows_per_day=20, duplicates=1)
    assert again.name == "housing-2026-01-01-again.csv"
    assert again.read_bytes() == first.read_bytes() != second.read_bytes()


def test_an_update_lists_yesterdays_house_again_at_another_price(tmp_path: Path) -> None:
    yesterday, today = (
        pd.read_csv(path) for path in housing_batches(tmp_path, days=2, rows_per_day=100, updates=0.1)
    )
    both = yesterday.merge(today, on="listing_id")
    assert len(both) == 10
    assert (both["SQUARE_FEET_x"] == both["SQUARE_FEET_y"]).all()
    assert (both["listed_at_x"] < both["listed_at_y"]).all()
    assert (both["PRICE_x"] != both["PRICE_y"]).any()


def test_bad_rows_are_bad_and_their_share_is_as_asked(tmp_path: Path) -> None:
    clean = housing_batches(tmp_path / "clean", days=1, rows_per_day=400)[0].read_text().splitlines()
    spoilt = (
        housing_batches(tmp_path / "bad", days=1, rows_per_day=400, bad_rows=0.04)[0].read_text().splitlines()
    )
    changed = [line for old, line in zip(clean, spoilt, strict=True) if old != line]
    assert len(changed) == 16
    assert "" in changed
    assert any(len(row) < len(HOUSING_COLUMNS) for row in csv.reader(changed))
    assert any(len(row) > len(HOUSING_COLUMNS) for row in csv.reader(changed))
    assert any(row and row[-1] == "-1" for row in csv.reader(changed))


def test_drift_makes_houses_larger_and_brings_new_values(tmp_path: Path) -> None:
    before = pd.read_csv(housing_batches(tmp_path / "a", days=1, rows_per_day=2_000)[0])
    after = pd.read_csv(housing_batches(tmp_path / "b", days=1, rows_per_day=2_000, drift=1.0)[0])
    assert after["SQUARE_FEET"].mean() > 1.3 * before["SQUARE_FEET"].mean()
    assert set(after["GARAGE_SPACES"]) - set(before["GARAGE_SPACES"]) == {5}


def test_extra_columns_follow_the_workshops_own(tmp_path: Path) -> None:
    frame = pd.read_csv(housing_batches(tmp_path, days=1, rows_per_day=10, extra_columns=9)[0])
    assert frame.shape == (10, 20)
    assert list(frame.columns[-2:]) == ["EXTRA_08", "EXTRA_09"]


@pytest.mark.parametrize(
    "wrong", [{"late": 1.5}, {"bad_rows": -0.1}, {"drift": -1.0}, {"start": date(1999, 1, 1)}]
)
def test_impossible_requests_are_refused(tmp_path: Path, wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="|".join(wrong)):
        housing_batches(tmp_path, days=1, rows_per_day=1, **wrong)  # pyright: ignore[reportArgumentType]


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "housing-2026-01-02.csv").mkdir()
    with pytest.raises(OSError, match="2026-01-02"):
        housing_batches(tmp_path, days=2, rows_per_day=10)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "housing-2026-01-01.csv",
        "housing-2026-01-02.csv",
    ]


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from mlops_assets.sample_data import housing_batches\n"
        "housing_batches(Path(sys.argv[1]), days=1, rows_per_day=int(sys.argv[2]))\n"
        "print(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])"
    )
    peaks = [
        int(subprocess.check_output([sys.executable, "-c", program, str(tmp_path), rows]))
        for rows in ("200000", "1000000")
    ]
    assert peaks[1] < 1.15 * peaks[0]


def test_the_wines_have_one_row_each_and_their_class_as_text(tmp_path: Path) -> None:
    path = wine_csv(tmp_path)
    frame = pd.read_csv(path)
    assert frame.shape == (178, 15)
    assert frame["sample_id"].tolist() == list(range(1, 179))
    assert set(frame["cultivar"]) == {"class_0", "class_1", "class_2"}
    assert all(name == name.lower() and name.isidentifier() for name in frame.columns)
    assert path.read_bytes() == wine_csv(tmp_path / "again").read_bytes()
