"""Metrics and intervals: scikit-learn is the oracle, on plain rows and on repeated ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from mlops_assets.artifacts.metrics import METRICS, metrics_for
from mlops_assets.runtime import bootstrap
from mlops_assets.runtime.bootstrap import intervals
from mlops_assets.runtime.metrics import score
from mlops_assets.runtime.outcomes import Outcomes, baseline_outcomes, outcomes
from mlops_assets.runtime.signature import Baseline


def regression(rows: int, seed: int) -> Outcomes:
    draw = np.random.default_rng(seed)
    truth = draw.normal(50, 10, rows)
    return outcomes("regression", truth, truth + draw.normal(1, 3, rows).round(1))


def classification(rows: int, seed: int, classes: int) -> Outcomes:
    draw = np.random.default_rng(seed)
    names = np.array(["ant", "bee", "cat", "dog"][:classes])
    # Rounded scores: ties are where curves go wrong.
    scores = draw.dirichlet(np.ones(classes), rows).round(2) + 1e-3
    scores /= scores.sum(axis=1, keepdims=True)
    truth = names[[draw.choice(classes, p=row) for row in scores]]
    return outcomes("classification", truth, names[scores.argmax(axis=1)], scores, names.tolist())


def test_regression_metrics_are_scikit_learns() -> None:
    rows = regression(500, 0)
    found = score(rows)
    assert list(found) == list(metrics_for("regression"))
    assert found["mse"] == sk.mean_squared_error(rows.truth, rows.predicted)
    assert found["r2"] == sk.r2_score(rows.truth, rows.predicted)
    assert found["error_std"] == pytest.approx(np.std(rows.truth - rows.predicted), rel=1e-12)


def test_auc_is_of_the_probabilities_never_of_rounded_predictions() -> None:
    rows = classification(400, 1, 2)
    assert rows.probabilities is not None
    truth, scores = rows.truth == 1, rows.probabilities[:, 1]
    found = score(rows)
    assert found["roc_auc"] == sk.roc_auc_score(truth, scores)
    assert found["roc_auc"] != sk.roc_auc_score(truth, scores.round())
    assert found["average_precision"] == sk.average_precision_score(truth, scores)
    assert found["log_loss"] == pytest.approx(sk.log_loss(truth, rows.probabilities), rel=1e-12)
    # scikit-learn's Brier score of two classes is of one of them; ours is summed over both.
    assert found["brier"] == pytest.approx(2 * sk.brier_score_loss(truth, scores), rel=1e-12)


def test_multi_class_metrics_are_scikit_learns() -> None:
    rows = classification(400, 2, 4)
    found = score(rows)
    assert found["roc_auc"] == pytest.approx(
        sk.roc_auc_score(rows.truth, rows.probabilities, multi_class="ovr"), rel=1e-12
    )
    assert found["f1"] == pytest.approx(sk.f1_score(rows.truth, rows.predicted, average="macro"), rel=1e-12)
    assert found["log_loss"] == pytest.approx(sk.log_loss(rows.truth, rows.probabilities), rel=1e-12)


def test_a_class_that_the_test_rows_lack_leaves_the_other_classes_measured() -> None:
    rows = classification(300, 3, 3)
    kept = rows.take(rows.truth != 2)
    found = score(kept)
    assert kept.probabilities is not None
    expected = [sk.roc_auc_score(kept.truth == label, kept.probabilities[:, label]) for label in (0, 1)]
    assert found["roc_auc"] == pytest.approx(np.mean(expected))
    assert all(value is not None for value in found.values())


def test_a_class_that_training_lacked_counts_as_wrong() -> None:
    truth = np.array(["a", "b", "new", "b"])
    rows = outcomes(
        "classification", truth, np.array(["a", "b", "a", "b"]), np.eye(2)[[0, 1, 0, 1]], ("a", "b")
    )
    assert rows.classes == ("a", "b", "new")
    assert score(rows, ["accuracy"]) == {"accuracy": 0.75}
    assert score(rows, ["log_loss"])["log_loss"] > 5  # type: ignore[operator]


@pytest.mark.parametrize("rows", [0, 1])
def test_what_is_undefined_is_none_never_nan(rows: int) -> None:
    for found in (
        score(regression(5, 0).take(np.arange(rows))),
        score(classification(5, 0, 2).take(np.arange(rows))),
    ):
        assert all(value is None or np.isfinite(value) for value in found.values())
    assert score(classification(9, 0, 2).take(np.arange(rows)))["roc_auc"] is None
    assert score(regression(5, 0).take(np.arange(rows)))["r2"] is None


def test_without_probabilities_their_metrics_are_none() -> None:
    full = classification(50, 0, 2)
    bare = Outcomes(full.task, full.truth, full.predicted, None, full.classes)
    assert score(bare)["roc_auc"] is None
    assert score(bare)["accuracy"] == score(full)["accuracy"]
    assert intervals(bare, ["roc_auc"], resamples=10, confidence=0.9, seed=0) == {"roc_auc": None}


def test_the_baseline_answers_the_mean_or_the_shares() -> None:
    rows = regression(100, 0)
    mean = baseline_outcomes(rows, Baseline(kind="mean", value=float(rows.truth.mean())), ())
    assert score(mean, ["r2"])["r2"] == pytest.approx(0)
    labels = classification(100, 0, 2)
    prior = baseline_outcomes(labels, Baseline(kind="prior", prior=(0.3, 0.7)), ("ant", "bee"))
    assert score(prior, ["accuracy", "roc_auc"]) == {
        "accuracy": float((labels.truth == 1).mean()),
        "roc_auc": 0.5,
    }


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), classes=st.sampled_from([0, 2, 3]), rows=st.integers(5, 60))
def test_a_weighted_statistic_is_scikit_learns_of_the_repeated_rows(
    seed: int, classes: int, rows: int
) -> None:
    made = regression(rows, seed) if classes == 0 else classification(rows, seed, classes)
    drawn = np.random.default_rng(seed + 1).integers(0, rows, rows)
    weights = np.bincount(drawn, minlength=rows).astype(float)[None, :]
    repeated = made.take(drawn)
    expected = score(repeated)
    for name, value in expected.items():
        if value is None or (
            METRICS[name].needs == "probabilities" and len(set(repeated.truth)) < len(set(made.truth))
        ):
            continue  # a curve of a class that the resample lost is undefined there
        with np.errstate(all="ignore"):
            (found,) = bootstrap._STATISTICS[name](made)(weights)
        assert found == pytest.approx(value, rel=1e-9, abs=1e-12), name


def test_intervals_hold_the_value_narrow_with_rows_and_repeat_with_the_seed() -> None:
    names = list(metrics_for("regression"))
    small, large = regression(100, 0), regression(10_000, 0)
    first = intervals(small, names, resamples=200, confidence=0.95, seed=7)
    assert first == intervals(small, names, resamples=200, confidence=0.95, seed=7)
    wide, narrow = (
        intervals(rows, ["mse"], resamples=200, confidence=0.95, seed=7)["mse"] for rows in (small, large)
    )
    value = score(large, ["mse"])["mse"]
    assert wide is not None and narrow is not None and value is not None
    assert narrow[0] < value < narrow[1]
    assert (narrow[1] - narrow[0]) * 5 < wide[1] - wide[0]


def test_an_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    covered = 0
    for seed in range(200):
        draw = np.random.default_rng(seed)
        rows = outcomes("regression", draw.normal(size=150), np.zeros(150))
        bounds = intervals(rows, ["mse"], resamples=200, confidence=0.9, seed=seed)["mse"]
        assert bounds is not None
        covered += bounds[0] <= 1.0 <= bounds[1]
    assert 0.82 <= covered / 200 <= 0.96


def test_no_resamples_give_no_intervals() -> None:
    assert intervals(regression(10, 0), ["mse"], resamples=0, confidence=0.9, seed=0) == {"mse": None}
