"""Runs the data stages of one declared model in process, as a job would."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from mlops_assets.artifacts import Value
from mlops_assets.declaration.loaded import LoadedDeclaration
from mlops_assets.pipeline.arrivals import arrivals_asset
from mlops_assets.pipeline.dataset import dataset_asset
from mlops_assets.pipeline.handover import handover_io_manager, latest
from mlops_assets.pipeline.landing import run_tags
from mlops_assets.pipeline.names import Names
from mlops_assets.pipeline.tables import table_assets
from mlops_assets.platforms.ports import Platform
from mlops_assets_tests.factories import declaration, home_attributes, local_platform, write_landing


class DataStages:
    """Arrivals, tables and dataset of one model, with a platform and an instance that outlive its runs."""

    def __init__(self, tmp_path: Path, attributes: Mapping[str, Any] | None = None, **options: Any) -> None:
        self.path = tmp_path
        self.settings: dict[str, Any] = options.pop("settings", {})
        self.platform: Platform = options.pop("platform", None) or local_platform(tmp_path, **self.settings)
        self.instance = dg.DagsterInstance.ephemeral()
        self.loaded: LoadedDeclaration
        self.declare(attributes, **options)

    def declare(self, attributes: Mapping[str, Any] | None = None, **options: Any) -> None:
        """Declare the model, or declare it anew with something changed."""
        self.loaded = declaration(self.path, attributes or home_attributes(), **options)
        self.names = Names(self.loaded.name)

    def arrive(self, **objects: str) -> None:
        """Objects arrive: key -> text."""
        for key, text in objects.items():
            write_landing(self.platform, self.loaded, key, text)

    def run_arrivals(self, keys: Sequence[str], *, downstream: bool = False) -> dg.ExecuteInProcessResult:
        """A run of the arrivals of `keys` as one range, with the tables below it if asked."""
        self.instance.add_dynamic_partitions(self.names.partitions, list(keys))
        tags = run_tags(list(keys))
        selection = None if downstream else [self.names.asset("arrivals")]
        return self._run(selection, tags)

    def run(self, *stages: str) -> dg.ExecuteInProcessResult:
        """A run of these unpartitioned stages."""
        return self._run([self.names.asset(stage) for stage in stages], {})

    def _run(self, selection: Any, tags: Mapping[str, str]) -> dg.ExecuteInProcessResult:
        assets = [arrivals_asset(self.loaded), *table_assets(self.loaded), dataset_asset(self.loaded)]
        job = dg.define_asset_job("job", selection=selection or "*")
        defs = dg.Definitions(
            assets=assets,
            jobs=[job],  # type: ignore[list-item]
            resources={"platform": self.platform, "handover": handover_io_manager},
        )
        return defs.resolve_job_def("job").execute_in_process(
            instance=self.instance, tags=dict(tags), raise_on_error=False
        )

    def value(self, stage: str, returns: type[Value]) -> Any:
        """The value that the stage handed on last."""
        return latest(self.platform, self.names.asset(stage), returns)

    def rows(self, select: str) -> list[dict[str, Any]]:
        """Rows of a query in the warehouse."""
        return self.platform.warehouse.query(select)


def materialized(result: dg.ExecuteInProcessResult, stage: str) -> list[dg.AssetMaterialization]:
    """The stage's materialisations in a run, in order."""
    events = result.get_asset_materialization_events()
    found = [event.step_materialization_data.materialization for event in events]
    return [item for item in found if item.asset_key.path[-1] == stage]


def metadata(result: dg.ExecuteInProcessResult, stage: str) -> dict[str, Any]:
    """The metadata of the stage's last materialisation in a run, plain values."""
    return {name: value.value for name, value in materialized(result, stage)[-1].metadata.items()}


def failure(result: dg.ExecuteInProcessResult) -> str:
    """The message of the error that a run's step failed with."""
    data = next(event.step_failure_data for event in result.all_events if event.is_step_failure)
    assert data.error is not None
    cause = data.error.cause or data.error
    return cause.message


def checks(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    """Check name -> whether it passed."""
    return {item.check_name: item.passed for item in result.get_asset_check_evaluations()}
