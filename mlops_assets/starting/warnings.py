"""What would mislead a model in a file: columns that give the target away, identifiers, thin classes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from mlops_assets.starting.leaks import gives_away_class, gives_away_number
from mlops_assets.starting.profile import ColumnProfile, Profile
from mlops_assets.starting.task import infer_task

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from mlops_assets.artifacts.metrics import Task

Kind = Literal[
    "leak",
    "identifier",
    "duplicate",
    "constant",
    "empty",
    "free_text",
    "many_values",
    "date",
    "unreadable",
    "unparsed",
    "missing_target",
    "small_class",
]

# Of a class with fewer rows, a split of 60/20/20 may leave none for the test.
SMALLEST_CLASS = 20
MANY_VALUES = 50
_IDENTIFIER = re.compile(
    r"(^|_)(id|ids|key|uuid|guid|index|idx|rowid|row|nr|no|number|code|serial)(_|$)|^unnamed|^column_1$"
)


@dataclass(frozen=True)
class ColumnWarning:
    """One thing worth knowing before training.

    Attributes:
        column: declared name, or the name in the file of a column that no declaration can name.
        message: a sentence for a person.
        excludes: whether the written declaration leaves the column out of the features.
    """

    kind: Kind
    column: str
    message: str
    excludes: bool = False


def warn(profile: Profile, target: str, task: Task | None = None) -> list[ColumnWarning]:
    """What would mislead a model that predicts `target`: at most one reason per column to leave it out.

    Args:
        profile: what `look` saw.
        target: the target's name in the file or in the declaration.
        task: default: inferred from the target.
    """
    aim = profile.column(target)
    table = profile.sample()
    warnings = [ColumnWarning("unreadable", name, f"{why}.", True) for name, why in profile.left_out.items()]
    warnings += list(_target_warnings(profile, aim, table, task or infer_task(aim)))
    judge = _Judge(profile, aim, table, task or infer_task(aim))
    for column in profile.columns:
        if column is not aim:
            warnings += judge.judge(column)
        if column.unparsed:
            warnings.append(
                ColumnWarning(
                    "unparsed",
                    column.name,
                    f"{_rows(column.unparsed)} with a value that is no {column.type}: to quarantine.",
                )
            )
    return warnings


class _Judge:
    """Judges one column after the other; remembers their contents to find copies."""

    def __init__(self, profile: Profile, aim: ColumnProfile, table: pa.Table, task: Task) -> None:
        self._profile, self._aim, self._task = profile, aim, task
        self._table = table
        known = table.filter(table[aim.name].is_valid())
        self._known = known
        self._target = _floats(known, aim) if task == "regression" else _text_codes(known, aim.name)
        self._contents = {self._content(aim): aim.name}

    def judge(self, column: ColumnProfile) -> list[ColumnWarning]:
        """The first reason to leave the column out, else what is worth knowing of it."""
        for reason in (self._empty, self._copy, self._leak, self._identifier, self._text):
            found = reason(column)
            if found is not None:
                return [found]
        return []

    def _empty(self, column: ColumnProfile) -> ColumnWarning | None:
        if column.nulls + column.unparsed == self._profile.rows:
            return ColumnWarning("empty", column.name, "it has no values at all.", True)
        if column.minimum == column.maximum and column.nulls == 0:
            value = column.examples[0] if column.examples else column.minimum
            return ColumnWarning("constant", column.name, f"it is {value!r} in every row.", True)
        return None

    def _copy(self, column: ColumnProfile) -> ColumnWarning | None:
        original = self._contents.setdefault(self._content(column), column.name)
        if original == self._aim.name:
            return ColumnWarning(
                "leak", column.name, "gives the target away: it is the same column again.", True
            )
        if original != column.name:
            return ColumnWarning("duplicate", column.name, f"it is the same as {original}.", True)
        return None

    def _content(self, column: ColumnProfile) -> int:
        import pandas as pd

        return int(pd.util.hash_pandas_object(self._table[column.name].to_pandas(), index=False).sum())

    def _leak(self, column: ColumnProfile) -> ColumnWarning | None:
        if self._known.num_rows < 10:
            return None
        numeric = column.feature_type != "string"
        values = _floats(self._known, column) if numeric else _text_codes(self._known, column.name)
        judge = gives_away_number if self._task == "regression" else gives_away_class
        why = judge(values, numeric, self._target)
        return ColumnWarning("leak", column.name, f"gives the target away: {why}.", True) if why else None

    def _identifier(self, column: ColumnProfile) -> ColumnWarning | None:
        if column.feature_type not in ("int", "string"):
            return None
        filled = self._table[column.name].drop_null()
        if len(filled) < 20:
            return None
        distinct = len(filled.unique())
        unique = distinct >= 0.99 * len(filled)
        named = _IDENTIFIER.search(column.name) is not None
        if unique and (
            (column.type == "string" and named) or (column.type == "int" and (named or self._counts(column)))
        ):
            return ColumnWarning(
                "identifier", column.name, "it names the rows; a model would learn them by heart.", True
            )
        if named and distinct > MANY_VALUES and re.search(r"(^|_)(id|uuid|guid|key)$", column.name):
            return ColumnWarning(
                "identifier",
                column.name,
                f"it names what occurs in several rows; --key {column.source} keeps each within one split.",
                True,
            )
        return None

    def _counts(self, column: ColumnProfile) -> bool:
        """Whether the values are a run of whole numbers without a gap, as a counter leaves them."""
        return column.maximum - column.minimum + 1 == self._profile.rows - column.nulls

    def _text(self, column: ColumnProfile) -> ColumnWarning | None:
        if column.form == "date_text":
            return ColumnWarning(
                "date",
                column.name,
                f"it looks like dates ({column.examples[0]}); write them as YYYY-MM-DD.",
                True,
            )
        if column.feature_type in ("date", "timestamp"):
            message = "it becomes a number; --time splits by it."
            return ColumnWarning("date", column.name, message)
        if column.feature_type != "string" or column.distinct <= MANY_VALUES:
            return None
        filled = self._table[column.name].drop_null()
        distinct = len(filled.unique())
        if distinct > 0.5 * len(filled):
            message = f"text with {column.distinct:,} different values in {self._profile.rows:,} rows."
            return ColumnWarning("free_text", column.name, message, True)
        message = (
            f"text with {column.distinct:,} different values; the {MANY_VALUES} commonest are kept apart."
        )
        return ColumnWarning("many_values", column.name, message)


def _rows(count: int) -> str:
    return f"{count:,} row{'s' if count != 1 else ''}"


def _target_warnings(
    profile: Profile, aim: ColumnProfile, table: pa.Table, task: Task
) -> Iterator[ColumnWarning]:
    if aim.nulls:
        share = aim.nulls / profile.rows
        yield ColumnWarning(
            "missing_target",
            aim.name,
            f"{_rows(aim.nulls)} ({share:.2%}) without a target, left out of training.",
        )
    if task != "classification":
        return
    # The sample's counts, scaled up where the file is larger.
    scale = profile.rows / max(table.num_rows, 1)
    counts = table[aim.name].drop_null().value_counts().to_pylist()
    small = {str(item["values"]): round(item["counts"] * scale) for item in counts}
    small = {name: count for name, count in sorted(small.items()) if count < SMALLEST_CLASS}
    if small:
        shown = ", ".join(f"{name} ({count})" for name, count in list(small.items())[:5])
        yield ColumnWarning(
            "small_class", aim.name, f"classes too small to split into train, validation and test: {shown}."
        )


def _floats(table: pa.Table, column: ColumnProfile) -> np.ndarray:
    """The column as float64; missing values NaN, times in seconds."""
    import pyarrow as pa
    import pyarrow.compute as pc

    values = table[column.name]
    if column.feature_type in ("date", "timestamp"):
        values = pc.cast(pc.cast(values, pa.timestamp("s"), safe=False), pa.int64())
    return pc.cast(values, pa.float64(), safe=False).to_numpy()


def _text_codes(table: pa.Table, name: str) -> np.ndarray:
    """Whole numbers from 0 for the column's values; a missing one is a value of its own."""
    import pyarrow as pa
    import pyarrow.compute as pc

    text = pc.cast(table[name], pa.string())
    return text.combine_chunks().dictionary_encode("encode").indices.to_numpy()
