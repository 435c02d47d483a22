"""Columns that give the target away: one column alone says what the target is, or nearly.

Each measure is taken on a sample of at most 50,000 rows, over the rows where the target is known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

# From here on a correlation (Pearson's for a straight line, Spearman's for any rise or fall) or a share
# of explained variance (the correlation ratio, Pearson 1905) means no feature but the target in other words.
CORRELATION = 0.9995
# Share of rows whose class is the commonest one of their value of the column.
PURITY = 0.998
# Values that occur less often than this on average explain everything and say nothing.
_ROWS_PER_VALUE = 5
_BINS = 50


def gives_away_number(values: np.ndarray, numeric: bool, target: np.ndarray) -> str | None:
    """Why the column tells a numeric target, or None. `values`: floats, or codes of texts."""
    import numpy as np

    if numeric:
        both = np.isfinite(values)
        x, y = values[both], target[both]
        if len(x) >= 10 and np.ptp(x) > 0 and np.ptp(y) > 0:
            if abs(np.corrcoef(x, y)[0, 1]) >= CORRELATION:
                return "the target follows from it on a straight line"
            if abs(np.corrcoef(_ranks(x), _ranks(y))[0, 1]) >= CORRELATION:
                return "it rises or falls exactly as the target does"
    codes = _codes(values, numeric, bins=False)
    if _informative(codes) and _explained(codes, target) >= CORRELATION:
        return "each of its values stands for one value of the target"
    return None


def gives_away_class(values: np.ndarray, numeric: bool, target: np.ndarray) -> str | None:
    """Why the column tells the class (`target`: class codes), or None. A missing value counts as a value."""
    import numpy as np

    commonest = np.bincount(target).max() / len(target)
    if commonest == 1:
        return None
    for bins in (False, True) if numeric else (False,):
        codes = _codes(values, numeric, bins=bins)
        purity = _purity(codes, target)
        # Beside a class that is rare the commonest answer alone looks pure: count the errors that are left.
        if _informative(codes) and purity >= PURITY and (1 - purity) <= 0.1 * (1 - commonest):
            return f"it alone tells the class of {purity:.1%} of the rows"
    return None


def _codes(values: np.ndarray, numeric: bool, *, bins: bool) -> np.ndarray:
    """Whole numbers from 0 for the column's values, or for the bins of equal count that they fall into."""
    import numpy as np

    if numeric and bins:
        finite = np.isfinite(values)
        count = max(2, min(_BINS, len(values) // 10))
        edges = (
            np.unique(np.quantile(values[finite], np.linspace(0, 1, count + 1)[1:-1])) if finite.any() else []
        )
        return np.where(finite, np.searchsorted(edges, values, side="right") + 1, 0)
    filled = np.where(np.isfinite(values), values, np.inf) if numeric else values
    return np.unique(filled, return_inverse=True)[1]


def _informative(codes: np.ndarray) -> bool:
    import numpy as np

    kinds = len(np.unique(codes))
    return 1 < kinds <= len(codes) / _ROWS_PER_VALUE


def _explained(codes: np.ndarray, target: np.ndarray) -> float:
    import numpy as np

    counts = np.bincount(codes)
    with np.errstate(invalid="ignore"):
        means = np.bincount(codes, target) / counts
    total = float(((target - target.mean()) ** 2).sum())
    return 1 - float(((target - means[codes]) ** 2).sum()) / total if total > 0 else 0.0


def _purity(codes: np.ndarray, target: np.ndarray) -> float:
    import numpy as np

    pairs, counts = np.unique(codes.astype(np.int64) * (int(target.max()) + 1) + target, return_counts=True)
    best = np.zeros(int(codes.max()) + 1, dtype=np.int64)
    np.maximum.at(best, pairs // (int(target.max()) + 1), counts)
    return float(best.sum()) / len(codes)


def _ranks(values: np.ndarray) -> np.ndarray:
    from scipy.stats import rankdata

    return rankdata(values)
