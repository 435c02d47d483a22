"""Runs a model's job in this process: what arrived first, then every stage up to the one asked for."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlops_assets.errors import DataError
from mlops_assets.pipeline.names import Names

if TYPE_CHECKING:
    import logging

    import dagster as dg

    from mlops_assets.declaration.loaded import LoadedDeclaration
    from mlops_assets.pipeline.landing import Discovery
    from mlops_assets.platforms.ports import Platform

STAGES = ("arrivals", "tables", "dataset", "candidate", "evaluation", "registered_model", "endpoint")


@dataclass(frozen=True)
class Executed:
    """What was run.

    Attributes:
        result: the last run's result; its failures are the ones that count.
        discovery: what had arrived.
        stages: those that were asked for.
    """

    result: dg.ExecuteInProcessResult
    discovery: Discovery
    stages: tuple[str, ...]


@dataclass(frozen=True)
class Execution:
    """One model, ready to run.

    Attributes:
        handler: gets every record of Dagster's log.
    """

    loaded: LoadedDeclaration
    platform: Platform
    instance: dg.DagsterInstance
    handler: logging.Handler

    def run(self, upto: str | None = None) -> Executed:
        """Run the stages up to `upto`, all by default.

        New and changed objects are loaded in as few runs as Dagster's partition ranges allow; the last of
        them carries on to the model. Where nothing arrived, arrivals are left out, unless loaded objects have
        to be read again because the declaration of their columns or checks changed.

        Raises:
            DataError: where nothing ever arrived.
        """
        from mlops_assets.pipeline.landing import discover, mark_started, partition_ranges, run_tags

        discovery = discover(self.instance, self.platform, self.loaded)
        keys = self._forced(discovery) or list(discovery.keys) or self._to_read_again(discovery)
        if not keys and not discovery.known:
            raise self._nothing(discovery)
        stages = self._stages(upto)
        if discovery.keys and "candidate" in stages:
            self.platform.trainer.prepare()
        job = self._job()
        ranges = partition_ranges(self.instance, self.loaded, keys) if keys else []
        result: Any = None
        for number, span in enumerate(ranges, start=1):
            is_last = number == len(ranges)
            result = self._execute(job, stages if is_last else ("arrivals",), run_tags(list(span)))
            if not is_last and not result.success:
                return Executed(result, discovery, ("arrivals",))
        if result is None:
            result = self._execute(job, tuple(stage for stage in stages if stage != "arrivals"), {})
        elif not result.is_node_failed(f"{self.loaded.name}__arrivals"):
            mark_started(self.instance, self.loaded, discovery)
        return Executed(result, discovery, stages)

    def _forced(self, discovery: Discovery) -> list[str]:
        """Every object that is there, loaded or not, where the settings force every stage."""
        if not self.platform.settings.force:
            return []
        store, prefix = self.platform.store, self.loaded.spec.arrivals.prefix
        loaded = self.platform.warehouse.loaded(Names(self.loaded.name).ledger)
        here = {key for key in loaded if store.head(store.root.join(prefix, key)) is not None}
        return sorted(here | set(discovery.keys))

    def _to_read_again(self, discovery: Discovery) -> list[str]:
        """One loaded object where some must be read again: the arrivals asset then takes them all."""
        from mlops_assets.pipeline.conditions import conditions
        from mlops_assets.pipeline.intake import Intake

        if not discovery.known:
            return []
        stale = Intake(self.platform, self.loaded, conditions(self.loaded.spec.arrivals)).stale()
        return sorted(stale)[:1]

    def _nothing(self, discovery: Discovery) -> DataError:
        prefix = self.platform.store.root.join(self.loaded.spec.arrivals.prefix)
        if discovery.ignored:
            return DataError(
                f"Nothing has arrived but what is no data by its name: {', '.join(discovery.ignored[:5])}.",
                where=str(prefix),
                mend="Rename the files.",
            )
        return DataError(
            "Nothing has arrived yet.",
            where=str(prefix),
            mend=f"Copy a {self.loaded.spec.arrivals.format} file into that folder.",
        )

    def _stages(self, upto: str | None) -> tuple[str, ...]:
        stages = STAGES if self.loaded.spec.endpoint.enabled else STAGES[:-1]
        return stages if upto is None else stages[: stages.index(upto) + 1 if upto in stages else None]

    def _job(self) -> dg.JobDefinition:
        import dagster as dg

        from mlops_assets.pipeline.build import model_defs
        from mlops_assets.platforms.binding import resources_for

        log = dg.LoggerDefinition(
            lambda _: _logger(self.handler), description="Hands every record to the command line."
        )
        defs = dg.Definitions.merge(
            model_defs(self.loaded, self.platform.settings),
            dg.Definitions(resources=resources_for(self.platform), loggers={"command_line": log}),
        )
        return defs.resolve_job_def(self.loaded.name)

    def _execute(
        self, job: dg.JobDefinition, stages: tuple[str, ...], tags: Mapping[str, str]
    ) -> dg.ExecuteInProcessResult:
        names = Names(self.loaded.name)
        tables = [table.name for table in self.loaded.tables]
        chosen = [name for stage in stages for name in (tables if stage == "tables" else [stage])]
        result = job.execute_in_process(
            run_config={"loggers": {"command_line": {}}},
            instance=self.instance,
            asset_selection=[names.asset(name) for name in chosen],
            partition_key=tags.get("dagster/partition"),
            tags=tags,
            raise_on_error=False,
        )
        if _interrupted(result):
            raise KeyboardInterrupt
        return result


def _interrupted(result: dg.ExecuteInProcessResult) -> bool:
    """Whether somebody ended the run: Dagster reports that as a failed step like any other."""
    errors = (event.step_failure_data.error for event in result.get_step_failure_events())
    return any(
        cause is not None and cause.cls_name in ("DagsterExecutionInterruptedError", "KeyboardInterrupt")
        for error in errors
        for cause in (error, error.cause if error else None)
    )


def _logger(handler: logging.Handler) -> logging.Logger:
    import logging

    logger = logging.Logger("mlops_assets.command_line", level=logging.DEBUG)
    logger.addHandler(handler)
    return logger


@contextmanager
def quiet(verbose: bool) -> Iterator[Callable[[], int]]:
    """Send what libraries print to nowhere; gives a function that opens the real standard error.

    Dagster copies what steps print into its compute logs, so nothing is lost. With `verbose` nothing changes.
    """
    real = os.dup(2)
    saved = [(descriptor, os.dup(descriptor)) for descriptor in (1, 2)]
    try:
        if verbose:
            os.dup2(real, 1)
        else:
            warnings.simplefilter("ignore")
            nowhere = os.open(os.devnull, os.O_WRONLY)
            for descriptor, _ in saved:
                os.dup2(nowhere, descriptor)
            os.close(nowhere)
        yield lambda: os.dup(real)
    finally:
        for descriptor, copy in saved:
            os.dup2(copy, descriptor)
            os.close(copy)
        os.close(real)
