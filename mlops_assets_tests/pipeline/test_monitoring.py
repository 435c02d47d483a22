"""The drift check beside the arrivals: what it judges, against what, and what it shows."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from mlops_assets.artifacts import Dataset
from mlops_assets.declaration.loaded import LoadedDeclaration
from mlops_assets.pipeline.arrivals import arrivals_asset
from mlops_assets.pipeline.dataset import dataset_asset
from mlops_assets.pipeline.handover import handover_io_manager, latest
from mlops_assets.pipeline.landing import partition_ranges, run_tags
from mlops_assets.pipeline.monitoring import CHECK, drift_check, judged_columns
from mlops_assets.pipeline.names import Names
from mlops_assets.pipeline.reference import reference
from mlops_assets.pipeline.tables import table_assets
from mlops_assets.platforms.ports import Platform
from mlops_assets_tests.factories import (
    csv_text,
    declaration,
    home_attributes,
    home_rows,
    local_platform,
    write_landing,
)

NAMES = Names("homes")
ARRIVALS = NAMES.asset("arrivals")


class Model:
    """A small model up to its dataset, and what arrives for it."""

    def __init__(self, platform: Platform, loaded: LoadedDeclaration, instance: dg.DagsterInstance) -> None:
        self.platform, self.loaded, self.instance = platform, loaded, instance
        self.definitions = dg.Definitions(
            assets=[arrivals_asset(loaded), *table_assets(loaded), dataset_asset(loaded)],
            asset_checks=[drift_check(loaded)],
            jobs=[
                dg.define_asset_job("homes", selection=dg.AssetSelection.groups("homes")),
                dg.define_asset_job(
                    "check", selection=dg.AssetSelection.checks(dg.AssetCheckKey(ARRIVALS, CHECK))
                ),
            ],
            resources={"platform": platform, "handover": handover_io_manager},
        )

    def arrive(self, **objects: Sequence[Sequence[Any]]) -> list[dg.AssetCheckEvaluation]:
        """Objects arrive and one run takes them through the whole job; the drift check's evaluations."""
        for key, rows in objects.items():
            write_landing(self.platform, self.loaded, f"{key}.csv", csv_text(rows))
        pairs = partition_ranges(self.instance, self.loaded, [f"{key}.csv" for key in objects])
        assert len(pairs) == 1
        job = self.definitions.resolve_job_def("homes")
        result = job.execute_in_process(instance=self.instance, tags=run_tags(pairs[0]))
        assert result.success
        return [item for item in result.get_asset_check_evaluations() if item.check_name == CHECK]

    def check_alone(self) -> dg.AssetCheckEvaluation:
        """The check by itself, in a run without a partition."""
        result = self.definitions.resolve_job_def("check").execute_in_process(instance=self.instance)
        return result.get_asset_check_evaluations()[0]


@pytest.fixture
def model(tmp_path: Path) -> Iterator[Callable[..., Model]]:
    with dg.DagsterInstance.ephemeral() as instance:

        def make(**monitoring: Any) -> Model:
            attributes = home_attributes() | {"monitoring": monitoring}
            return Model(local_platform(tmp_path), declaration(tmp_path, attributes), instance)

        yield make


def dearer(rows: list[list[Any]]) -> list[list[Any]]:
    return [[*row[:-1], row[-1] * 3] for row in rows]


def value(evaluation: dg.AssetCheckEvaluation, name: str) -> Any:
    return evaluation.metadata[name].value


def test_before_there_is_training_data_the_check_passes_and_says_so(model: Callable[..., Model]) -> None:
    evaluations = model().arrive(first=home_rows(200))
    assert [item.passed for item in evaluations] == [True]
    assert "no training data" in (evaluations[0].description or "")


def test_an_arrival_like_the_training_data_passes(model: Callable[..., Model]) -> None:
    trained = model()
    trained.arrive(first=home_rows(600))
    evaluation = trained.arrive(second=home_rows(300, seed=1, first_id=601))[0]
    assert evaluation.passed
    assert value(evaluation, "rows") == 300
    assert value(evaluation, "columns_drifted") == 0
    assert value(evaluation, "warehouse/queries") > 0


def test_an_arrival_that_moved_fails_names_the_columns_and_blocks_nothing(
    model: Callable[..., Model],
) -> None:
    trained = model()
    trained.arrive(first=home_rows(600))
    before = latest(trained.platform, NAMES.asset("dataset"), Dataset)
    rows = [[*row[:2], "mars", *row[3:]] for row in dearer(home_rows(300, seed=1, first_id=601))]
    evaluation = trained.arrive(second=rows)[0]
    assert not evaluation.passed
    assert not evaluation.blocking
    assert evaluation.severity == dg.AssetCheckSeverity.WARN
    description = evaluation.description or ""
    assert "price (psi, ks)" in description
    assert "region (psi, new_categories)" in description
    assert before is not None
    assert value(evaluation, "dataset_version") == before.version
    after = latest(trained.platform, NAMES.asset("dataset"), Dataset)
    assert after is not None
    assert after.version != before.version


def test_the_numbers_the_table_and_the_plot_are_shown(model: Callable[..., Model]) -> None:
    trained = model()
    trained.arrive(first=home_rows(600))
    evaluation = trained.arrive(second=dearer(home_rows(300, seed=1, first_id=601)))[0]
    assert value(evaluation, "psi_max") > 0.2
    assert 0.2 < value(evaluation, "ks_max") <= 1
    lines = value(evaluation, "columns").splitlines()
    assert lines[2].startswith("| price ")
    prefix = "![drift](data:image/png;base64,"
    plot = value(evaluation, "plot")
    assert plot.startswith(prefix)
    assert base64.b64decode(plot.removeprefix(prefix).removesuffix(")")).startswith(b"\x89PNG")


def test_a_run_over_a_range_is_judged_as_one_arrival(model: Callable[..., Model]) -> None:
    trained = model()
    trained.arrive(first=home_rows(600))
    arrived = home_rows(300, seed=1, first_id=601)
    evaluations = trained.arrive(second=arrived[:100], third=arrived[100:250], fourth=arrived[250:])
    assert [(value(item, "rows"), value(item, "objects")) for item in evaluations] == [(300, 3)]


def test_only_the_runs_own_objects_are_judged(model: Callable[..., Model]) -> None:
    trained = model()
    trained.arrive(first=home_rows(600))
    trained.arrive(second=dearer(home_rows(300, seed=1, first_id=601)))
    evaluation = trained.arrive(third=dearer(home_rows(300, seed=2, first_id=901)))[0]
    assert value(evaluation, "rows") == 300


def test_without_a_partition_the_object_loaded_last_is_judged(model: Callable[..., Model]) -> None:
    trained = model()
    trained.arrive(first=home_rows(600))
    trained.arrive(second=dearer(home_rows(50, seed=1, first_id=601)))
    evaluation = trained.check_alone()
    assert value(evaluation, "rows") == 50


def test_an_object_without_rows_passes(model: Callable[..., Model]) -> None:
    trained = model()
    trained.arrive(first=home_rows(600))
    evaluation = trained.arrive(second=[])[0]
    assert evaluation.passed
    assert "Nothing was loaded" in (evaluation.description or "")


def test_the_severity_and_the_limits_are_the_declared_ones(model: Callable[..., Model]) -> None:
    trained = model(severity="error", psi=100, ks=1, new_categories=1, null_rate=1)
    trained.arrive(first=home_rows(600))
    moved = dearer(home_rows(300, seed=1, first_id=601))
    assert trained.arrive(second=moved)[0].passed
    strict = model(severity="error")
    strict.arrive(third=home_rows(600, first_id=1_001))
    evaluation = strict.arrive(fourth=dearer(home_rows(300, seed=1, first_id=2_001)))[0]
    assert evaluation.severity == dg.AssetCheckSeverity.ERROR


def test_key_and_times_are_left_out_and_computed_columns_cannot_be_judged(
    model: Callable[..., Model],
) -> None:
    trained = model()
    trained.arrive(first=home_rows(600))
    dataset = latest(trained.platform, NAMES.asset("dataset"), Dataset)
    assert dataset is not None
    judged, left_out = judged_columns(trained.loaded, dataset)
    assert judged == {name: name for name in ("region", "square_feet", "bedrooms", "price")}
    assert left_out == ["feet_per_room", "listed_at", "listing_id"]
    chosen, _ = judged_columns(model(columns=["listed_at", "price"]).loaded, dataset)
    assert chosen == {"listed_at": "listed_at", "price": "price"}


def test_the_reference_is_profiled_once_by_the_first_arrival_that_is_compared(
    model: Callable[..., Model],
) -> None:
    trained = model()
    trained.arrive(first=home_rows(600))
    dataset = latest(trained.platform, NAMES.asset("dataset"), Dataset)
    assert dataset is not None
    profiles = trained.platform.store.root.join("profiles")
    assert list(trained.platform.store.list(profiles)) == []
    assert trained.arrive(second=home_rows(50, first_id=601))[0].metadata["rows"].value == 50
    made = [info.version for info in trained.platform.store.list(profiles)]
    assert len(made) == 1
    kept = reference(trained.platform, dataset)
    assert kept is not None
    assert kept["rows"] == dataset.split("train").rows
    assert [info.version for info in trained.platform.store.list(profiles)] == made


def test_a_dataset_whose_files_are_gone_is_no_reason_to_fail(model: Callable[..., Model]) -> None:
    trained = model()
    trained.arrive(first=home_rows(600))
    dataset = latest(trained.platform, NAMES.asset("dataset"), Dataset)
    assert dataset is not None
    trained.platform.store.delete(dataset.uri)
    assert trained.arrive(second=home_rows(50, first_id=601))[0].passed
