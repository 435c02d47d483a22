"""Switched on, new data flows through by itself: each stage is asked for when what it reads has changed."""

from __future__ import annotations

import dagster as dg

from mlops_assets.pipeline.build import model_defs
from mlops_assets.pipeline.handover import handover_io_manager
from mlops_assets.pipeline.landing import run_tags
from mlops_assets_tests.factories import csv_text, declaration, home_rows, local_platform, write_landing

STAGES = ["home_features", "dataset", "candidate", "evaluation", "registered_model"]


class Automated:
    """The whole model with its automation, ticked by hand."""

    def __init__(self, tmp_path) -> None:
        self.platform = local_platform(tmp_path)
        self.loaded = declaration(tmp_path)
        self.instance = dg.DagsterInstance.ephemeral()
        parts = model_defs(self.loaded, self.platform.settings)
        resources = {"platform": self.platform, "handover": handover_io_manager}
        self.defs = dg.Definitions.merge(parts, dg.Definitions(resources=resources))
        self.cursor = None

    def arrive(self, key: str, rows: list) -> None:
        write_landing(self.platform, self.loaded, key, csv_text(rows))
        self.instance.add_dynamic_partitions(f"{self.loaded.name}_arrivals", [key])
        self.run(["arrivals"], run_tags([key]))

    def run(self, stages: list[str], tags: dict[str, str] | None = None) -> None:
        job = self.defs.resolve_job_def(self.loaded.name)
        keys = [dg.AssetKey([self.loaded.name, stage]) for stage in stages]
        done = job.execute_in_process(
            instance=self.instance, asset_selection=keys, tags=tags, raise_on_error=True
        )
        assert done.success

    def requested(self) -> list[str]:
        """The stages that the next tick asks for, in the order of the pipeline."""
        result = dg.evaluate_automation_conditions(defs=self.defs, instance=self.instance, cursor=self.cursor)
        self.cursor = result.cursor
        return [
            stage for stage in STAGES if result.get_num_requested(dg.AssetKey([self.loaded.name, stage])) > 0
        ]


def test_an_arrival_asks_for_everything_below_it_once(tmp_path):
    model = Automated(tmp_path)
    assert model.requested() == []
    model.arrive("a.csv", home_rows(300))
    asked = model.requested()
    assert asked[0] == "home_features"
    model.run(asked)
    while more := model.requested():
        model.run(more)
    assert model.platform.registry.champion(model.loaded.name) is not None
    assert model.requested() == []

    model.arrive("b.csv", home_rows(100, seed=1, first_id=1_000))
    assert model.requested()[0] == "home_features"
