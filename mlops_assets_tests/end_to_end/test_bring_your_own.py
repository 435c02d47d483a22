"""`init` and `run` on files as people have them: a registered model that scores the same file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mlops_assets_tests.commands import Deployment

SHARED = Path(__file__).parents[3] / "shared" / "data"
ROWS = 600

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Case:
    """A file, and what it is asked to predict.

    Attributes:
        make: writes the file into a folder.
        unlabelled: rows of the file without a target.
    """

    make: Callable[[Path], Path]
    target: str
    task: str
    unlabelled: int = 0


def _shared(name: str) -> Callable[[Path], Path]:
    def make(_: Path) -> Path:
        path = SHARED / name
        if not path.exists():
            pytest.skip(f"{path} is not there: the data folder beside the checkout is absent")
        return path

    return make


def _odd_names(folder: Path) -> Path:
    """Names in mixed case, reserved words, quotes, other scripts; values with quotes, commas, line ends."""
    random = np.random.default_rng(1)
    rooms = random.integers(1, 9, ROWS)
    text = random.choice(["plain", 'a, "b"', "c;d", "it's", "two\nlines", "naïve"], ROWS)
    frame = pd.DataFrame(
        {
            "Order": random.integers(0, 50, ROWS),
            "squareFeet": random.normal(100, 20, ROWS).round(2),
            "Number Of Rooms": rooms,
            'say "hi"': text,
            "Größe (m²)": random.normal(5, 1, ROWS).round(3),
            "価格": random.normal(7, 1, ROWS).round(3),
            "2nd floor": random.choice(["yes", "no"], ROWS),
            "Total.Price": (rooms * 1_000 + (text == "plain") * 500 + random.normal(0, 100, ROWS)).round(2),
        }
    )
    path = folder / "Odd Names (final).csv"
    frame.to_csv(path, index=False)
    return path


def _mixed_types(folder: Path, classes: int) -> Path:
    """Dates, times, booleans, high-cardinality text, empty cells, an empty and a constant column."""
    random = np.random.default_rng(classes)
    score = random.normal(0, 1, ROWS)
    names = np.array(["lost", "won", "open", "late", "void"][:classes], dtype=object)
    label = names[np.digitize(score, np.quantile(score, np.linspace(0, 1, classes + 1)[1:-1]))]
    label[::50] = None
    start = np.datetime64("2023-01-01")
    frame = pd.DataFrame(
        {
            "Customer": [f"name {number:05d}" for number in range(ROWS)],
            "opened": (start + random.integers(0, 700, ROWS)).astype(str),
            "seen_at": pd.to_datetime(
                start + random.integers(0, 700 * 86_400, ROWS).astype("m8[s]")
            ).strftime("%Y-%m-%dT%H:%M:%S"),
            "Is Member": np.where(random.random(ROWS) < 0.5, "True", "False"),
            "city": random.choice([f"city {number}" for number in range(120)], ROWS),
            "score": (score + random.normal(0, 0.2, ROWS)).round(4),
            "visits": random.integers(0, 30, ROWS),
            "nothing": None,
            "constant": "x",
            "Outcome": label,
        }
    )
    gaps = frame.columns.difference(["Outcome", "Customer", "nothing", "constant"])
    for number, name in enumerate(gaps):
        frame[name] = frame[name].mask(np.arange(ROWS) % 17 == number)
    path = folder / "customers.csv"
    frame.to_csv(path, index=False)
    return path


def _regression_with_gaps(folder: Path) -> Path:
    """A numeric target that misses some values, spelled as people spell them; semicolons."""
    random = np.random.default_rng(3)
    size = random.normal(100, 25, ROWS).round(1)
    frame = pd.DataFrame(
        {
            "Flat": random.choice(["A", "B", "C"], ROWS),
            "Size": size,
            "Balcony": random.choice(["true", "false"], ROWS),
            "Rent": (size * 12 + random.normal(0, 60, ROWS)).round(2),
        }
    )
    frame.loc[frame.index % 20 == 0, "Rent"] = None
    frame.loc[frame.index % 13 == 0, "Size"] = None
    path = folder / "flats.csv"
    frame.to_csv(path, index=False, sep=";", na_rep="NA")
    return path


def _parquet(folder: Path) -> Path:
    """Typed columns, a boolean target, nulls."""
    random = np.random.default_rng(4)
    use = random.normal(50, 15, ROWS)
    frame = pd.DataFrame(
        {
            "Plan": pd.Categorical(random.choice(["basic", "plus"], ROWS)),
            "Usage": np.where(np.arange(ROWS) % 11 == 0, np.nan, use),
            "Since": pd.to_datetime(np.datetime64("2022-01-01") + random.integers(0, 900, ROWS)),
            "Calls": random.integers(0, 5, ROWS).astype("int32"),
            "Churned": use + random.normal(0, 8, ROWS) < 45,
        }
    )
    path = folder / "subscriptions.parquet"
    frame.to_parquet(path)
    return path


CASES = {
    "house_pricing": Case(_shared("house_pricing.csv"), "PRICE", "regression"),
    "penguins": Case(_shared("penguins.csv"), "species", "classification"),
    "odd names": Case(_odd_names, "total.price", "regression"),
    "2 classes": Case(lambda folder: _mixed_types(folder, 2), "Outcome", "classification", ROWS // 50),
    "5 classes": Case(lambda folder: _mixed_types(folder, 5), "Outcome", "classification", ROWS // 50),
    "gaps": Case(_regression_with_gaps, "Rent", "regression", ROWS // 20),
    "parquet": Case(_parquet, "Churned", "classification"),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_file_becomes_a_registered_model_that_scores_the_file(tmp_path: Path, case: Case) -> None:
    deployment = Deployment(tmp_path)
    data = case.make(tmp_path)
    before = data.read_bytes()
    rows = len(
        pd.read_parquet(data) if data.suffix == ".parquet" else pd.read_csv(data, sep=None, engine="python")
    )
    written = deployment.command("init", "mine", "--data", str(data), "--target", case.target)
    assert written.returncode == 0, written.stderr
    # Servers have tests of their own; a file is scored without one.
    declared = deployment.defs / "mine" / "defs.yaml"
    text = declared.read_text()
    assert "endpoint: {enabled: true" in text
    declared.write_text(text.replace("endpoint: {enabled: true", "endpoint: {enabled: false"))

    report = deployment.json("run", "mine")
    assert report["status"] == "registered"
    assert report["rows"] == {"in": rows, "loaded": rows, "quarantined": 0, "objects": 1, "new": 1}
    assert sum(report["dataset"]["rows"].values()) == rows - case.unlabelled
    assert ("r2" in report["metrics"]) == (case.task == "regression")

    scored = tmp_path / "scored.parquet"
    done = deployment.json("predict", "mine", "--data", str(data), "--out", str(scored))
    assert (done["rows"], done["version"]) == (rows, 1)
    predictions = pd.read_parquet(scored)
    assert len(predictions) == rows
    assert predictions["prediction"].notna().all()
    assert data.read_bytes() == before
