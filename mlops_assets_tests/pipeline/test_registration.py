"""The registered model as an asset: what it hands on and shows, with approval automatic and manual."""

from __future__ import annotations

from pathlib import Path

import dagster as dg

from mlops_assets.artifacts import ModelVersion
from mlops_assets.pipeline import handover
from mlops_assets.platforms.ports import Platform
from mlops_assets_tests.judged import registry_platform
from mlops_assets_tests.pipeline.bypass_graph import NAMES, definitions, hand_on, record, small

REGISTERED = NAMES.asset("registered_model")


def _materialise(platform: Platform, loaded: object) -> dg.ExecuteInProcessResult:
    job = definitions(loaded, platform).resolve_job_def("homes")  # type: ignore[arg-type]
    with dg.instance_for_test() as instance:
        return job.execute_in_process(instance=instance, raise_on_error=False)


def test_a_registered_version_is_handed_on_with_all_that_leads_back(tmp_path: Path) -> None:
    platform = registry_platform(tmp_path)
    one, _ = hand_on(platform, "good")
    result = _materialise(platform, small(tmp_path))
    version = handover.latest(platform, REGISTERED, ModelVersion)
    assert version == platform.registry.champion("homes")
    (event,) = result.asset_materializations_for_node("homes__registered_model")
    assert event.tags is not None
    shown = {name: item.value for name, item in event.metadata.items()}
    expected = {
        "version": 1,
        "approval": "approved",
        "alias": "champion",
        "metric/rmse": 5.0,
        "metric/r2": 0.9,
        "dagster/uri": str(one.uri),
        "decision": str(record(platform)),
        "dataset_version": one.dataset_version,
        "candidate": one.digest,
        "git_commit": "c0ffee",
    }
    assert expected.items() <= shown.items()
    assert str(shown["registry"]).startswith("mlflow ui --backend-store-uri sqlite:///")
    assert event.tags["dagster/data_version"] == f"1-{one.digest[:16]}"


def test_with_manual_approval_the_version_waits_and_the_champion_stays(tmp_path: Path) -> None:
    platform = registry_platform(tmp_path)
    hand_on(platform, "first")
    assert _materialise(platform, small(tmp_path)).success
    hand_on(platform, "second")
    assert _materialise(platform, small(tmp_path, registry={"approval": "manual"})).success
    version = handover.latest(platform, REGISTERED, ModelVersion)
    assert version is not None
    assert (version.version, version.approval) == (2, "pending")
    assert platform.registry.champion("homes").version == 1  # type: ignore[union-attr]


def test_a_refusal_fails_without_retries_and_names_the_reason(tmp_path: Path) -> None:
    platform = registry_platform(tmp_path)
    hand_on(platform, "bad", rmse=12.0)
    loaded = small(tmp_path)
    made = dg.Definitions.merge(
        definitions(loaded, platform),
        dg.Definitions(jobs=[dg.define_asset_job("alone", dg.AssetSelection.assets(REGISTERED))]),
    )
    with dg.instance_for_test() as instance:
        result = made.resolve_job_def("alone").execute_in_process(instance=instance, raise_on_error=False)
    failure = result.failure_data_for_node("homes__registered_model")
    assert failure is not None
    assert failure.user_failure_data is not None
    assert "Not registered: no decision exists" in str(failure.user_failure_data.description)
    assert "Mend:" in str(failure.user_failure_data.description)
    (event,) = [item for item in result.all_events if item.is_step_failure]
    assert not [item for item in result.all_events if item.is_step_up_for_retry]
    assert event.step_key == "homes__registered_model"
