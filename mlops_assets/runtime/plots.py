"""The plots of an evaluation: small PNGs whose bytes depend on the numbers alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter
from sklearn.calibration import calibration_curve
from sklearn.metrics import confusion_matrix, precision_recall_curve, roc_curve

from mlops_assets.runtime.metrics import positives
from mlops_assets.runtime.outcomes import Outcomes
from mlops_assets.runtime.signature import label_text

_MOST_POINTS = 2_000
_MOST_CURVES = 6
_MOST_CLASSES = 20
_MOST_FEATURES = 20
_BLUE, _GREY = "#3b6fb6", "#9a9a9a"


def write_plots(
    outcomes: Outcomes, importance: Sequence[Mapping[str, Any]], folder: Path, *, seed: int
) -> list[str]:
    """Write the task's plots as `<name>.png` into `folder`; the names, in the order to show them.

    Args:
        outcomes: the test rows.
        importance: as importance.py gives it; none: no such plot.
        folder: made where it is not there.
        seed: of the sample that scatter plots show.
    """
    folder.mkdir(parents=True, exist_ok=True)
    draw: dict[str, Callable[[Axes], None]] = {}
    if outcomes.task == "regression":
        points = _sample(outcomes, seed)
        draw["predicted_vs_actual"] = lambda axes: _predicted_vs_actual(axes, points)
        draw["residuals"] = lambda axes: _residuals(axes, points)
    else:
        draw["confusion"] = lambda axes: _confusion(axes, outcomes)
        if outcomes.probabilities is not None and positives(outcomes):
            draw["roc"] = lambda axes: _roc(axes, outcomes)
            draw["precision_recall"] = lambda axes: _precision_recall(axes, outcomes)
            draw["calibration"] = lambda axes: _calibration(axes, outcomes)
    if importance:
        draw["importance"] = lambda axes: _importance(axes, importance[:_MOST_FEATURES])
    for name, function in draw.items():
        _save(folder / f"{name}.png", function)
    return list(draw)


def _save(path: Path, draw: Callable[[Axes], None]) -> None:
    figure = Figure(figsize=(6, 4), dpi=80, layout="constrained")
    draw(figure.add_subplot())
    # matplotlib writes its own version into the file otherwise.
    figure.savefig(path, metadata={"Software": None})


def _sample(outcomes: Outcomes, seed: int) -> Outcomes:
    if outcomes.rows <= _MOST_POINTS:
        return outcomes
    rows = np.random.default_rng(seed).choice(outcomes.rows, _MOST_POINTS, replace=False)
    return outcomes.take(np.sort(rows))


def _predicted_vs_actual(axes: Axes, outcomes: Outcomes) -> None:
    both = np.concatenate([outcomes.truth, outcomes.predicted])
    axes.plot([both.min(), both.max()], [both.min(), both.max()], color=_GREY, linewidth=1)
    axes.scatter(outcomes.truth, outcomes.predicted, s=6, alpha=0.5, color=_BLUE, linewidths=0)
    axes.set(xlabel="actual", ylabel="predicted", title="Predicted against actual")
    _plain_numbers(axes.xaxis, axes.yaxis)


def _residuals(axes: Axes, outcomes: Outcomes) -> None:
    axes.axhline(0.0, color=_GREY, linewidth=1)
    axes.scatter(
        outcomes.predicted, outcomes.truth - outcomes.predicted, s=6, alpha=0.5, color=_BLUE, linewidths=0
    )
    axes.set(xlabel="predicted", ylabel="actual - predicted", title="Residuals")
    _plain_numbers(axes.xaxis, axes.yaxis)


def _confusion(axes: Axes, outcomes: Outcomes) -> None:
    size = len(outcomes.classes)
    matrix = confusion_matrix(outcomes.truth, outcomes.predicted, labels=range(size))
    axes.imshow(matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1), cmap="Blues", vmin=0, vmax=1)
    axes.set(xlabel="predicted", ylabel="actual", title="Confusion (rows by class; colour: share of the row)")
    if size <= _MOST_CLASSES:
        names = [_short(label_text(label)) for label in outcomes.classes]
        axes.set_xticks(range(size), names, rotation=45, ha="right", parse_math=False)
        axes.set_yticks(range(size), names, parse_math=False)
        for (row, column), count in np.ndenumerate(matrix):
            dark = count > 0.5 * max(matrix[row].sum(), 1)
            axes.text(column, row, f"{count:,}", ha="center", va="center", color="white" if dark else "black")


def _curves(outcomes: Outcomes) -> list[tuple[str, np.ndarray, np.ndarray]]:
    assert outcomes.probabilities is not None
    return [
        (
            _short(label_text(outcomes.classes[position])),
            outcomes.truth == position,
            outcomes.probabilities[:, position],
        )
        for position in positives(outcomes)[:_MOST_CURVES]
    ]


def _legend(axes: Axes) -> None:
    for text in axes.legend(fontsize="small").get_texts():
        text.set_parse_math(False)


def _roc(axes: Axes, outcomes: Outcomes) -> None:
    axes.plot([0, 1], [0, 1], color=_GREY, linewidth=1)
    for name, truth, scores in _curves(outcomes):
        false_alarms, hits, _ = roc_curve(truth, scores)
        axes.plot(false_alarms, hits, label=f"class {name}")
    axes.set(xlabel="false positive rate", ylabel="true positive rate", title="ROC")
    _legend(axes)


def _precision_recall(axes: Axes, outcomes: Outcomes) -> None:
    for name, truth, scores in _curves(outcomes):
        precision, recall, _ = precision_recall_curve(truth, scores)
        axes.plot(recall, precision, label=f"class {name}")
    axes.set(xlabel="recall", ylabel="precision", ylim=(0, 1.02), title="Precision and recall")
    _legend(axes)


def _calibration(axes: Axes, outcomes: Outcomes) -> None:
    axes.plot([0, 1], [0, 1], color=_GREY, linewidth=1)
    for name, truth, scores in _curves(outcomes):
        share, predicted = calibration_curve(truth, np.clip(scores, 0, 1), n_bins=10)
        axes.plot(predicted, share, marker="o", markersize=4, label=f"class {name}")
    axes.set(xlabel="predicted probability", ylabel="share of rows in the class", title="Calibration")
    _legend(axes)


def _importance(axes: Axes, importance: Sequence[Mapping[str, Any]]) -> None:
    ordered = list(reversed(importance))
    axes.barh(
        range(len(ordered)),
        [item["mean"] for item in ordered],
        xerr=[item["std"] for item in ordered],
        color=_BLUE,
        ecolor=_GREY,
    )
    axes.set_yticks(range(len(ordered)), [_short(item["feature"]) for item in ordered], parse_math=False)
    axes.set(xlabel="what shuffling the feature costs", title="Permutation importance")
    _plain_numbers(axes.xaxis)


def _plain_numbers(*sides: Axis) -> None:
    """Thousands parted, and no factor at the side's end that is easily overlooked."""
    for side in sides:
        side.set_major_locator(MaxNLocator(6))
        side.set_major_formatter(StrMethodFormatter("{x:,.10g}"))


def _short(text: str) -> str:
    return text if len(text) <= 24 else f"{text[:23]}…"
