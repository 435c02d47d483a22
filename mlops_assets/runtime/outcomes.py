"""True values beside predictions, in the one form that metrics, intervals, slices and plots compute from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mlops_assets.artifacts.metrics import Task
from mlops_assets.runtime.signature import Baseline, Label


@dataclass(frozen=True)
class Outcomes:
    """N rows.

    Attributes:
        truth: N float64 (regression) or N positions in `classes` (classification).
        predicted: as `truth`.
        probabilities: N x len(classes), or None where the estimator gives none.
        classes: sorted; those of the model, and any that only the rows hold.
    """

    task: Task
    truth: np.ndarray
    predicted: np.ndarray
    probabilities: np.ndarray | None = None
    classes: tuple[Label, ...] = ()

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.truth)

    def take(self, rows: np.ndarray) -> Outcomes:
        """Those of `rows`, positions or a mask."""
        probabilities = None if self.probabilities is None else self.probabilities[rows]
        return Outcomes(self.task, self.truth[rows], self.predicted[rows], probabilities, self.classes)


def outcomes(
    task: Task,
    truth: np.ndarray,
    predicted: np.ndarray,
    probabilities: np.ndarray | None = None,
    classes: Sequence[Label] = (),
) -> Outcomes:
    """Outcomes from labels as they are; a class that the model does not know gets probability 0."""
    if task == "regression":
        return Outcomes(task, np.asarray(truth, np.float64), np.asarray(predicted, np.float64))
    unknown = set(np.unique(truth).tolist()) - set(classes)
    every = sorted({*classes, *unknown}, key=lambda label: (str(type(label)), label))
    known = [every.index(label) for label in classes]
    full = None
    if probabilities is not None:
        full = np.zeros((len(truth), len(every)))
        full[:, known] = probabilities
    return Outcomes(task, _codes(truth, every), _codes(predicted, every), full, tuple(every))


def baseline_outcomes(actual: Outcomes, baseline: Baseline, classes: Sequence[Label]) -> Outcomes:
    """What the naive baseline answers for the rows of `actual`.

    Args:
        actual: the model's outcomes on those rows.
        baseline: the mean, or the shares of `classes`, in training.
        classes: the model's classes, in the order of `baseline.prior`.
    """
    if actual.task == "regression":
        return Outcomes(actual.task, actual.truth, np.full(actual.rows, baseline.value, np.float64))
    prior = np.zeros(len(actual.classes))
    prior[[actual.classes.index(label) for label in classes]] = baseline.prior
    predicted = np.full(actual.rows, int(prior.argmax()))
    return Outcomes(
        actual.task,
        actual.truth,
        predicted,
        np.broadcast_to(prior, (actual.rows, len(prior))),
        actual.classes,
    )


def _codes(labels: np.ndarray, classes: Sequence[Label]) -> np.ndarray:
    unique, inverse = np.unique(labels, return_inverse=True)
    positions = np.array([classes.index(label) for label in unique.tolist()], dtype=np.intp)
    return positions[inverse] if len(unique) else np.zeros(0, np.intp)
