"""The check `drift` on the arrivals: what just arrived against the data that the latest model learnt from."""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from mlops_assets.artifacts import Dataset
from mlops_assets.declaration.loaded import LoadedDeclaration
from mlops_assets.pipeline.costs import counted
from mlops_assets.pipeline.drift import ColumnDrift, Limits, compare
from mlops_assets.pipeline.handover import latest
from mlops_assets.pipeline.names import Names
from mlops_assets.pipeline.presentation import table
from mlops_assets.pipeline.profiling import histogram
from mlops_assets.pipeline.reference import reference
from mlops_assets.pipeline.sql import column, relation, text
from mlops_assets.platforms.ports import Platform

CHECK = "drift"
# Warehouses bound the parameters of a query; more objects than this are judged by the ones loaded last.
_OBJECTS = 1_000
_PLOTTED = 20
_LISTED = 50


def drift_check(loaded: LoadedDeclaration) -> dg.AssetChecksDefinition:
    """The check `drift` on `<model>/arrivals`; it never blocks.

    It judges the objects of the run (without a partition: the object loaded last) in the columns that reach
    the dataset unchanged, but for the key and times, which always move; `monitoring.columns` chooses others.
    """
    names = Names(loaded.name)
    severe = loaded.spec.monitoring.severity == "error"
    severity = dg.AssetCheckSeverity.ERROR if severe else dg.AssetCheckSeverity.WARN

    @dg.asset_check(
        asset=names.asset("arrivals"),
        name=CHECK,
        blocking=False,
        description="Distributions of what arrived against the latest training data.",
    )
    def drift(
        context: dg.AssetCheckExecutionContext, platform: dg.ResourceParam[Platform]
    ) -> dg.AssetCheckResult:
        dataset = latest(platform, names.asset("dataset"), Dataset)
        against = reference(platform, dataset) if dataset else None
        if dataset is None or against is None:
            return dg.AssetCheckResult(
                passed=True, description="There is no training data to compare with yet."
            )
        columns, left_out = judged_columns(loaded, dataset)
        keys = _partitions(context) or _last_loaded(platform, names)
        part = {
            "rows": against["rows"],
            "columns": {name: against["columns"][name] for name in columns if name in against["columns"]},
        }
        with counted(context, platform, loaded.name, CHECK) as costs:
            current = count_arrivals(platform, names, part, columns, keys[-_OBJECTS:])
        if not current["rows"]:
            return dg.AssetCheckResult(passed=True, description="Nothing was loaded that could be compared.")
        limits = _limits(loaded)
        found = compare(part, current, limits)
        drifted = [item for item in found if item.drifted]
        return dg.AssetCheckResult(
            passed=not drifted,
            severity=severity,
            description=_sentence(found, drifted),
            metadata={
                **_numbers(found, current["rows"], keys, dataset),
                "not_compared": ", ".join(left_out) or "none",
                "columns": _table(found),
                "plot": _plot(found, limits.psi),
                **costs,
            },
        )

    return drift


def judged_columns(loaded: LoadedDeclaration, dataset: Dataset) -> tuple[dict[str, str], list[str]]:
    """Dataset column -> arrivals column of those that are judged, and the dataset's columns that are not."""
    types = {item.name: item.type for item in dataset.columns}
    wanted = loaded.spec.monitoring.columns
    chosen = {
        name: origin
        for name, origin in dataset.passthrough.items()
        if (
            name in wanted
            if wanted is not None
            else name not in (dataset.key, dataset.time) and types.get(name) not in ("timestamp", "date")
        )
    }
    return chosen, sorted((set(types) | set(wanted or ())) - set(chosen))


def count_arrivals(
    platform: Platform,
    names: Names,
    reference: Mapping[str, Any],
    columns: Mapping[str, str],
    keys: Sequence[str],
) -> dict[str, Any]:
    """The rows of the objects `keys` counted into the reference's bins, in one pass over them."""
    from sqlglot import exp

    if not keys or not reference["columns"] or platform.warehouse.columns(names.arrivals) is None:
        return {"format": 1, "rows": 0, "columns": {}}
    wanted = [column(columns[name]).as_(name, quoted=True) for name in reference["columns"]]
    marks = [exp.Placeholder() for _ in keys]
    select = exp.select(*wanted).from_(relation(names.arrivals)).where(column("_object").isin(*marks))
    return histogram(platform.warehouse, text(select), reference, list(keys))


def _partitions(context: dg.AssetCheckExecutionContext) -> list[str]:
    """The run's partitions, in order of creation; none where the check runs by itself."""
    if context.run.tags.get("dagster/partition") or context.has_partition_key_range:
        return list(context.partition_keys)
    return []


def _last_loaded(platform: Platform, names: Names) -> list[str]:
    from sqlglot import exp

    if platform.warehouse.columns(names.ledger) is None:
        return []
    newest = exp.Ordered(this=column("loaded_at"), desc=True)
    select = exp.select(column("_object")).from_(relation(names.ledger)).order_by(newest).limit(1)
    return [row["_object"] for row in platform.warehouse.query(text(select))]


def _limits(loaded: LoadedDeclaration) -> Limits:
    spec = loaded.spec.monitoring
    return Limits(spec.psi, spec.ks, spec.null_rate, spec.new_categories)


# --- what people see --------------------------------------------------------------------------------------


def _sentence(found: Sequence[ColumnDrift], drifted: Sequence[ColumnDrift]) -> str:
    if not drifted:
        return f"{len(found)} columns are distributed as in the training data."
    listed = "; ".join(f"{item.column} ({', '.join(item.drifted)})" for item in drifted[:5])
    more = f" and {len(drifted) - 5} more" if len(drifted) > 5 else ""
    return f"{len(drifted)} of {len(found)} columns have drifted: {listed}{more}."


def _numbers(
    found: Sequence[ColumnDrift], rows: int, keys: Sequence[str], dataset: Dataset
) -> dict[str, Any]:
    return {
        "rows": rows,
        "objects": min(len(keys), _OBJECTS),
        "objects_in_run": len(keys),
        "dataset_version": dg.MetadataValue.text(dataset.version),
        "columns_drifted": sum(1 for item in found if item.drifted),
        "psi_max": max(item.psi for item in found),
        "ks_max": max((item.ks for item in found if item.ks is not None), default=0.0),
        "null_rate_rise_max": max(item.null_rate for item in found),
        "new_categories_max": max(
            (item.new_categories for item in found if item.new_categories is not None), default=0.0
        ),
    }


def _table(found: Sequence[ColumnDrift]) -> dg.MetadataValue:
    heads = ["column", "psi", "ks", "null rate", "new categories", "drifted"]
    rows = [
        dict(
            zip(
                heads,
                [
                    item.column,
                    *(_text(value) for value in (item.psi, item.ks, item.null_rate, item.new_categories)),
                    ", ".join(item.drifted),
                ],
                strict=True,
            )
        )
        for item in found[:_LISTED]
    ]
    return table(rows, heads)


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _plot(found: Sequence[ColumnDrift], limit: float) -> dg.MetadataValue:
    """Bar chart of the stability index of the worst columns, with its limit, as PNG inside the Markdown."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    worst = list(reversed(found[:_PLOTTED]))
    figure = Figure(figsize=(7, 1.2 + 0.28 * len(worst)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    # A dollar sign would be read as mathematics.
    labels = [item.column.replace("$", r"\$")[:40] for item in worst]
    colors = ["#c0392b" if item.drifted else "#5b7fa6" for item in worst]
    axes.barh(range(len(worst)), [item.psi for item in worst], color=colors)
    axes.set_yticks(range(len(worst)), labels)
    axes.axvline(limit, color="#444444", linestyle="--", linewidth=1, label=f"limit {limit:g}")
    axes.set_xlabel("population stability index")
    axes.legend(loc="lower right", frameon=False)
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=100, metadata={"Software": None})
    return dg.MetadataValue.md(f"![drift](data:image/png;base64,{base64.b64encode(out.getvalue()).decode()})")
