"""The model card: what a model is for, what it learnt from, how good it is (Mitchell et al. 2019).

Names and descriptions come from other people's files: all of them are escaped.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mlops_assets.artifacts.metrics import METRICS, in_order, shown
from mlops_assets.runtime.signature import Signature

# A point inside a number is none; list and heading marks count at the start of a line alone.
_SPECIAL = re.compile(r"^[#+\-]|[\\`*_{}\[\]()!|~:$@]|(?<!\d)\.|\.(?!\d)")
_MOST_SLICES = 60


def escaped(text: object) -> str:
    """Any text as one line of Markdown that shows exactly it: no markup, no HTML, no link."""
    line = " ".join(str(text).split())
    return _SPECIAL.sub(lambda match: f"\\{match[0]}", html.escape(line, quote=False))


def model_card(signature: Signature, report: Mapping[str, Any], description: str | None) -> str:
    """The card.

    Args:
        signature: of the model.
        report: the contents of evaluation.json.
        description: the declaration's; None leaves a sentence to be replaced.
    """
    use = escaped(description) if description else "Not described: write `description` in the declaration."
    sections = [
        f"# {escaped(signature.model)}",
        use,
        "## Model",
        _facts(signature, report),
        f"## Metrics on {report['rows']:,} test rows",
        _metrics(report),
        *_slices(report),
        *_importance(report),
        "## Features",
        _table(
            ("feature", "type", "categories"),
            ((feature.name, feature.type, _categories(feature.categories)) for feature in signature.features),
        ),
        "## Limits",
        _limits(signature, report),
    ]
    return "\n\n".join(sections) + "\n"


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    lines += [f"| {' | '.join(escaped(cell) for cell in row)} |" for row in rows]
    return "\n".join(lines)


def _facts(signature: Signature, report: Mapping[str, Any]) -> str:
    parameters = ", ".join(f"{name}={value}" for name, value in sorted(signature.parameters.items()))
    return _table(
        ("", ""),
        (
            ("task", f"{signature.task} of {signature.target.name}"),
            ("estimator", signature.estimator),
            ("parameters", parameters or "defaults"),
            ("seed", signature.seed),
            ("training data", f"dataset version {signature.dataset_version[:16]}"),
            ("evaluation data", f"dataset version {report['dataset_version'][:16]}"),
            (
                "libraries",
                ", ".join(f"{name} {version}" for name, version in sorted(signature.libraries.items())),
            ),
        ),
    )


def _metrics(report: Mapping[str, Any]) -> str:
    share = f"{100 * report['confidence']:g} % interval"
    return _table(
        ("metric", "value", share, "baseline", "meaning"),
        (
            (
                name,
                shown(item["value"]),
                f"{shown(item['low'])} to {shown(item['high'])}" if item["low"] is not None else "none",
                shown(report["baseline"].get(name)),
                METRICS[name].meaning,
            )
            for name, item in ((name, report["metrics"][name]) for name in in_order(report["metrics"]))
        ),
    )


def _slices(report: Mapping[str, Any]) -> list[str]:
    if not report["slices"]:
        return []
    names = in_order(report["metrics"])[:4]
    rows = [
        (label, f"{report['slice_rows'][label]:,}", *(shown(values.get(name)) for name in names))
        for label, values in report["slices"].items()
    ]
    more = f"\n\nand {len(rows) - _MOST_SLICES} more" if len(rows) > _MOST_SLICES else ""
    return ["## Slices", _table(("slice", "rows", *names), rows[:_MOST_SLICES]) + more]


def _importance(report: Mapping[str, Any]) -> list[str]:
    if not report["importance"]:
        return []
    rows = [(item["feature"], shown(item["mean"]), shown(item["std"])) for item in report["importance"][:20]]
    cost = (
        f"rise of {report['importance_metric']}"
        if report["importance_metric"] != "accuracy"
        else "fall of accuracy"
    )
    return ["## Permutation importance", _table(("feature", cost, "deviation"), rows)]


def _categories(categories: Sequence[str] | None) -> str:
    if categories is None:
        return ""
    text = ", ".join(categories)
    return text if len(text) <= 80 else f"{text[:79]}…"


def _limits(signature: Signature, report: Mapping[str, Any]) -> str:
    rule = (
        "the mean of the training target"
        if signature.task == "regression"
        else "the classes' shares in training"
    )
    lines = [
        f"The baseline always answers {rule}.",
        "A category that training did not see counts as unknown.",
        "Values far from the training data are extrapolated without a warning: watch the drift check.",
    ]
    if report["bootstrap_rows"] < report["rows"]:
        lines.append(
            f"Intervals are those of {report['bootstrap_rows']:,} sampled rows, so wider than of all."
        )
    if report["rows_without_target"]:
        lines.append(f"{report['rows_without_target']:,} test rows had no target and were left out.")
    return "\n".join(f"- {line}" for line in lines)
