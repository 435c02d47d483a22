"""The training program: the same model as a plain script's, on data as it really is."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.ensemble import RandomForestRegressor
from sklearn.metrics import mean_squared_error
from sklearn.pipeline import Pipeline

from mlops_assets.runtime.model import LoadedModel
from mlops_assets_tests.runtime.jobs import run_program, training, write_split


def messy(rows: int, seed: int) -> pa.Table:
    """Every kind of column, holes in most, an empty and a constant one."""
    draw = np.random.default_rng(seed)
    number = draw.normal(size=rows)
    holes = draw.random(rows) < 0.2
    return pa.table(
        {
            "number": pa.array(np.where(holes, np.nan, number), from_pandas=True),
            "count": pa.array(
                [
                    None if hole else int(value)
                    for hole, value in zip(holes, draw.integers(0, 9, rows), strict=True)
                ],
                pa.int64(),
            ),
            "flag": pa.array(
                [
                    None if hole else bool(value)
                    for hole, value in zip(holes, draw.integers(0, 2, rows), strict=True)
                ]
            ),
            "when": pa.array(np.datetime64("2026-01-01", "us") + draw.integers(0, 10**12, rows)),
            "colour": pa.array(
                [
                    None if hole else str(draw.choice(["red", "blue", f"rare {draw.integers(1000)}"]))
                    for hole in holes
                ]
            ),
            "empty": pa.nulls(rows, pa.float64()),
            "silent": pa.nulls(rows, pa.string()),
            "constant": pa.array(np.ones(rows)),
            "y": pa.array(number * 2 + 1),
            'odd one\'s "class"': pa.array(np.where(number > 0, "über", "sub|way")),
        }
    )


TYPES = {
    "number": "float",
    "count": "int",
    "flag": "bool",
    "when": "timestamp",
    "colour": "string",
    "empty": "float",
    "silent": "string",
    "constant": "float",
}


@pytest.fixture(scope="module")
def splits(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("splits")
    names = enumerate(("train", "validation"))
    return {name: write_split(folder / name, messy(300, seed)) for seed, name in names}


def test_a_forest_on_numbers_is_the_plain_scripts_to_the_last_digit(tmp_path: Path) -> None:
    draw = np.random.default_rng(3)
    names = [f"f{index}" for index in range(6)]
    frames = []
    for _ in range(2):
        frame = pd.DataFrame(draw.normal(size=(600, 6)), columns=names)
        frame["f1"] = draw.integers(0, 5, 600)
        frame["price"] = frame["f0"] * 3 + frame["f1"] ** 2 + draw.normal(size=600)
        frames.append(frame)
    inputs = {
        name: write_split(tmp_path / name, pa.Table.from_pandas(frame, preserve_index=False))
        for name, frame in zip(("train", "validation"), frames, strict=True)
    }
    parameters = {"max_depth": 8, "n_estimators": 80}
    types = {name: "int" if name == "f1" else "float" for name in names}
    arguments = training(
        types, ("price", "float"), estimator="sklearn.ensemble.RandomForestRegressor", parameters=parameters
    )
    result = run_program(tmp_path / "job", "train", arguments, inputs)
    plain = RandomForestRegressor(max_depth=8, n_estimators=80, random_state=0).fit(
        frames[0][names], frames[0]["price"]
    )
    expected = mean_squared_error(frames[1]["price"], plain.predict(frames[1][names]))
    assert result["metrics"]["mse"] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("encode", ["onehot", "ordinal"])
@pytest.mark.parametrize(
    "estimator", ["sklearn.linear_model.Ridge", "sklearn.ensemble.HistGradientBoostingRegressor"]
)
def test_mixed_missing_empty_and_constant_columns_train(
    tmp_path: Path, splits: dict[str, Path], encode: str, estimator: str
) -> None:
    options = {"numeric_impute": "median", "scale": True, "encode": encode, "max_categories": 5}
    arguments = training(TYPES, ("y", "float"), estimator=estimator, preprocessing=options)
    result = run_program(tmp_path / "job", "train", arguments, splits)
    assert result["status"] == 0, result
    assert result["metrics"]["r2"] > 0.5
    model = LoadedModel.load(tmp_path / "job" / "output")
    holes = pa.table({name: pa.nulls(2) for name in TYPES})
    assert np.isfinite(model.predict(holes).column("prediction").to_numpy()).all()


def test_a_classifier_with_odd_labels_trains(tmp_path: Path, splits: dict[str, Path]) -> None:
    arguments = training(
        TYPES,
        ('odd one\'s "class"', "string"),
        task="classification",
        estimator="sklearn.linear_model.LogisticRegression",
        preprocessing={"scale": True},
    )
    result = run_program(tmp_path / "job", "train", arguments, splits)
    assert result["metrics"]["accuracy"] > 0.7
    signature = LoadedModel.load(tmp_path / "job" / "output").signature
    assert signature.target.classes == ("sub|way", "über")
    assert sum(signature.baseline.prior or ()) == pytest.approx(1)


def test_the_scaler_is_stored_with_the_model_and_saw_neither_target_nor_validation(
    tmp_path: Path, splits: dict[str, Path]
) -> None:
    arguments = training(
        {"constant": "float", "number": "float"}, ("y", "float"), preprocessing={"scale": True}
    )
    run_program(tmp_path / "job", "train", arguments, splits)
    pipeline = LoadedModel.load(tmp_path / "job" / "output").estimator
    assert isinstance(pipeline, Pipeline)
    scaler = pipeline.named_steps["scale"]
    train = messy(300, 0).to_pandas()["number"]
    assert scaler.n_features_in_ == 2
    assert scaler.mean_[1] == pytest.approx(train.fillna(train.median()).mean())


def test_a_seed_reaches_the_estimator_and_is_all_the_randomness_there_is(
    tmp_path: Path, splits: dict[str, Path]
) -> None:
    def bytes_of(name: str, seed: int) -> bytes:
        arguments = training(
            TYPES,
            ("y", "float"),
            seed=seed,
            estimator="sklearn.ensemble.RandomForestRegressor",
            parameters={"n_estimators": 3},
        )
        run_program(tmp_path / name, "train", arguments, splits)
        return (tmp_path / name / "output" / "model.skops").read_bytes()

    first = bytes_of("one", 1)
    assert first == bytes_of("again", 1)
    assert first != bytes_of("two", 2)


def test_rows_without_a_target_are_left_out(tmp_path: Path) -> None:
    table = pa.table({"a": [1.0, 2.0, 3.0, 4.0], "y": [1.0, None, float("nan"), 4.0]})
    inputs = {name: write_split(tmp_path / name, table) for name in ("train", "validation")}
    result = run_program(tmp_path / "job", "train", training({"a": "float"}, ("y", "float")), inputs)
    assert result["rows"] == {"train": 2, "validation": 2, "measured": 2}


@pytest.mark.parametrize(
    ("changes", "what", "mend"),
    [
        ({"estimator": "os.system"}, "'os.system' is not allowed", "MLOPS_ALLOWED_ESTIMATORS"),
        ({"estimator": "sklearn.tree.NoSuchTree"}, "There is no estimator", "import path"),
        ({"estimator": "sklearn.preprocessing.StandardScaler"}, "is not an estimator", "fit and predict"),
        ({"estimator": "sklearn.tree.DecisionTreeClassifier"}, "does no regression", "regression"),
        ({"parameters": {"max_dept": 3}}, "no parameter 'max_dept'", "'max_depth'"),
        ({"parameters": {"max_depth": -1}}, "could not be fitted.*max_depth", "parameters"),
        ({"target": {"name": "z", "type": "float"}}, "no column 'z'", "dataset"),
        (
            {"task": "classification", "target": {"name": "constant", "type": "float"}},
            r"holds 1 class",
            "another class",
        ),
    ],
)
def test_a_mistake_is_named_with_its_mend(
    tmp_path: Path, splits: dict[str, Path], changes: dict[str, Any], what: str, mend: str
) -> None:
    arguments = {**training({"number": "float"}, ("y", "float")), **changes}
    result = run_program(tmp_path / "job", "train", arguments, splits)
    assert result["status"] == 1
    assert re.search(what, result["error"]["what"], re.DOTALL)
    assert mend in result["error"]["mend"]
    assert not list((tmp_path / "job" / "output").iterdir())


def test_an_infinite_value_is_named_with_its_column_and_row(tmp_path: Path) -> None:
    table = pa.table({"a": [1.0, float("inf"), 3.0], "y": [1.0, 2.0, 3.0]})
    inputs = {name: write_split(tmp_path / name, table) for name in ("train", "validation")}
    result = run_program(tmp_path / "job", "train", training({"a": "float"}, ("y", "float")), inputs)
    assert result["error"]["where"] == "row 2, column a"


def test_a_user_program_whose_model_holds_untrusted_types_never_becomes_a_candidate(
    tmp_path: Path, splits: dict[str, Path]
) -> None:
    program = (
        "class Mine:\n"
        "    def predict(self, x):\n"
        "        return x['number']\n"
        "def train(train, validation, parameters):\n"
        "    return Mine()\n"
    )
    arguments = training({"number": "float"}, ("y", "float"), estimator=None, program="train.py")
    result = run_program(tmp_path / "job", "train", arguments, splits, code={"train.py": program})
    assert result["error"]["type"] == "UntrustedModelError"
    assert "train.Mine" in result["error"]["what"]


def test_sigterm_ends_native_code_at_once() -> None:
    script = (
        "import sys\n"
        "from mlops_assets.runtime.process import end_with_parent\n"
        "end_with_parent(watch_stdin=False)\n"
        "import numpy as np\n"
        "print('ready', flush=True)\n"
        "block = np.ones((3000, 3000))\n"
        "while True:\n"
        "    block = block @ block * 1e-9\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(10) == 143
    finally:
        process.kill()
        process.wait()
