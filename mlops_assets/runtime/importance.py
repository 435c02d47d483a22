"""Permutation importance: how much worse a model gets when a feature is shuffled (Breiman 2001)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils import check_random_state

from mlops_assets.runtime.frames import outcomes_of
from mlops_assets.runtime.metrics import score
from mlops_assets.runtime.model import CHUNK, LoadedModel

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

    The numbers are those of `sklearn.inspection.permutation_importance`, which asks the model once per
    shuffle; here it is asked about many at once, which takes a third of the time.

    Args:
        model: the model.
        frame: rows as the model takes them (casting.py).
        truth: their labels.
        seed: of the shuffling.
    """
    metric = importance_metric(model)
    sign = -1.0 if metric == "accuracy" else 1.0

    def errors(rows: pd.DataFrame) -> list[float]:
        """Of each repetition of the sample in `rows`."""
        answers = model.answer(rows)
        parts = (answers.slice(start, len(truth)) for start in range(0, len(rows), len(truth)))
        found = (score(outcomes_of(model, truth, part), [metric])[metric] for part in parts)
        return [float("nan") if error is None else sign * error for error in found]

    orders = _orders(len(frame), seed)
    (before,) = errors(frame)
    together = max(1, CHUNK // max(len(frame) * _REPEATS, 1))
    listed: list[dict[str, Any]] = []
    for start in range(0, len(frame.columns), together):
        names = [str(name) for name in frame.columns[start : start + together]]
        costs = np.reshape(errors(_shuffled(frame, names, orders)), (len(names), _REPEATS)) - before
        for name, mean, std in zip(names, costs.mean(axis=1), costs.std(axis=1), strict=True):
            if np.isfinite(mean):
                listed.append({"feature": name, "mean": float(mean), "std": float(std)})
    return sorted(listed, key=lambda item: (-item["mean"], item["feature"]))


def _orders(rows: int, seed: int) -> list[np.ndarray]:
    """The order of rows in each repetition, the same for every feature; each shuffles the one before."""
    random = check_random_state(check_random_state(seed).randint(np.iinfo(np.int32).max + 1))
    shuffle, order, orders = np.arange(rows), np.arange(rows), []
    for _ in range(_REPEATS):
        random.shuffle(shuffle)
        order = order[shuffle]
        orders.append(order)
    return orders


def _shuffled(frame: pd.DataFrame, names: Sequence[str], orders: Sequence[np.ndarray]) -> pd.DataFrame:
    """The frame once per name and order, in each with that column in that order."""
    columns = {}
    for name in frame.columns:
        values = frame[name].to_numpy()
        copies = np.tile(values, (len(names), len(orders), 1))
        if name in names:
            copies[names.index(name)] = [values[order] for order in orders]
        columns[name] = copies.reshape(-1)
    return pd.DataFrame(columns)
