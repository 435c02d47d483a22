"""The metrics by name: what is known of each without computing it, and how they are shown to people."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Task = Literal["regression", "classification"]


@dataclass(frozen=True)
class MetricInfo:
    """What is known of a metric without computing it.

    Attributes:
        tasks: tasks it is defined for.
        greater_is_better: direction of improvement.
        needs: `labels` (predicted values or classes) or `probabilities`.
        meaning: one line for reports, with the unit.
    """

    tasks: tuple[Task, ...]
    greater_is_better: bool
    needs: Literal["labels", "probabilities"]
    meaning: str


_R: tuple[Task, ...] = ("regression",)
_C: tuple[Task, ...] = ("classification",)

# In the order of reports: first those that people ask for first.
METRICS: dict[str, MetricInfo] = {
    "r2": MetricInfo(_R, True, "labels", "coefficient of determination, at most 1"),
    "rmse": MetricInfo(_R, False, "labels", "root of the mean squared error, in units of the target"),
    "mae": MetricInfo(_R, False, "labels", "mean absolute error, in units of the target"),
    "error_std": MetricInfo(_R, False, "labels", "standard deviation of the errors, in units of the target"),
    "median_absolute_error": MetricInfo(_R, False, "labels", "median absolute error, in units of the target"),
    "mape": MetricInfo(_R, False, "labels", "mean absolute percentage error, as a fraction"),
    "max_error": MetricInfo(_R, False, "labels", "largest absolute error, in units of the target"),
    "mse": MetricInfo(_R, False, "labels", "mean squared error, in squared units of the target"),
    "accuracy": MetricInfo(_C, True, "labels", "share of rows classified correctly"),
    "balanced_accuracy": MetricInfo(_C, True, "labels", "mean recall over the classes"),
    "f1": MetricInfo(_C, True, "labels", "F1, macro-averaged over the classes"),
    "roc_auc": MetricInfo(_C, True, "probabilities", "area under the ROC curve, one-vs-rest macro average"),
    "log_loss": MetricInfo(_C, False, "probabilities", "mean negative log-likelihood, in nats"),
    "precision": MetricInfo(_C, True, "labels", "precision, macro-averaged over the classes"),
    "recall": MetricInfo(_C, True, "labels", "recall, macro-averaged over the classes"),
    "average_precision": MetricInfo(_C, True, "probabilities", "area under precision-recall, macro average"),
    "brier": MetricInfo(
        _C, False, "probabilities", "mean squared error of the probabilities, summed over classes"
    ),
}


def metrics_for(task: Task) -> dict[str, MetricInfo]:
    """The metrics defined for `task`, in the table's order."""
    return {name: info for name, info in METRICS.items() if task in info.tasks}


def in_order(names: Iterable[str]) -> list[str]:
    """The metrics `names` in the order of reports; names that are none come last.

    >>> in_order(["mse", "rmse", "r2"])
    ['r2', 'rmse', 'mse']
    """
    places = {name: place for place, name in enumerate(METRICS)}
    return sorted(names, key=lambda name: (places.get(name, len(places)), name))


def shown(value: float | None, *, absent: str = "n/a") -> str:
    """A number for people: five significant digits, thousands parted, whole from ten thousand.

    >>> shown(20512.349), shown(0.912345), shown(None)
    ('20,512', '0.91234', 'n/a')
    """
    if value is None:
        return absent
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:,.5g}"


def brief(value: float) -> float:
    """`value` cut to six significant digits, but never before the point: for metadata that the UI plots.

    >>> brief(34550.33016891019), brief(0.8927495489009329), brief(1193725314.780706)
    (34550.3, 0.89275, 1193725315.0)
    """
    if not math.isfinite(value) or value == 0:
        return value
    return round(value, max(0, 5 - math.floor(math.log10(abs(value)))))
