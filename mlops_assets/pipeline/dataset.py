"""The dataset asset: immutable train, validation and test splits of one table, with their checks."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from mlops_assets.artifacts import Dataset, TableRef
from mlops_assets.artifacts.metrics import shown
from mlops_assets.declaration.loaded import LoadedDeclaration
from mlops_assets.pipeline.memo import Made, Step, once
from mlops_assets.pipeline.names import Names
from mlops_assets.pipeline.presentation import cell, column_schema, engine, table
from mlops_assets.pipeline.roles import Source
from mlops_assets.pipeline.snapshot import Snapshot, read_manifest
from mlops_assets.pipeline.tables import ARRIVALS, arrivals_dependency, arrivals_version, table_input
from mlops_assets.platforms.ports import Platform

DISJOINT, FILLED, CLASSES = "no_entity_in_two_splits", "splits_not_empty", "every_class_in_every_split"
# What the result depends on; how it is shown does not.
_CODE = tuple(f"mlops_assets.pipeline.{name}" for name in ("splits", "snapshot", "facts", "roles"))


def dataset_asset(loaded: LoadedDeclaration) -> dg.AssetsDefinition:
    """The asset `<model>/dataset`; its data version is the dataset's, which is named by its content.

    Rows without a target are left out and counted. The same rows give the same version, in whatever order
    they arrived.
    """
    names, spec = Names(loaded.name), loaded.spec
    source = spec.dataset.source
    key = names.asset("dataset")

    @dg.asset(
        key=key,
        ins={} if source == ARRIVALS else {"source": table_input(names, source)},
        deps=[arrivals_dependency(names)] if source == ARRIVALS else [],
        io_manager_key="handover",
        group_name=loaded.name,
        kinds={engine(), "parquet"},
        owners=list(spec.owners) or None,
        tags=dict(spec.tags),
        description=f"`{names.relation(source)}` as train, validation and test, by {spec.dataset.split.by}.",
        check_specs=_check_specs(loaded, key),
    )
    # No return type: with checks beside it, Dagster reads MaterializeResult as "hands on nothing".
    def dataset(context: dg.AssetExecutionContext, platform: dg.ResourceParam[Platform], **inputs: TableRef):
        ref = inputs.get("source") or TableRef(
            relation=names.arrivals, version=arrivals_version(platform, names)
        )
        outcome = once(
            context,
            platform,
            _step(loaded, ref),
            Dataset,
            work=lambda _: Made(
                Snapshot(platform, loaded, Source.of(platform, ref), context.run.run_id).make()
            ),
            exists=lambda value: platform.store.published(value.uri) is not None,
        )
        manifest = read_manifest(platform.store, outcome.value.uri)
        _warn_of_left_out(context, manifest)
        return dg.MaterializeResult(
            value=outcome.value,
            data_version=dg.DataVersion(outcome.value.version),
            metadata={**_describe(outcome.value, manifest), **outcome.metadata},
            check_results=_check_results(loaded, manifest),
        )

    return dataset


def _step(loaded: LoadedDeclaration, ref: TableRef) -> Step:
    training = loaded.spec.training
    return Step(
        model=loaded.name,
        stage="dataset",
        code=_CODE,
        configuration={
            "dataset": loaded.spec.dataset.model_dump(mode="json"),
            "task": training.task,
            "target": training.target,
            "features": list(training.features) if training.features else None,
            "exclude": sorted(training.exclude),
        },
        inputs={ref.relation: ref.version},
        packages=("duckdb", "sqlglot"),
    )


def _warn_of_left_out(context: dg.AssetExecutionContext, manifest: Mapping[str, Any]) -> None:
    for name, rows in manifest["left_out"].items():
        if rows:
            context.log.warning(f"dataset: {rows:,} rows {name.replace('_', ' a ')} are left out")


# --- checks -----------------------------------------------------------------------------------------------


def _check_specs(loaded: LoadedDeclaration, key: dg.AssetKey) -> list[dg.AssetCheckSpec]:
    specs = [
        dg.AssetCheckSpec(DISJOINT, asset=key, blocking=True, description="Counted in the warehouse."),
        dg.AssetCheckSpec(FILLED, asset=key, blocking=True, description="Every split has rows."),
    ]
    if loaded.spec.training.task == "classification":
        text = "Metrics of a class without rows cannot be judged."
        specs.append(dg.AssetCheckSpec(CLASSES, asset=key, description=text))
    return specs


def _check_results(loaded: LoadedDeclaration, manifest: Mapping[str, Any]) -> list[dg.AssetCheckResult]:
    entities = manifest["entities"]
    rows = {split["name"]: split["rows"] for split in manifest["splits"]}
    results = [
        dg.AssetCheckResult(check_name=DISJOINT, passed=entities["straddling"] == 0, metadata=dict(entities)),
        dg.AssetCheckResult(check_name=FILLED, passed=all(rows.values()), metadata=rows),
    ]
    if loaded.spec.training.task == "classification":
        classes = manifest["target_summary"]
        missing = [row for row in classes if 0 in (row["train"], row["validation"], row["test"])]
        results.append(
            dg.AssetCheckResult(
                check_name=CLASSES,
                passed=not missing,
                severity=dg.AssetCheckSeverity.WARN,
                description=f"{len(missing)} of {len(classes)} classes have no row in some split.",
                metadata={"missing": _target_table(missing)} if missing else {},
            )
        )
    return results


# --- what people see --------------------------------------------------------------------------------------


def _describe(dataset: Dataset, manifest: Mapping[str, Any]) -> dict[str, Any]:
    columns = [column.name for column in dataset.columns]
    return {
        "version": dg.MetadataValue.text(dataset.version),
        "dagster/uri": str(dataset.uri),
        "manifest": dg.MetadataValue.path(str(dataset.uri.join("manifest.json"))),
        "dagster/row_count": sum(split.rows for split in dataset.splits),
        **{f"rows_{split.name}": split.rows for split in dataset.splits},
        **{f"rows_{name}": rows for name, rows in manifest["left_out"].items()},
        "dagster/column_schema": column_schema(dataset.columns),
        "target": _target_table(manifest["target_summary"]),
        "features": dg.MetadataValue.md(", ".join(cell(name) for name in dataset.features)),
        "upstream": dg.MetadataValue.json(dataset.upstream),
        "sample": table(manifest["sample"], columns, width=40),
    }


def _target_table(summary: list[dict[str, Any]]) -> dg.MetadataValue:
    first = "class" if summary and "class" in summary[0] else "split"
    rest = ["train", "validation", "test"] if first == "class" else ["mean", "std", "min", "max"]
    rows = [{name: _shown(value) for name, value in row.items()} for row in summary[:50]]
    return table(rows, [first, *rest])


def _shown(value: Any) -> Any:
    return shown(value) if isinstance(value, int | float) and not isinstance(value, bool) else value
