"""Slices of the test rows: one per value of a column, bins of many numbers, missing values by themselves."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
import pyarrow as pa

from mlops_assets.artifacts.values import LogicalType
from mlops_assets.runtime.casting import model_array
from mlops_assets.runtime.signature import Feature

MISSING = "(missing)"
OTHER = "(other)"
_MOST_NUMBERS = 12
_MOST_TEXTS = 50
_BINS = 4


def logical_type(kind: pa.DataType) -> LogicalType:
    """The logical type that a Parquet column of this Arrow type holds; text where it is none of them."""
    if pa.types.is_boolean(kind):
        return "bool"
    if pa.types.is_integer(kind):
        return "int"
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return "float"
    if pa.types.is_timestamp(kind):
        return "timestamp"
    return "date" if pa.types.is_date(kind) else "string"


def slices_of(name: str, column: pa.ChunkedArray) -> Iterator[tuple[str, np.ndarray]]:
    """(`column=value`, mask of its rows) for each slice of a column; every row is in exactly one.

    Text beyond the 50 most frequent values is `(other)`. Numbers of more than 12 values are cut at their
    quartiles into `[low, high)`, the last bin closed.
    """
    kind = logical_type(column.type)
    values = model_array(column, Feature(name=name, type=kind))
    missing = (
        np.array([value is None for value in values], dtype=bool) if kind == "string" else np.isnan(values)
    )
    label = f"{name}={{}}".format
    if kind == "string":
        yield from ((label(text), mask) for text, mask in _texts(values, missing))
    else:
        yield from ((label(text), mask) for text, mask in _numbers(values, missing, kind))
    if missing.any():
        yield label(MISSING), missing


def _texts(values: np.ndarray, missing: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    unique, inverse, counts = np.unique(
        np.where(missing, "", values).astype(str), return_inverse=True, return_counts=True
    )
    by_rows = sorted(range(len(unique)), key=lambda index: (-counts[index], unique[index]))
    kept = set(by_rows[:_MOST_TEXTS])
    for index in sorted(kept):
        mask = (inverse == index) & ~missing
        if mask.any():
            yield str(unique[index]), mask
    rest = ~np.isin(inverse, sorted(kept)) & ~missing
    if rest.any():
        yield OTHER, rest


def _numbers(values: np.ndarray, missing: np.ndarray, kind: LogicalType) -> Iterator[tuple[str, np.ndarray]]:
    present = values[~missing]
    unique = np.unique(present)
    if len(unique) <= _MOST_NUMBERS:
        yield from ((_shown(value, kind), values == value) for value in unique)
        return
    edges = np.unique(np.quantile(present, np.linspace(0, 1, _BINS + 1), method="lower"))
    for low, high in pairwise(edges):
        last = high == edges[-1]
        mask = (values >= low) & ((values <= high) if last else (values < high))
        yield f"[{_shown(low, kind)}, {_shown(high, kind)}{']' if last else ')'}", mask


def _shown(value: float, kind: LogicalType) -> str:
    if kind == "bool":
        return "true" if value else "false"
    if kind in ("timestamp", "date"):
        time = datetime.fromtimestamp(float(value), UTC)
        return time.date().isoformat() if kind == "date" else time.replace(tzinfo=None).isoformat()
    return str(int(value)) if float(value).is_integer() else repr(float(value))
