"""Permutation importance: how much worse a model gets when a feature is shuffled (Breiman 2001)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from sklearn.inspection import permutation_importance

from mlops_assets.runtime.frames import outcomes_of
from mlops_assets.runtime.metrics import score
from mlops_assets.runtime.model import LoadedModel

# Cells that are scored per repetition, so that a wide table costs no more than a narrow one.
_CELLS = 20_000
_MOST_ROWS = 2_000
_REPEATS = 5


def sample_size(features: int) -> int:
    """Rows that importance is measured on, at most."""
    return max(200, min(_MOST_ROWS, _CELLS // max(features, 1)))


def importance_metric(model: LoadedModel) -> str:
    """The error whose rise is measured: rmse or log_loss; accuracy's fall without probabilities."""
    if model.signature.task == "regression":
        return "rmse"
    return "log_loss" if model.has_probabilities else "accuracy"


def importance(
    model: LoadedModel, frame: pd.DataFrame, truth: np.ndarray, *, seed: int
) -> list[dict[str, Any]]:
    """Features with the mean and standard deviation of what shuffling them costs, the dearest first.

    Args:
        model: the model.
        frame: rows as the model takes them (casting.py).
        truth: their labels.
        seed: of the shuffling.
    """
    metric = importance_metric(model)
    sign = 1.0 if metric == "accuracy" else -1.0

    def quality(_: Any, rows: pd.DataFrame, labels: np.ndarray) -> float:
        value = score(outcomes_of(model, labels, model.answer(rows)), [metric])[metric]
        return sign * value if value is not None else float("nan")

    found: Any = permutation_importance(
        model.estimator, frame, truth, scoring=quality, n_repeats=_REPEATS, random_state=seed
    )
    rows = zip(
        model.signature.names, found.importances_mean.tolist(), found.importances_std.tolist(), strict=True
    )
    listed = [{"feature": name, "mean": mean, "std": std} for name, mean, std in rows if np.isfinite(mean)]
    return sorted(listed, key=lambda item: (-item["mean"], item["feature"]))
