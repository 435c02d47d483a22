"""The gates as checks: what people see of a verdict, and the champion measured on the same rows, for real."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from mlops_assets.artifacts import Decision
from mlops_assets.artifacts.decisions import sealed
from mlops_assets.pipeline.build import model_defs
from mlops_assets.pipeline.gates import gate_checks
from mlops_assets.platforms.binding import resources_for
from mlops_assets.platforms.ports import Platform
from mlops_assets_tests.factories import (
    csv_text,
    declaration,
    home_attributes,
    home_rows,
    write_landing,
)
from mlops_assets_tests.judged import registry_platform
from mlops_assets_tests.pipeline.bypass_graph import definitions, hand_on, record, small


def test_every_gate_is_a_check_that_blocks_unless_it_only_warns(tmp_path: Path) -> None:
    loaded = small(
        tmp_path,
        {"metric": "rmse", "max": 10.0, "baseline": {"better_by": 0.1}},
        {"metric": "r2", "min": 0.5, "slice": "region=north", "severity": "warn"},
    )
    specs = {spec.name: spec for spec in gate_checks(loaded).check_specs}
    assert {name: spec.blocking for name, spec in specs.items()} == {
        "rmse_max_baseline": True,
        "r2_min_region_north": False,
    }
    assert {spec.asset_key for spec in specs.values()} == {dg.AssetKey(["homes", "evaluation"])}
    assert specs["rmse_max_baseline"].description == (
        "rmse: at most 10, better than the naive baseline by at least 10 %."
    )


def test_a_check_shows_value_threshold_message_and_where_the_decision_lies(tmp_path: Path) -> None:
    platform = registry_platform(tmp_path)
    hand_on(platform, "good")
    job = definitions(small(tmp_path), platform).resolve_job_def("homes")
    with dg.instance_for_test() as instance:
        result = job.execute_in_process(instance=instance)
    (check,) = result.get_asset_check_evaluations()
    shown = {name: item.value for name, item in check.metadata.items()}
    assert shown == {
        "value": 5.0,
        "threshold": 10.0,
        "message": "rmse 5 is at most 10",
        "decision": str(record(platform)),
        "champion": "none",
    }
    decision = Decision.model_validate_json(platform.store.read(record(platform)))
    assert sealed(decision, platform.settings.seal_key())
    assert decision.run_id == result.run_id
    assert (decision.passed, decision.champion) == (True, None)


def test_the_same_case_again_leaves_the_same_record(tmp_path: Path) -> None:
    platform = registry_platform(tmp_path)
    hand_on(platform, "bad", rmse=12.0)
    job = definitions(small(tmp_path), platform).resolve_job_def("homes")
    with dg.instance_for_test() as instance:
        job.execute_in_process(instance=instance, raise_on_error=False)
        first = platform.store.read(record(platform))
        job.execute_in_process(instance=instance, raise_on_error=False)
    assert platform.store.read(record(platform)) == first


@pytest.mark.slow
def test_a_worse_candidate_is_refused_by_the_champion_on_the_same_rows(tmp_path: Path) -> None:
    platform = registry_platform(tmp_path)
    gates = [{"metric": "r2", "min": -10.0}, {"metric": "rmse", "champion": {"tolerance": 0.05}}]
    with dg.instance_for_test() as instance:
        first = _trained(tmp_path, platform, instance, gates, max_depth=6)
        assert first.success
        champion = platform.registry.champion("homes")
        assert champion is not None

        worse = _trained(tmp_path, platform, instance, gates, max_depth=1)
        assert not worse.success
        checks = {item.check_name: item for item in worse.get_asset_check_evaluations()}
        assert checks["r2_min"].passed
        refused = checks["rmse_champion"]
        assert not refused.passed
        assert "worse than the champion's" in str(refused.description)
        # The same rows: the champion's own figure, measured again, is the one it was registered with.
        assert refused.metadata["threshold"].value == pytest.approx(champion.metrics["rmse"] * 1.05, rel=1e-9)
        assert [item.version for item in platform.registry.versions()] == [1]
        assert platform.registry.champion("homes") == champion


def _trained(
    tmp_path: Path,
    platform: Platform,
    instance: dg.DagsterInstance,
    gates: list[dict[str, Any]],
    *,
    max_depth: int,
) -> dg.ExecuteInProcessResult:
    """The whole pipeline, arrivals to registered model, with a tree of this depth."""
    attributes: dict[str, Any] = home_attributes() | {"gates": gates}
    attributes["training"]["parameters"] = {"max_depth": max_depth}
    loaded = declaration(tmp_path, attributes)
    write_landing(platform, loaded, "first.csv", csv_text(home_rows(400)))
    instance.add_dynamic_partitions("homes_arrivals", ["first.csv"])
    made = dg.Definitions.merge(
        model_defs(loaded, platform.settings), dg.Definitions(resources=resources_for(platform))
    )
    arrived = dg.define_asset_job("arrived", dg.AssetSelection.assets(["homes", "arrivals"]))
    made = dg.Definitions.merge(made, dg.Definitions(jobs=[arrived]))
    load = made.resolve_job_def("arrived").execute_in_process(instance=instance, partition_key="first.csv")
    assert load.success
    rest = dg.AssetSelection.groups("homes") - dg.AssetSelection.assets(["homes", "arrivals"])
    job = dg.define_asset_job("rest", rest | dg.AssetSelection.checks_for_assets(["homes", "evaluation"]))
    made = dg.Definitions.merge(made, dg.Definitions(jobs=[job]))
    return made.resolve_job_def("rest").execute_in_process(instance=instance, raise_on_error=False)
