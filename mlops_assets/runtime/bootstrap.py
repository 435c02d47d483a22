"""Percentile bootstrap intervals of every metric, many resamples at once (Efron 1979).

A resample is a vector of weights: how often each row was drawn. Every metric here is a function of such
weights, so rows are sorted once and never copied. A test holds them equal to scikit-learn's on repeated rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from mlops_assets.artifacts.metrics import METRICS
from mlops_assets.runtime.metrics import positives, row_brier, row_log_loss
from mlops_assets.runtime.outcomes import Outcomes

# More rows are sampled down to this many first: the intervals are then as wide as for that many rows.
MAX_ROWS = 100_000
# A block of weights stays in the cache: 2.4 times faster than one of 32 MB.
_CELLS = 400_000

Statistic = Callable[[np.ndarray], np.ndarray]


def intervals(
    outcomes: Outcomes, names: Sequence[str], *, resamples: int, confidence: float, seed: int
) -> dict[str, tuple[float, float] | None]:
    """Metric name -> (low, high); None where a metric is undefined on the rows or on most resamples.

    Args:
        outcomes: the rows; more than `MAX_ROWS` are sampled down.
        names: metrics of the task.
        resamples: how many; 0 gives no intervals.
        confidence: share of the resamples between low and high.
        seed: of the resampling.
    """
    usable = [name for name in names if METRICS[name].needs == "labels" or outcomes.probabilities is not None]
    found: dict[str, tuple[float, float] | None] = dict.fromkeys(names)
    if resamples == 0 or outcomes.rows == 0:
        return found
    random = np.random.default_rng(seed)
    if outcomes.rows > MAX_ROWS:
        outcomes = outcomes.take(np.sort(random.choice(outcomes.rows, MAX_ROWS, replace=False)))
    statistics = {name: _STATISTICS[name](outcomes) for name in usable}
    values: dict[str, list[np.ndarray]] = {name: [] for name in usable}
    for weights in _weights(random, outcomes.rows, resamples):
        with np.errstate(divide="ignore", invalid="ignore"):
            for name, statistic in statistics.items():
                values[name].append(statistic(weights))
    for name, parts in values.items():
        found[name] = _percentiles(np.concatenate(parts), confidence)
    return found


def _weights(random: np.random.Generator, rows: int, resamples: int) -> Iterator[np.ndarray]:
    """Blocks of weights, resamples x rows, each row of a block adding up to `rows`."""
    block = max(1, min(resamples, _CELLS // rows))
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        draws = (np.bincount(random.integers(0, rows, rows), minlength=rows) for _ in range(size))
        yield np.stack(list(draws)).astype(np.float64)


def _percentiles(values: np.ndarray, confidence: float) -> tuple[float, float] | None:
    finite = values[np.isfinite(values)]
    if len(finite) * 2 < len(values) or not len(finite):
        return None
    low, high = np.quantile(finite, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _mean_of(row_values: np.ndarray) -> Statistic:
    return lambda weights: weights @ row_values / weights.sum(axis=1)


def _mean_error(transform: Callable[[np.ndarray], np.ndarray]) -> Callable[[Outcomes], Statistic]:
    return lambda outcomes: _mean_of(transform(outcomes.truth - outcomes.predicted))


def _rmse(outcomes: Outcomes) -> Statistic:
    mean = _mean_of(np.square(outcomes.truth - outcomes.predicted))
    return lambda weights: np.sqrt(mean(weights))


def _mape(outcomes: Outcomes) -> Statistic:
    scale = np.maximum(np.abs(outcomes.truth), np.finfo(np.float64).eps)
    return _mean_of(np.abs(outcomes.truth - outcomes.predicted) / scale)


def _deviation(values: np.ndarray) -> Statistic:
    """Weighted variance; the values are centred first, for precision."""
    centred = values - values.mean()
    mean, square = _mean_of(centred), _mean_of(np.square(centred))
    return lambda weights: np.maximum(square(weights) - np.square(mean(weights)), 0.0)


def _r2(outcomes: Outcomes) -> Statistic:
    error, spread = _mean_of(np.square(outcomes.truth - outcomes.predicted)), _deviation(outcomes.truth)
    return lambda weights: 1.0 - error(weights) / spread(weights)


def _error_std(outcomes: Outcomes) -> Statistic:
    variance = _deviation(outcomes.truth - outcomes.predicted)
    return lambda weights: np.sqrt(variance(weights))


def _median_absolute_error(outcomes: Outcomes) -> Statistic:
    errors = np.abs(outcomes.truth - outcomes.predicted)
    order = np.argsort(errors, kind="stable")
    ordered = errors[order]

    def median(weights: np.ndarray) -> np.ndarray:
        reached = np.cumsum(weights[:, order], axis=1)
        total = reached[:, -1:]
        middle = np.floor(np.hstack([total + 1, total + 2]) / 2)
        lower, upper = np.transpose([np.searchsorted(*row) for row in zip(reached, middle, strict=True)])
        return (ordered[lower] + ordered[upper]) / 2

    return median


def _max_error(outcomes: Outcomes) -> Statistic:
    errors = np.abs(outcomes.truth - outcomes.predicted)
    return lambda weights: np.where(weights > 0, errors, 0.0).max(axis=1)


def _of_confusion(function: Callable[[np.ndarray], np.ndarray]) -> Callable[[Outcomes], Statistic]:
    """A statistic of the confusion matrices, resamples x truth x predicted."""

    def make(outcomes: Outcomes) -> Statistic:
        size = len(outcomes.classes)
        cell = outcomes.truth * size + outcomes.predicted
        present = np.unique(cell)
        indicator = (cell[:, None] == present).astype(np.float64)

        def statistic(weights: np.ndarray) -> np.ndarray:
            matrices = np.zeros((len(weights), size * size))
            matrices[:, present] = weights @ indicator
            return function(matrices.reshape(-1, size, size))

        return statistic

    return make


def _ratio(part: np.ndarray, whole: np.ndarray, empty: float) -> np.ndarray:
    return np.where(whole > 0, part / np.where(whole > 0, whole, 1.0), empty)


def _counts(matrices: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hits, rows of the class, rows predicted as it: each resamples x classes."""
    return np.diagonal(matrices, axis1=1, axis2=2), matrices.sum(axis=2), matrices.sum(axis=1)


def _macro(values: np.ndarray, matrices: np.ndarray) -> np.ndarray:
    """Mean over the classes that are true or predicted somewhere, as scikit-learn averages."""
    _, true, predicted = _counts(matrices)
    seen = (true + predicted) > 0
    return (values * seen).sum(axis=1) / seen.sum(axis=1)


def _accuracy(matrices: np.ndarray) -> np.ndarray:
    hits, true, _ = _counts(matrices)
    return hits.sum(axis=1) / true.sum(axis=1)


def _balanced_accuracy(matrices: np.ndarray) -> np.ndarray:
    hits, true, _ = _counts(matrices)
    return np.nanmean(_ratio(hits, true, np.nan), axis=1)


def _precision(matrices: np.ndarray) -> np.ndarray:
    hits, _, predicted = _counts(matrices)
    return _macro(_ratio(hits, predicted, 0.0), matrices)


def _recall(matrices: np.ndarray) -> np.ndarray:
    hits, true, _ = _counts(matrices)
    return _macro(_ratio(hits, true, 0.0), matrices)


def _f1(matrices: np.ndarray) -> np.ndarray:
    hits, true, predicted = _counts(matrices)
    return _macro(_ratio(2 * hits, true + predicted, 0.0), matrices)


def _over_classes(curve: Callable[[np.ndarray, np.ndarray], Statistic]) -> Callable[[Outcomes], Statistic]:
    """Mean of a curve's area over the classes that a curve is drawn for."""

    def make(outcomes: Outcomes) -> Statistic:
        assert outcomes.probabilities is not None
        areas = [
            curve(outcomes.truth == position, outcomes.probabilities[:, position])
            for position in positives(outcomes)
        ]
        return lambda weights: (
            np.mean([area(weights) for area in areas], axis=0) if areas else np.full(len(weights), np.nan)
        )

    return make


def _descending(positive: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows by falling score, the truth in that order, and the last row of each group of equal scores."""
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    ends = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)
    return order, positive[order], ends


def _roc_auc(positive: np.ndarray, scores: np.ndarray) -> Statistic:
    order, truth, ends = _descending(positive, scores)

    def area(weights: np.ndarray) -> np.ndarray:
        ordered = weights[:, order]
        hits = np.cumsum(ordered * truth, axis=1)[:, ends]
        alarms = np.cumsum(ordered * ~truth, axis=1)[:, ends]
        widths = np.diff(alarms, axis=1, prepend=0.0)
        heights = hits - np.diff(hits, axis=1, prepend=0.0) / 2
        return (widths * heights).sum(axis=1) / (hits[:, -1] * alarms[:, -1])

    return area


def _average_precision(positive: np.ndarray, scores: np.ndarray) -> Statistic:
    order, truth, ends = _descending(positive, scores)

    def area(weights: np.ndarray) -> np.ndarray:
        ordered = weights[:, order]
        hits = np.cumsum(ordered * truth, axis=1)[:, ends]
        drawn = np.cumsum(ordered, axis=1)[:, ends]
        steps = np.diff(hits, axis=1, prepend=0.0)
        return (steps * _ratio(hits, drawn, 0.0)).sum(axis=1) / hits[:, -1]

    return area


_STATISTICS: dict[str, Callable[[Outcomes], Statistic]] = {
    "mse": _mean_error(np.square),
    "rmse": _rmse,
    "mae": _mean_error(np.abs),
    "median_absolute_error": _median_absolute_error,
    "mape": _mape,
    "max_error": _max_error,
    "r2": _r2,
    "error_std": _error_std,
    "accuracy": _of_confusion(_accuracy),
    "balanced_accuracy": _of_confusion(_balanced_accuracy),
    "f1": _of_confusion(_f1),
    "precision": _of_confusion(_precision),
    "recall": _of_confusion(_recall),
    "roc_auc": _over_classes(_roc_auc),
    "average_precision": _over_classes(_average_precision),
    "log_loss": lambda outcomes: _mean_of(row_log_loss(outcomes)),
    "brier": lambda outcomes: _mean_of(row_brier(outcomes)),
}
