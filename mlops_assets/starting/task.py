"""Which task a target asks for, and whether it can be learnt at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_assets.errors import DataError
from mlops_assets.starting.profile import ColumnProfile, Profile

if TYPE_CHECKING:
    from mlops_assets.artifacts.metrics import Task

# Whole numbers with no more different values than this are taken for classes.
MOST_CLASSES = 20


def infer_task(target: ColumnProfile) -> Task:
    """Classification for text, booleans and whole numbers of at most 20 values; else regression."""
    if target.feature_type in ("string", "bool"):
        return "classification"
    if target.feature_type == "int" and target.distinct <= MOST_CLASSES:
        return "classification"
    return "regression"


def check_target(profile: Profile, target: ColumnProfile, task: Task) -> None:
    """Raise DataError where `target` cannot be the target of `task`."""
    where = f"{profile.path}, column {target.source!r}"
    filled = profile.rows - target.nulls - target.unparsed
    if filled == 0:
        raise DataError("The target has no values.", where=where, mend="Choose another --target.")
    if target.minimum == target.maximum:
        raise DataError(
            f"The target is {target.minimum!r} in every row: there is nothing to learn.",
            where=where,
            mend="Choose another --target, or give rows of another class.",
        )
    if target.feature_type in ("date", "timestamp"):
        raise DataError("A date cannot be the target.", where=where, mend="Turn it into a number first.")
    if task == "regression" and not target.numeric:
        raise DataError(
            f"Regression needs numbers; the target holds {target.feature_type}: {target.examples[0]!r}.",
            where=where,
            mend="Use --task classification, or write the values as plain numbers.",
        )
    if task == "classification" and target.distinct > 0.5 * filled and target.distinct > MOST_CLASSES:
        raise DataError(
            f"The target has {target.distinct:,} different values in {filled:,} rows: these are no classes.",
            where=where,
            mend="Use --task regression for numbers, or choose another --target.",
        )
