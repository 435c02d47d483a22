"""The evaluation program: figures that a plain script confirms, the same bytes twice, nothing injected."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.inspection import permutation_importance
from sklearn.metrics import mean_squared_error, roc_auc_score

from mlops_assets.artifacts import digest_file
from mlops_assets.runtime.card import escaped
from mlops_assets.runtime.importance import importance
from mlops_assets.runtime.model import LoadedModel
from mlops_assets_tests.runtime.jobs import run_program, training, write_split

FEATURES = {"a": "float", "b": "int", "c": "string", "t": "timestamp"}


def rows(count: int, seed: int) -> pa.Table:
    draw = np.random.default_rng(seed)
    a = draw.normal(size=count)
    return pa.table(
        {
            "a": pa.array(np.where(draw.random(count) < 0.1, np.nan, a), from_pandas=True),
            "b": draw.integers(0, 4, count),
            "c": pa.array(
                [[None, "x", "<script>alert(1)</script>"][pick] for pick in draw.integers(0, 3, count)]
            ),
            "t": pa.array(np.datetime64("2026-01-01", "us") + np.arange(count)),
            "p": a * 3 + 10,
            "k": np.where(a + draw.normal(size=count) > 0, "yes", "no"),
        }
    )


def evaluated(tmp: Path, task: str, **changes: Any) -> dict[str, Any]:
    """Train, evaluate, and give the evaluation's folder, report and inputs."""
    inputs = {
        name: write_split(tmp / name, rows(400, seed))
        for seed, name in enumerate(("train", "validation", "test"))
    }
    estimator, target = {
        "regression": ("sklearn.ensemble.HistGradientBoostingRegressor", ("p", "float")),
        "classification": ("sklearn.ensemble.HistGradientBoostingClassifier", ("k", "string")),
    }[task]
    arguments = training(FEATURES, target, task=task, estimator=estimator)
    assert run_program(tmp / "train-job", "train", arguments, inputs)["status"] == 0
    model = tmp / "train-job" / "output"
    asked = {
        "model": "m",
        "files": {path.name: digest_file(path) for path in model.iterdir()},
        "dataset_version": "v1",
        "slices": ["c"],
        "bootstrap": 50,
        "description": "Prices.",
        **changes,
    }
    return {"inputs": {"model": model, "test": inputs["test"]}, "asked": asked}


@pytest.fixture(scope="module")
def regression(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    tmp = tmp_path_factory.mktemp("regression")
    case = evaluated(tmp, "regression")
    result = run_program(tmp / "one", "evaluate", case["asked"], case["inputs"])
    assert result["status"] == 0, result
    return {**case, "tmp": tmp, "output": tmp / "one" / "output"}


@pytest.fixture(scope="module")
def classification(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    tmp = tmp_path_factory.mktemp("classification")
    case = evaluated(tmp, "classification")
    result = run_program(tmp / "one", "evaluate", case["asked"], case["inputs"])
    assert result["status"] == 0, result
    return {**case, "tmp": tmp, "output": tmp / "one" / "output"}


def report(case: dict[str, Any]) -> dict[str, Any]:
    return json.loads((case["output"] / "evaluation.json").read_text())


def test_the_error_is_the_plain_scripts(regression: dict[str, Any]) -> None:
    test, found = rows(400, 2), report(regression)
    predicted = LoadedModel.load(regression["inputs"]["model"]).predict(test).column("prediction").to_numpy()
    assert found["metrics"]["mse"]["value"] == pytest.approx(
        mean_squared_error(test["p"].to_numpy(), predicted), rel=1e-12
    )
    assert found["rows"] == 400
    mean = rows(400, 0)["p"].to_numpy().mean()
    assert found["baseline"]["mse"] == pytest.approx(float(np.square(test["p"].to_numpy() - mean).mean()))


def test_auc_is_of_the_stored_models_probabilities(classification: dict[str, Any]) -> None:
    test, found = rows(400, 2), report(classification)
    answer = LoadedModel.load(classification["inputs"]["model"]).predict(test)
    expected = roc_auc_score(test["k"].to_numpy() == "yes", answer.column("probability_yes").to_numpy())
    assert found["metrics"]["roc_auc"]["value"] == pytest.approx(expected, rel=1e-12)
    assert found["confusion"]["labels"] == ["no", "yes"]
    assert np.sum(found["confusion"]["matrix"]) == 400


def test_each_task_has_its_plots(regression: dict[str, Any], classification: dict[str, Any]) -> None:
    assert report(regression)["plots"] == ["predicted_vs_actual", "residuals", "importance"]
    assert report(classification)["plots"] == [
        "confusion",
        "roc",
        "precision_recall",
        "calibration",
        "importance",
    ]
    for case in (regression, classification):
        for name in report(case)["plots"]:
            data = (case["output"] / "plots" / f"{name}.png").read_bytes()
            assert data.startswith(b"\x89PNG")
            assert len(data) < 60_000


def test_the_feature_that_makes_the_target_is_the_most_important(regression: dict[str, Any]) -> None:
    assert report(regression)["importance"][0]["feature"] == "a"


@pytest.mark.parametrize("case", ["regression", "classification"])
def test_importance_is_scikit_learns(case: str, request: pytest.FixtureRequest) -> None:
    inputs = request.getfixturevalue(case)["inputs"]
    model = LoadedModel.load(inputs["model"])
    table = rows(400, 2)
    frame, truth = model.frame(table), table["p" if case == "regression" else "k"].to_numpy()
    scoring = "neg_root_mean_squared_error" if case == "regression" else "neg_log_loss"
    reference: Any = permutation_importance(
        model.estimator, frame, truth, scoring=scoring, n_repeats=5, random_state=3
    )
    labels = truth if case == "regression" else truth.astype(str)
    found = {item["feature"]: item for item in importance(model, frame, labels, seed=3)}
    assert list(found) == [item["feature"] for item in sorted(found.values(), key=lambda item: -item["mean"])]
    for name, mean, std in zip(
        model.signature.names, reference.importances_mean, reference.importances_std, strict=True
    ):
        assert found[name]["mean"] == pytest.approx(mean, rel=1e-9, abs=1e-12)
        assert found[name]["std"] == pytest.approx(std, rel=1e-6, abs=1e-12)


def test_slices_cover_the_rows_and_missing_is_one_of_them(regression: dict[str, Any]) -> None:
    found = report(regression)
    assert set(found["slices"]) == {"c=x", "c=<script>alert(1)</script>", "c=(missing)"}
    assert sum(found["slice_rows"].values()) == 400


def test_the_same_request_gives_the_same_bytes(regression: dict[str, Any]) -> None:
    again = regression["tmp"] / "two"
    run_program(again, "evaluate", regression["asked"], regression["inputs"])
    files = sorted(
        path.relative_to(regression["output"]) for path in regression["output"].rglob("*") if path.is_file()
    )
    assert len(files) == 7
    for name in files:
        assert (again / "output" / name).read_bytes() == (regression["output"] / name).read_bytes(), name


def test_smoke_rows_hold_missing_values_and_their_answers_follow_from_the_json_alone(
    classification: dict[str, Any],
) -> None:
    samples, expected = (
        json.loads((classification["output"] / f"{name}.json").read_text())
        for name in ("samples", "expected")
    )
    assert len(samples) == len(expected) == 20
    assert any(None in sample.values() for sample in samples)
    assert any(None not in sample.values() for sample in samples)
    model = LoadedModel.load(classification["inputs"]["model"])
    assert model.predict_records(samples) == expected


def test_no_text_of_the_data_becomes_markup_in_the_card(regression: dict[str, Any]) -> None:
    card = (regression["output"] / "model_card.md").read_text()
    assert "<script>" not in card
    assert "&lt;script&gt;" in card
    assert "400 test rows" in card


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a|b", r"a\|b"),
        ("<img src=x>", "&lt;img src=x&gt;"),
        ("[x](javascript:y)", r"\[x\]\(javascript\:y\)"),
        ("one\ntwo", "one two"),
        ("# head", r"\# head"),
        ("1. one", r"1\. one"),
        ("-3.5", r"\-3.5"),
        ("http://x", r"http\://x"),
    ],
)
def test_escaped_text_is_text(text: str, shown: str) -> None:
    assert escaped(text) == shown


def test_a_slice_column_that_is_not_there_is_named(regression: dict[str, Any]) -> None:
    asked = {**regression["asked"], "slices": ["nowhere"]}
    result = run_program(regression["tmp"] / "missing", "evaluate", asked, regression["inputs"])
    assert "no column 'nowhere'" in result["error"]["what"]


def test_a_test_split_without_rows_is_refused(regression: dict[str, Any], tmp_path: Path) -> None:
    inputs = {**regression["inputs"], "test": write_split(tmp_path / "test", rows(400, 2).slice(0, 0))}
    result = run_program(tmp_path / "job", "evaluate", regression["asked"], inputs)
    assert "no row with a target" in result["error"]["what"]
