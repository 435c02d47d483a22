"""Runs dataset, candidate and evaluation of one declared model in process, after its data has arrived."""

from __future__ import annotations

import dagster as dg

from mlops_assets.pipeline.arrivals import arrivals_asset
from mlops_assets.pipeline.candidate import candidate_asset
from mlops_assets.pipeline.dataset import dataset_asset
from mlops_assets.pipeline.evaluation import evaluation_asset
from mlops_assets.pipeline.handover import handover_io_manager
from mlops_assets.pipeline.tables import table_assets
from mlops_assets_tests.factories import csv_text, home_rows
from mlops_assets_tests.pipeline.running import DataStages


class ModelStages(DataStages):
    """The data stages with a hundred homes or more arrived, and what is trained on them."""

    def prepare(self, rows: int = 400) -> None:
        """Let rows arrive and become a dataset."""
        self.arrive(**{"homes.csv": csv_text(home_rows(rows))})
        assert self.run_arrivals(["homes.csv"]).success
        tables = [table.name for table in self.loaded.tables]
        assert self.run(*tables, "dataset").success

    def model(self, *stages: str) -> dg.ExecuteInProcessResult:
        """A run of candidate and evaluation, or of those named."""
        upstream = [arrivals_asset(self.loaded), *table_assets(self.loaded), dataset_asset(self.loaded)]
        assets = [*upstream, candidate_asset(self.loaded), evaluation_asset(self.loaded)]
        chosen = stages or ("candidate", "evaluation")
        job = dg.define_asset_job("job", selection=[self.names.asset(stage) for stage in chosen])
        defs = dg.Definitions(
            assets=assets,
            jobs=[job],  # type: ignore[list-item]
            resources={"platform": self.platform, "handover": handover_io_manager},
        )
        return defs.resolve_job_def("job").execute_in_process(instance=self.instance, raise_on_error=False)
