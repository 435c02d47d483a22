"""The text of a declaration: YAML and SQL with a comment wherever a reader would ask why."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mlops_assets.starting.profile import ColumnProfile
from mlops_assets.starting.reading import quoted, typed

if TYPE_CHECKING:
    from mlops_assets.starting.writer import Plan


_SHARES = "seed: 42, train: 0.6, validation: 0.2, test: 0.2"


def defs_yaml(plan: Plan) -> str:
    """defs.yaml of the plan. What comes from the file is written as JSON, which YAML reads as it is."""
    return "\n".join([*_head(plan), *_arrivals(plan), *_dataset(plan), *_training(plan), *_rest(plan), ""])


def _head(plan: Plan) -> Iterator[str]:
    profile = plan.profile
    target, file = _comment(plan.target.source), _comment(profile.path.name)
    yield f"# {plan.name}: predicts {target}, written from {file} ({profile.rows:,} rows)."
    yield "# Everything here is meant to be edited; docs/declaration.md explains each key."
    if plan.notes:
        yield "#"
        yield "# Worth knowing:"
        for note in plan.notes:
            yield f"#   {note.column}: {_comment(note.message)}"
    yield "type: mlops_assets.components.ModelPipeline"
    yield "attributes:"
    yield f"  name: {plan.name}"
    yield f"  description: {_scalar(f'Predicts {plan.target.source}, started from {profile.path.name}.')}"


def _arrivals(plan: Plan) -> Iterator[str]:
    profile = plan.profile
    yield ""
    yield "  # Files that arrive below this folder are loaded; rows that do not fit go to quarantine."
    yield "  arrivals:"
    yield f"    prefix: landing/{plan.name}"
    yield f"    format: {profile.format}"
    if profile.format == "csv":
        yield f"    delimiter: {_scalar(profile.delimiter)}"
        yield f"    null_values: {_scalar(list(profile.null_values))}"
    yield "    columns:"
    for column in profile.columns:
        yield f"      {column.name}: {_column(column)}  # {_seen(column, profile.rows)}"
    for source, why in profile.left_out.items():
        yield f"      # {_comment(source)}: not read, {_comment(why)}"
    yield from _checks(plan)


def _column(column: ColumnProfile) -> str:
    if column.source == column.name:
        return column.type
    return f"{{type: {column.type}, source: {_scalar(column.source)}}}"


def _seen(column: ColumnProfile, rows: int) -> str:
    """What the file showed of a column, short."""
    if column.nulls == rows:
        return "no values"
    missing = f", {column.nulls / rows:.1%} missing" if column.nulls else ""
    if column.type in {"string", "bool"}:
        return _comment(f"{column.distinct:,} values such as {', '.join(column.examples)}{missing}")
    return _comment(f"{column.minimum} to {column.maximum}{missing}")


def _checks(plan: Plan) -> Iterator[str]:
    firm = [column for column in (plan.key, plan.time, plan.target) if column and not column.nulls]
    yield "    # Conditions on every row. Ranges are the observed ones with slack: uncomment what must hold."
    yield "    checks:" if firm else "    # checks:"
    for column in firm:
        yield f"      - {{column: {column.name}, not_null: true}}"
    for column in plan.profile.columns:
        if column.name in plan.left_out or column.form != "plain":
            continue
        if column.numeric and column.minimum is not None and column not in (plan.key, plan.time):
            low, high = _range(column)
            yield f"      # - {{column: {column.name}, min: {low}, max: {high}}}"


def _range(column: ColumnProfile) -> tuple[str, str]:
    """The observed range, wider by half its width at either end; what was never negative stays so."""
    low, high = float(column.minimum), float(column.maximum)
    slack = (high - low) / 2
    lowest = max(low - slack, 0.0) if low >= 0 else low - slack
    highest = math.ceil(high + slack) if column.type == "int" else high + slack
    return _round(lowest, math.floor), _round(highest, math.ceil)


def _round(value: float, towards: Any) -> str:
    if value == 0 or not math.isfinite(value):
        return "0"
    unit = 10.0 ** (math.floor(math.log10(abs(value))) - 1)
    return f"{towards(value / unit) * unit:.12g}"


def _dataset(plan: Plan) -> Iterator[str]:
    yield ""
    yield f"  # The features come from sql/{plan.table}.sql."
    yield "  tables: sql/"
    yield "  dataset:"
    yield f"    from: {plan.table}"
    if plan.time is not None:
        yield "    # By time: the oldest rows train, the newest test, as it will be in use."
        yield f"    split: {{by: time, column: {plan.time.name}, train: 0.6, validation: 0.2, test: 0.2}}"
    elif plan.key is not None:
        yield f"    # By hash of {plan.key.name}: all rows of one lie in the same split, for ever."
        yield f"    split: {{by: hash, key: {plan.key.name}, {_SHARES}}}"
    else:
        yield "    # By hash of the row. Where several rows belong to one thing (a customer), name its `key`."
        yield f"    split: {{by: hash, {_SHARES}}}"


def _training(plan: Plan) -> Iterator[str]:
    kind = "Regressor" if plan.task == "regression" else "Classifier"
    yield ""
    yield "  # Boosted trees take numbers, categories and missing values as they are, and need no scaling."
    yield "  training:"
    yield f"    task: {plan.task}"
    yield f"    target: {plan.target.name}"
    yield f"    estimator: sklearn.ensemble.HistGradientBoosting{kind}"
    yield "    parameters: {max_iter: 200, learning_rate: 0.1}"
    yield "    preprocessing: {numeric_impute: none, encode: ordinal, max_categories: 50}"
    yield "    seed: 0"


def _rest(plan: Plan) -> Iterator[str]:
    metric = "rmse" if plan.task == "regression" else "balanced_accuracy"
    naive = "the mean of the training rows" if plan.task == "regression" else "the commonest class"
    yield ""
    yield "  # Metrics on the test rows, with confidence intervals; `slices: [column]` adds them per value."
    yield "  evaluation: {bootstrap: 200, confidence: 0.95}"
    yield ""
    yield f"  # A candidate must be 10 % better than {naive} and not clearly worse than the champion."
    yield "  gates:"
    yield f"    - {{metric: {metric}, baseline: {{better_by: 0.1}}}}"
    yield f"    - {{metric: {metric}, champion: {{tolerance: 0.05}}}}"
    if plan.task == "regression":
        yield "    # - {metric: r2, min: 0.8}"
    else:
        yield "    # - {metric: accuracy, min: 0.9}"
    yield ""
    yield "  # `manual`: a version waits for `mlops-assets approve` before it serves."
    yield "  registry: {approval: automatic}"
    yield "  endpoint: {enabled: true, smoke_rows: 20}"
    yield ""
    yield "  # When a new file counts as drifted from the training rows."
    yield "  monitoring: {psi: 0.2, ks: 0.2, null_rate: 0.1, new_categories: 0.05, severity: warn}"


def features_sql(plan: Plan) -> str:
    """The SELECT of the features table: every column by name, and why each other one is left out."""
    lines = [
        "-- materialized: table",
        f"-- One row per example of {plan.name}: what a model may know, and the target.",
    ]
    names = {column.name for column in plan.profile.columns}
    lines += [f"-- Left out: {name}: {_comment(why)}" for name, why in plan.left_out.items() if name in names]
    lines += _parts_of_dates(plan)
    chosen = [_expression(column) for column in (plan.key, plan.time) if column]
    chosen += [_expression(column) for column in plan.features]
    chosen.append(_expression(plan.target))
    lines += ["SELECT", ",\n".join(f"  {item}" for item in chosen), "FROM arrivals"]
    if plan.target.nulls or plan.target.form != "plain":
        target = quoted(plan.target.name)
        plain = plan.target.form == "plain"
        known = target if plain else typed(target, plan.target.type, plan.target.form)
        lines.append(f"WHERE {known} IS NOT NULL")
    return "\n".join([*lines, ""])


def _is_date(column: ColumnProfile) -> bool:
    return column.feature_type in ("date", "timestamp")


def _expression(column: ColumnProfile) -> str:
    name = quoted(column.name)
    return (
        name
        if column.form in ("plain", "date_text")
        else f"{typed(name, column.type, column.form)} AS {name}"
    )


def _parts_of_dates(plan: Plan) -> Iterator[str]:
    """How to learn from parts of a date. As it stands, the model scores files like the one it came from."""
    dates = [column for column in plan.features if _is_date(column)]
    if dates:
        yield "-- A date is a number to the model. Its parts are features where rows to score have them too:"
    for column in dates:
        for part, ending in (("MONTH", "month"), ("DAYOFWEEK", "weekday")):
            name = quoted(f"{column.name[:54]}_{ending}")
            yield f"--   CAST(EXTRACT({part} FROM {quoted(column.name)}) AS INTEGER) AS {name},"


def _scalar(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _comment(text: str) -> str:
    """`text` on one line, without what would end a comment or upset YAML."""
    return "".join(letter if letter.isprintable() else " " for letter in text)
