"""From arriving columns to the frame that a model takes: cast by the signature, never by guessing.

Numbers, bools, dates and timestamps become float64 (bool 0/1, times in seconds since 1970 UTC, missing NaN),
text becomes objects with None for missing. Training, evaluation and serving all pass through here.
"""

# pyright: reportAttributeAccessIssue=false
# pyarrow makes the functions of pyarrow.compute at import, where no type checker sees them.

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from mlops_assets.errors import SignatureError
from mlops_assets.runtime.cells import cast_column, from_values
from mlops_assets.runtime.signature import Feature, Signature


def select(batch: pa.Table, signature: Signature, *, strict: bool = False) -> pa.Table:
    """The columns of the signature's features, in its order, under its names.

    Args:
        batch: columns by feature name or by its alias in arriving files; others are ignored.
        signature: what the model takes.
        strict: refuse other columns instead.

    Raises:
        SignatureError: for a missing, duplicated or (strict) unknown column.
    """
    names = batch.column_names
    aliases = {feature: alias for alias, feature in signature.aliases.items()}
    chosen = {name: name if name in names else aliases.get(name, name) for name in signature.names}
    missing = [feature for feature, source in chosen.items() if source not in names]
    if missing:
        raise _missing(missing, names, "columns")
    twice = [source for source in chosen.values() if names.count(source) > 1]
    if twice:
        raise SignatureError(
            f"The column {twice[0]!r} is there twice.",
            where=f"column {twice[0]}",
            mend="Send each column once.",
        )
    extra = sorted(set(names) - set(chosen.values()))
    if strict and extra:
        raise SignatureError(
            f"The model knows no column {extra[0]!r}.",
            where=f"column {extra[0]}",
            mend=f"Send its features alone: {', '.join(signature.names)}.",
        )
    return pa.table([batch.column(source) for source in chosen.values()], names=list(chosen))


def _missing(missing: Sequence[str], names: Sequence[str], where: str) -> SignatureError:
    by_case = [name for name in names if name.casefold() == missing[0].casefold()]
    unknown = [name for name in names if name not in missing]
    guess = by_case or get_close_matches(missing[0], unknown, n=1, cutoff=0.8)
    listed = ", ".join(repr(name) for name in missing)
    what = f"The features {listed} are missing." if len(missing) > 1 else f"The feature {listed} is missing."
    return SignatureError(
        what,
        where=where,
        mend="Send every feature of the model, those that SQL computes included; an unknown value is null."
        + (f" {guess[0]!r} looks like {missing[0]!r}; names must be equal to the letter." if guess else ""),
    )


def model_frame(table: pa.Table, features: Sequence[Feature], *, first_row: int = 0) -> pd.DataFrame:
    """The frame that a model takes: one column per feature, in their order.

    Args:
        table: has a column of each feature's name.
        features: names and logical types.
        first_row: number of the table's first row, for messages (rows count from 1 there).

    Raises:
        SignatureError: naming the column and the row of a value that is not of its type.
    """
    gathered = Gathered(features, table.num_rows, first_row=first_row)
    gathered.add(table)
    return gathered.frame()


class Gathered:
    """A model's frame in the making, out of tables that are cast one by one."""

    def __init__(self, features: Sequence[Feature], rows: int, *, first_row: int = 0) -> None:
        """`rows`: at most, in all tables."""
        self._features, self._first_row, self._rows = features, first_row, 0
        self._parts: dict[str, list[np.ndarray]] = {}
        # One block, row by row: estimators take it without another copy, and choose rows from it sooner.
        self._block: np.ndarray | None = None
        if all(feature.type != "string" for feature in features):
            self._block = np.empty((rows, len(features)), dtype=np.float64)

    def add(self, table: pa.Table) -> None:
        """Cast the rows of `table`; SignatureError as `model_frame`."""
        start, self._rows = self._rows, self._rows + table.num_rows
        for position, feature in enumerate(self._features):
            values = model_array(table.column(feature.name), feature, self._first_row + start)
            if self._block is not None:
                self._block[start : self._rows, position] = values
            else:
                self._parts.setdefault(feature.name, []).append(values)

    def frame(self) -> pd.DataFrame:
        """What was added, as a frame."""
        if self._block is not None:
            block = self._block[: self._rows]
            return pd.DataFrame(block, columns=[feature.name for feature in self._features], copy=False)
        arrays = {name: np.concatenate(parts) for name, parts in self._parts.items()}
        return pd.DataFrame({name: pd.Series(array, dtype=array.dtype) for name, array in arrays.items()})


def model_array(column: pa.ChunkedArray, feature: Feature, first_row: int = 0) -> np.ndarray:
    """One column as the model takes it: float64 with NaN, or objects with None; SignatureError as above."""
    cast = cast_column(column, feature, first_row)
    if feature.type == "string":
        return cast.to_numpy().astype(object, copy=False)
    if feature.type == "timestamp":
        cast, unit = pc.cast(cast, pa.int64()), 1e-6
    elif feature.type == "date":
        cast, unit = pc.cast(cast, pa.int32()), 86_400.0
    else:
        unit = 1.0
    values = pc.cast(cast, pa.float64(), safe=False).to_numpy()
    return values if unit == 1.0 else values * unit


def records_table(records: Sequence[Mapping[str, Any]], signature: Signature) -> pa.Table:
    """Rows as JSON gives them (numbers, text, true/false, null) as a table of the signature's features.

    A feature that a row leaves out is an error, not a null: null says missing.

    Raises:
        SignatureError: naming the column and the row.
    """
    aliases = {feature: alias for alias, feature in signature.aliases.items()}
    columns: dict[str, pa.ChunkedArray] = {}
    for feature in signature.features:
        values: list[Any] = []
        for row, record in enumerate(records):
            key = feature.name if feature.name in record else aliases.get(feature.name, feature.name)
            if key not in record:
                raise _missing([feature.name], list(record), f"row {row + 1}, column {feature.name}")
            values.append(record[key])
        columns[feature.name] = from_values(values, feature)
    return pa.table(columns)
