"""docs/regressions.md names a test for each known defect; here are those that no other place holds."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LinearRegression
from sklearn.metrics import mean_squared_error, r2_score

from mlops_assets.runtime.model import LoadedModel
from mlops_assets_tests.runtime.jobs import run_program, training, write_split

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "regressions.md"
NAMED = re.findall(r"`(\w[\w/]*\.py)::(\w+)`", PAGE.read_text(encoding="utf-8"))


def test_the_page_names_tests() -> None:
    assert len(NAMED) > 40


@pytest.mark.parametrize(("file", "name"), sorted(set(NAMED)), ids=str)
def test_every_test_that_the_page_names_is_there(file: str, name: str) -> None:
    source = (ROOT / "mlops_assets_tests" / file).read_text(encoding="utf-8")
    assert re.search(rf"^\s*(def|class) {name}\b", source, re.MULTILINE)


def _splits(folder: Path, x: np.ndarray, y: np.ndarray, checked: np.ndarray) -> dict[str, Path]:
    return {
        "train": write_split(folder / "train", pa.table({"x": x, "y": y})),
        "validation": write_split(folder / "validation", pa.table({"x": x, "y": checked})),
    }


def test_a_model_is_stored_under_the_name_of_what_it_is(tmp_path: Path) -> None:
    x = np.linspace(0, 1, 60)
    forest = "sklearn.ensemble.RandomForestRegressor"
    arguments = training({"x": "float"}, ("y", "float"), estimator=forest, parameters={"n_estimators": 3})
    result = run_program(tmp_path / "job", "train", arguments, _splits(tmp_path, x, x**2, x**2))
    model = LoadedModel.load(tmp_path / "job" / "output")
    assert isinstance(model.estimator.steps[-1][1], RandomForestRegressor)
    assert model.signature.estimator == result["estimator"] == forest


def test_negative_and_tiny_metrics_arrive_as_they_are(tmp_path: Path) -> None:
    x = np.linspace(0, 1, 60)
    y = x * 1e-7
    wrong = y[::-1].copy()
    linear = training({"x": "float"}, ("y", "float"), estimator="sklearn.linear_model.LinearRegression")
    result = run_program(tmp_path / "job", "train", linear, _splits(tmp_path, x, y, wrong))
    plain = LinearRegression().fit(x[:, None], y).predict(x[:, None])
    assert result["metrics"]["r2"] == pytest.approx(r2_score(wrong, plain), rel=1e-9)
    assert result["metrics"]["mse"] == pytest.approx(mean_squared_error(wrong, plain), rel=1e-9, abs=0)
    assert result["metrics"]["r2"] < 0 < result["metrics"]["mse"] < 1e-9


def test_a_number_given_as_text_is_refused_where_it_is_declared(tmp_path: Path) -> None:
    x = np.linspace(0, 1, 60)
    arguments = training({"x": "float"}, ("y", "float"), parameters={"max_depth": "8"})
    result = run_program(tmp_path / "job", "train", arguments, _splits(tmp_path, x, x, x))
    assert result["status"] == 1
    assert "max_depth" in result["error"]["what"]
    assert "'8'" in result["error"]["what"]


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_every_package_is_pinned_with_its_hashes(lock: str) -> None:
    text = (ROOT / lock).read_text(encoding="utf-8")
    entries = re.split(r"\n(?=[A-Za-z0-9])", text.strip())
    assert len(entries) > 50
    for entry in entries:
        assert re.match(r"[A-Za-z0-9._-]+(\[[\w,-]+\])?==[^ ]+", entry), entry.splitlines()[0]
        assert "--hash=sha256:" in entry, entry.splitlines()[0]
    assert "://" not in text
