"""Every metric of artifacts/metrics.py, computed by scikit-learn from outcomes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import numpy as np
from sklearn import metrics as sk

from mlops_assets.artifacts.digest import finite_or_none
from mlops_assets.artifacts.metrics import METRICS, metrics_for
from mlops_assets.runtime.outcomes import Outcomes


def score(outcomes: Outcomes, names: Sequence[str] | None = None) -> dict[str, float | None]:
    """Metric name -> value; None where it is undefined on these rows (one class, no probabilities, no rows).

    Args:
        outcomes: the rows.
        names: metrics of the task; default: all of them.
    """
    return {name: _one(name, outcomes) for name in names or metrics_for(outcomes.task)}


def _one(name: str, outcomes: Outcomes) -> float | None:
    if outcomes.rows == 0 or (METRICS[name].needs == "probabilities" and outcomes.probabilities is None):
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return finite_or_none(float(_FUNCTIONS[name](outcomes)))


def positives(outcomes: Outcomes) -> list[int]:
    """Classes that curves are drawn for: the second of two, else each; those with rows in and out of them."""
    every = [1] if len(outcomes.classes) == 2 else range(len(outcomes.classes))
    counts = np.bincount(outcomes.truth, minlength=len(outcomes.classes))
    return [position for position in every if 0 < counts[position] < outcomes.rows]


def _over_classes(function: Callable[..., float]) -> Callable[[Outcomes], float]:
    def average(outcomes: Outcomes) -> float:
        assert outcomes.probabilities is not None
        values = [
            function(outcomes.truth == position, outcomes.probabilities[:, position])
            for position in positives(outcomes)
        ]
        return float(np.mean(values)) if values else float("nan")

    return average


def _labels(function: Callable[..., float], **options: object) -> Callable[[Outcomes], float]:
    return lambda outcomes: function(outcomes.truth, outcomes.predicted, **options)


def _log_loss(outcomes: Outcomes) -> float:
    return float(row_log_loss(outcomes).mean())


def row_log_loss(outcomes: Outcomes) -> np.ndarray:
    """Negative log-likelihood of each row, in nats; probabilities are clipped to float64's epsilon."""
    assert outcomes.probabilities is not None
    epsilon = np.finfo(np.float64).eps
    total = outcomes.probabilities.sum(axis=1)
    given = outcomes.probabilities[np.arange(outcomes.rows), outcomes.truth] / np.where(total > 0, total, 1.0)
    return -np.log(np.clip(given, epsilon, 1 - epsilon))


def row_brier(outcomes: Outcomes) -> np.ndarray:
    """Squared error of each row's probabilities, summed over the classes (Brier 1950)."""
    assert outcomes.probabilities is not None
    errors = np.array(outcomes.probabilities)
    errors[np.arange(outcomes.rows), outcomes.truth] -= 1.0
    return np.square(errors).sum(axis=1)


_FUNCTIONS: dict[str, Callable[[Outcomes], float]] = {
    "mse": _labels(sk.mean_squared_error),
    "rmse": _labels(sk.root_mean_squared_error),
    "mae": _labels(sk.mean_absolute_error),
    "median_absolute_error": _labels(sk.median_absolute_error),
    "mape": _labels(sk.mean_absolute_percentage_error),
    "max_error": _labels(sk.max_error),
    "r2": _labels(sk.r2_score),
    "error_std": lambda outcomes: float(np.std(outcomes.truth - outcomes.predicted)),
    "accuracy": _labels(sk.accuracy_score),
    "balanced_accuracy": _labels(sk.balanced_accuracy_score),
    "f1": _labels(sk.f1_score, average="macro", zero_division=0),
    "precision": _labels(sk.precision_score, average="macro", zero_division=0),
    "recall": _labels(sk.recall_score, average="macro", zero_division=0),
    "roc_auc": _over_classes(sk.roc_auc_score),
    "average_precision": _over_classes(sk.average_precision_score),
    "log_loss": _log_loss,
    "brier": lambda outcomes: float(row_brier(outcomes).mean()),
}
