"""The arrivals asset: one dynamic partition per arriving object, loaded with every row accounted for."""

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from mlops_assets.artifacts import Column, digest_of
from mlops_assets.declaration.loaded import LoadedDeclaration
from mlops_assets.declaration.schema import ArrivalColumn
from mlops_assets.errors import DataError, MlopsAssetsError
from mlops_assets.pipeline.conditions import check_bounds, conditions
from mlops_assets.pipeline.costs import counted
from mlops_assets.pipeline.intake import Intake, Taken
from mlops_assets.pipeline.names import Names
from mlops_assets.pipeline.presentation import column_schema, engine, table
from mlops_assets.platforms.ports import Platform

CHECK = "rows_conserved"


def arrivals_asset(loaded: LoadedDeclaration) -> dg.AssetsDefinition:
    """The asset `<model>/arrivals`; a run may hold one partition or a range.

    An object that cannot be read does not keep the others of its range from being loaded; the step fails at
    its end and names each. A failed check `rows_conserved` stops everything downstream.
    """
    spec, names = loaded.spec, Names(loaded.name)
    key = names.asset("arrivals")
    check_bounds(spec.arrivals)

    @dg.asset(
        key=key,
        partitions_def=dg.DynamicPartitionsDefinition(name=names.partitions),
        backfill_policy=dg.BackfillPolicy.single_run(),
        group_name=loaded.name,
        kinds={spec.arrivals.format, engine()},
        owners=list(spec.owners) or None,
        tags=dict(spec.tags),
        description=f"Rows of the objects that arrive below `{spec.arrivals.prefix}/`, by object.",
        check_specs=[
            dg.AssetCheckSpec(
                CHECK,
                asset=key,
                blocking=True,
                description="Of every object, rows in = rows loaded + quarantined, counted in the tables.",
            )
        ],
    )
    def arrivals(
        context: dg.AssetExecutionContext, platform: dg.ResourceParam[Platform]
    ) -> dg.MaterializeResult:
        keys = _partition_keys(context, loaded)
        intake = Intake(platform, loaded, conditions(spec.arrivals))
        report = _Report(context, intake, loaded)
        with counted(context, platform, loaded.name, "arrivals") as report.costs:
            taken, bad = _take_all(context, intake, report, keys)
        if bad:
            report.log_each(taken)
            raise _unreadable(bad, len(taken))
        report.attach(taken, keys)
        contents = {name: taken[name].entry.content for name in keys}
        version = next(iter(contents.values())) if len(contents) == 1 else digest_of(contents)
        return dg.MaterializeResult(data_version=dg.DataVersion(version), check_results=[_conserved(intake)])

    return arrivals


def _partition_keys(context: dg.AssetExecutionContext, loaded: LoadedDeclaration) -> list[str]:
    if context.has_partition_key or context.has_partition_key_range:
        return list(context.partition_keys)
    raise DataError(
        "This run names no partition, so no arriving object.",
        where=f"{loaded.name}/arrivals",
        mend=f"Give the partition: the object's key below {loaded.spec.arrivals.prefix}/; or switch the "
        f"landing sensor on; or run `mlops-assets run {loaded.name}`, which takes everything that arrived.",
    )


def _take_all(
    context: dg.AssetExecutionContext, intake: Intake, report: "_Report", keys: Sequence[str]
) -> tuple[dict[str, Taken], dict[str, str]]:
    """Take the run's objects and those to be read again; what was taken is reported whatever happens."""
    stale = intake.stale()
    more = sorted(stale.keys() - set(keys))
    if stale:
        context.log.info(f"{len(stale):,} objects are read again: {', '.join(sorted(set(stale.values())))}")
    order = [*keys, *more]
    entries = intake.accounts.known(order)
    taken: dict[str, Taken] = {}
    bad: dict[str, str] = {}
    try:
        for number, key in enumerate(order, 1):
            place = f"{number:,}/{len(order):,} {key}"
            try:
                taken[key] = intake.take(key, entries.get(key), again=key in stale)
                if taken[key].loaded_now:
                    context.log.info(f"{place}: {taken[key].line}")
            except MlopsAssetsError as error:
                bad[key] = str(error)
                context.log.error(f"{place}: {error}")
    except BaseException:
        report.log_each(taken)
        raise
    unchanged = sum(not item.loaded_now for item in taken.values())
    if unchanged:
        context.log.info(f"{unchanged:,} of {len(order):,} objects are unchanged and were not loaded again")
    if not bad:
        report.log_each({key: taken[key] for key in more})
    return taken, bad


def _unreadable(bad: Mapping[str, str], good: int) -> DataError:
    listed = "\n".join(f"- {message}" for message in list(bad.values())[:20])
    more = f"\n- and {len(bad) - 20:,} more" if len(bad) > 20 else ""
    return DataError(
        f"{len(bad):,} objects could not be loaded ({good:,} others were, and are kept):\n{listed}{more}\n",
        mend="Mend or delete each object, then run its partition again.",
    )


def _conserved(intake: Intake) -> dg.AssetCheckResult:
    wrong, totals = intake.accounts.unaccounted(), intake.accounts.totals()
    metadata: dict[str, Any] = dict(totals)
    if wrong:
        metadata["unaccounted"] = table(wrong, ["object", "rows_in", "loaded", "quarantined"])
    text = "{rows_in:,} rows in = {loaded:,} loaded + {quarantined:,} quarantined".format(**totals)
    if wrong:
        text = (
            f"{len(wrong)} objects have rows that are neither loaded nor quarantined, or more than came in. "
            "Mend: run again, which loads what the ledger knows; delete rows of other objects."
        )
    return dg.AssetCheckResult(passed=not wrong, check_name=CHECK, description=text, metadata=metadata)


def _described(name: str, item: ArrivalColumn) -> str | None:
    """What is said of a column: its description, else what the file calls it where that differs."""
    if item.description is None and item.source not in (None, name):
        return f"{item.source} in the file."
    return item.description


class _Report:
    """What the UI shows of each partition.

    Attributes:
        costs: metadata of what taking all of the step's objects cost; an object that was not loaded again
            cost nothing.
    """

    def __init__(self, context: dg.AssetExecutionContext, intake: Intake, loaded: LoadedDeclaration) -> None:
        self._context, self._intake = context, intake
        self._names = Names(loaded.name)
        self.costs: Mapping[str, float] = {}
        declared = loaded.spec.arrivals.columns
        columns = [Column(name=name, type=item.type) for name, item in declared.items()]
        self._schema = column_schema(
            columns, {name: _described(name, item) for name, item in declared.items()}
        )

    def attach(self, taken: Mapping[str, Taken], keys: Sequence[str]) -> None:
        """Metadata for the materialisations that Dagster itself records when the step succeeds."""
        for key, metadata in self._metadata({key: taken[key] for key in keys}).items():
            self._context.add_asset_metadata(metadata, partition_key=key)

    def log_each(self, taken: Mapping[str, Taken]) -> None:
        """A materialisation of each: of a step that fails, and of partitions that are not the run's own."""
        for key, metadata in self._metadata(taken).items():
            event = dg.AssetMaterialization(
                self._names.asset("arrivals"),
                partition=key,
                metadata=metadata,
                tags={"dagster/data_version": taken[key].entry.content},
            )
            self._context.log_event(event)

    def _metadata(self, taken: Mapping[str, Taken]) -> dict[str, dict[str, Any]]:
        reasons, samples = self._intake.accounts.rejected(
            [key for key, item in taken.items() if item.entry.quarantined]
        )
        made: dict[str, dict[str, Any]] = {}
        loaded_now = sum(item.loaded_now for item in taken.values())
        shared = {"warehouse/objects": loaded_now} if self.costs and loaded_now > 1 else {}
        for key, item in taken.items():
            made[key] = {
                "dagster/partition_row_count": item.entry.loaded,
                "rows_in": item.entry.rows_in,
                "rows_loaded": item.entry.loaded,
                "rows_quarantined": item.entry.quarantined,
                "mlops/skipped": not item.loaded_now,
                "dagster/uri": str(self._intake.uri(key)),
                "dagster/table_name": self._names.arrivals,
                "dagster/column_schema": self._schema,
            }
            if item.loaded_now:
                made[key] |= {**self.costs, **shared}
            if item.entry.quarantined:
                worst = sorted(reasons.get(key, {}).items(), key=lambda pair: (-pair[1], pair[0]))[:20]
                counted = [{"reason": reason, "rows": count} for reason, count in worst]
                made[key]["quarantine_reasons"] = table(counted, ["reason", "rows"])
                made[key]["quarantine_sample"] = table(samples.get(key, []), ["_line", "reason", "raw"])
        return made
