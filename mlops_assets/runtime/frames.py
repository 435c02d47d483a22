"""Splits as models take them, and a model's answers to them as outcomes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from mlops_assets.artifacts.metrics import Task
from mlops_assets.errors import DataError
from mlops_assets.runtime.casting import Gathered
from mlops_assets.runtime.cells import cast_column
from mlops_assets.runtime.model import LoadedModel
from mlops_assets.runtime.outcomes import Outcomes, outcomes
from mlops_assets.runtime.signature import Feature
from mlops_assets.runtime.splits import iterate_split, split_rows, split_schema


@dataclass(frozen=True)
class Frame:
    """A split as models take it: features and target, rows without a target left out."""

    x: pd.DataFrame
    y: np.ndarray


def answers(model: LoadedModel, frame: Frame) -> Outcomes:
    """The model's outcomes on a frame."""
    table = model.answer(frame.x)
    return outcomes_of(model, frame.y, table)


def outcomes_of(model: LoadedModel, truth: np.ndarray, table: pa.Table) -> Outcomes:
    """Outcomes from true labels and what `LoadedModel.predict` answered for the same rows."""
    signature = model.signature
    predicted = table.column("prediction").to_numpy()
    probabilities = None
    if model.has_probabilities:
        probabilities = np.column_stack(
            [table.column(f"probability_{label}").to_numpy() for label in signature.labels]
        )
    return outcomes(signature.task, truth, predicted, probabilities, signature.target.classes or ())


def read_frame(
    folder: Path, features: tuple[Feature, ...], target: Feature, task: Task, *, every: int = 1
) -> Frame:
    """A split as models take it, whole or every n-th of its rows.

    Raises:
        DataError: for a missing column or a damaged file.
        SignatureError: for a value that is not of its column's type.
    """
    columns = [*dict.fromkeys([*(feature.name for feature in features), target.name])]
    gathered = Gathered(features, -(-split_rows(folder) // every))
    truths, seen = [], 0
    batches = (pa.Table.from_batches([batch]) for batch in iterate_split(folder, columns))
    # An empty table first: a split without rows has no batch, but types.
    for table in chain([split_schema(folder, columns).empty_table()], batches):
        chosen = table.take(pa.array(np.arange(-seen % every, table.num_rows, every))) if every > 1 else table
        seen += table.num_rows
        present, truth = target_values(chosen.column(target.name), target, task)
        gathered.add(chosen if present.all() else chosen.filter(pa.array(present)))
        truths.append(truth)
    return Frame(gathered.frame(), np.concatenate(truths))


def rows_with_target(folder: Path, target: Feature, task: Task) -> int:
    """Rows of a split that have a target; errors as `read_frame`."""
    batches = iterate_split(folder, [target.name])
    columns = (pa.chunked_array([batch.column(0)]) for batch in batches)
    return sum(len(target_values(column, target, task)[1]) for column in columns)


def target_values(column: pa.ChunkedArray, target: Feature, task: Task) -> tuple[np.ndarray, np.ndarray]:
    """Which rows have a target, and its values in them: float64, or labels of the target's type."""
    wanted = target if task == "classification" else target.model_copy(update={"type": "float"})
    if task == "regression" and target.type == "bool":
        raise DataError(
            "A regression cannot predict true or false.",
            where=f"column {target.name}",
            mend="Use classification.",
        )
    cast = cast_column(column, wanted)
    present = cast.is_valid().to_numpy()
    values = cast.drop_null().to_numpy()
    return present, values.astype(str) if target.type == "string" and task == "classification" else values
