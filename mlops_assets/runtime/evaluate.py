"""The evaluation program: a stored model and a test split in; measurements, plots and a model card out.

Writes `evaluation.json`, `model_card.md`, `plots/*.png`, and for the endpoint's smoke test `samples.json`
(rows as JSON records, some with missing values) and `expected.json` (their offline predictions, as records).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from sklearn.metrics import confusion_matrix

from mlops_assets.artifacts.metrics import metrics_for
from mlops_assets.errors import DataError
from mlops_assets.runtime.bootstrap import MAX_ROWS, intervals
from mlops_assets.runtime.card import model_card
from mlops_assets.runtime.casting import select
from mlops_assets.runtime.cells import cast_column
from mlops_assets.runtime.frames import outcomes_of, target_values
from mlops_assets.runtime.importance import importance, importance_metric, sample_size
from mlops_assets.runtime.metrics import score
from mlops_assets.runtime.model import LoadedModel
from mlops_assets.runtime.outcomes import Outcomes, baseline_outcomes
from mlops_assets.runtime.plots import write_plots
from mlops_assets.runtime.program import Progress, Request, main
from mlops_assets.runtime.signature import Feature, label_text
from mlops_assets.runtime.slices import slices_of
from mlops_assets.runtime.splits import iterate_split, split_rows


@dataclass(frozen=True)
class Answered:
    """The test split after one pass in batches: outcomes, slice columns, and a few whole rows."""

    outcomes: Outcomes
    slices: pa.Table
    sample: pa.Table
    sample_truth: np.ndarray
    without_target: int


def evaluate(request: Request, progress: Progress) -> dict[str, Any]:
    """Measure, draw, describe; what `result.json` holds."""
    arguments = request.arguments
    with progress.step("loading the model"):
        model = LoadedModel.load(
            request.inputs["model"],
            files=arguments["files"],
            trusted_types=arguments.get("trusted_types", ()),
        )
    with progress.step("predicting the test rows"):
        answered = _answer(model, request.inputs["test"], arguments.get("slices", ()))
    if not answered.outcomes.rows:
        raise DataError(
            "The test split holds no row with a target.",
            where="test",
            mend="Check the split and the arrivals.",
        )
    seed = arguments.get("seed", 0)
    with ThreadPoolExecutor(1) as beside, progress.step("intervals and importance"):
        measured = beside.submit(_report, model, answered, arguments)
        costs: list[dict[str, Any]] = []
        if arguments.get("importance", True):
            costs = importance(model, model.frame(answered.sample), answered.sample_truth, seed=seed)
        report = {**measured.result(), "importance": costs}
    progress.metrics("test", {name: item["value"] for name, item in report["metrics"].items()})
    output = request.output
    report["plots"] = write_plots(answered.outcomes, report["importance"], output / "plots", seed=seed)
    _write_json(output / "evaluation.json", report)
    card = model_card(model.signature, report, arguments.get("description"))
    (output / "model_card.md").write_text(card, encoding="utf-8")
    samples = smoke_rows(model, answered.sample, arguments.get("smoke_rows", 20))
    _write_json(output / "samples.json", samples)
    _write_json(output / "expected.json", model.predict_records(samples))
    return {
        "metrics": {name: item["value"] for name, item in report["metrics"].items()},
        "rows": report["rows"],
    }


def _answer(model: LoadedModel, folder: Path, slices: Sequence[str]) -> Answered:
    signature = model.signature
    target = Feature(name=signature.target.name, type=signature.target.type)
    columns = list(dict.fromkeys([*signature.names, target.name, *slices]))
    every = max(1, split_rows(folder) // sample_size(len(signature.names)))
    seen = without = 0
    truths, answers, sliced, samples, sample_truths = [], [], [], [], []
    for batch in iterate_split(folder, columns):
        table = pa.Table.from_batches([batch])
        present, truth = target_values(table.column(target.name), target, signature.task)
        table = table if present.all() else table.filter(pa.array(present))
        without += len(present) - len(truth)
        if not len(truth):
            continue
        truths.append(truth)
        answers.append(model.predict(table))
        sliced.append(table.select(list(slices)))
        chosen = np.arange(-seen % every, len(truth), every)
        samples.append(table.take(pa.array(chosen)))
        sample_truths.append(truth[chosen])
        seen += len(truth)
    if not truths:
        empty = Outcomes(signature.task, np.zeros(0), np.zeros(0))
        return Answered(empty, pa.table({}), pa.table({}), np.zeros(0), without)
    outcomes = outcomes_of(model, np.concatenate(truths), pa.concat_tables(answers))
    return Answered(
        outcomes, pa.concat_tables(sliced), pa.concat_tables(samples), np.concatenate(sample_truths), without
    )


def _report(model: LoadedModel, answered: Answered, arguments: Any) -> dict[str, Any]:
    outcomes, signature = answered.outcomes, model.signature
    names = list(arguments.get("metrics") or metrics_for(signature.task))
    confidence = arguments.get("confidence", 0.95)
    values = score(outcomes, names)
    bounds = intervals(
        outcomes,
        names,
        resamples=arguments.get("bootstrap", 200),
        confidence=confidence,
        seed=arguments.get("seed", 0),
    )
    slices: dict[str, dict[str, float | None]] = {}
    rows: dict[str, int] = {}
    for column in arguments.get("slices", ()):
        for label, mask in slices_of(column, answered.slices.column(column)):
            slices[label], rows[label] = score(outcomes.take(mask), names), int(mask.sum())
    baseline = baseline_outcomes(outcomes, signature.baseline, signature.target.classes or ())
    return {
        "metrics": {name: _interval(values[name], bounds[name]) for name in names},
        "slices": slices,
        "slice_rows": rows,
        "baseline": score(baseline, names),
        "rows": outcomes.rows,
        "rows_without_target": answered.without_target,
        "bootstrap_rows": min(outcomes.rows, MAX_ROWS),
        "confidence": confidence,
        "dataset_version": arguments["dataset_version"],
        "importance_metric": importance_metric(model),
        "confusion": _confusion(outcomes),
    }


def _interval(value: float | None, bounds: tuple[float, float] | None) -> dict[str, float | None]:
    low, high = bounds if bounds is not None and value is not None else (None, None)
    return {"value": value, "low": low, "high": high}


def _confusion(outcomes: Outcomes) -> dict[str, Any] | None:
    if outcomes.task == "regression":
        return None
    matrix = confusion_matrix(outcomes.truth, outcomes.predicted, labels=range(len(outcomes.classes)))
    return {"labels": [label_text(label) for label in outcomes.classes], "matrix": matrix.tolist()}


def smoke_rows(model: LoadedModel, table: pa.Table, rows: int) -> list[dict[str, Any]]:
    """At most `rows` rows as JSON records, spread over the table, a quarter of them with a missing value."""
    features = model.signature.features
    chosen = select(table, model.signature)
    cast = pa.table({item.name: cast_column(chosen.column(item.name), item) for item in features})
    holes = np.zeros(cast.num_rows, dtype=bool)
    for column in cast.columns:
        holes |= column.is_null().to_numpy()
    gaps = np.flatnonzero(holes)[: max(1, rows // 4)]
    spread = np.unique(np.linspace(0, cast.num_rows - 1, min(rows, cast.num_rows)).astype(int))
    wanted = np.unique(np.concatenate([gaps, spread[: rows - len(gaps)]]).astype(int))
    records = cast.take(pa.array(wanted)).to_pylist()
    return [{name: _json_value(value) for name, value in record.items()} for record in records]


def _json_value(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date) else value


def _write_json(path: Path, value: Any) -> None:
    text = json.dumps(value, sort_keys=True, indent=1, allow_nan=False, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def run() -> None:
    """The program, as this process's command line asks for it."""
    main(evaluate)


if __name__ == "__main__":
    run()
