"""Lineage in Vertex ML Metadata, read by Google's own SDK as its users read it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlops_assets.artifacts import ModelVersion
from mlops_assets.platforms.binding import build_platform
from mlops_assets.platforms.gcp.model_versions import ModelVersions
from mlops_assets.platforms.gcp.settings import current_gcp_settings
from mlops_assets.platforms.gcp.vertex_client import place_of
from mlops_assets.platforms.gcp.vertex_settings import current_vertex_settings
from mlops_assets.platforms.ports import Platform
from mlops_assets.settings import Settings
from mlops_assets_tests.judged import candidate
from mlops_assets_tests.platforms.contracts.registry import register
from mlops_assets_tests.standins.faults import Fault
from mlops_assets_tests.standins.gcp.fixtures import Gcp


@pytest.fixture
def platform(gcp: Gcp, tmp_path: Path) -> Platform:
    current_gcp_settings.cache_clear()
    current_vertex_settings.cache_clear()
    return build_platform(Settings(root=tmp_path / "mlops", platform="gcp"))


def names(platform: Platform) -> ModelVersions:
    return ModelVersions(place_of(current_gcp_settings(), current_vertex_settings()), platform.store.root)


def run_name(version: ModelVersion) -> str:
    return f"v{version.version}-{version.candidate_digest[:8]}"


def test_the_sdk_reads_runs_metrics_and_what_a_model_came_from(platform: Platform, vertex_sdk: Any) -> None:
    first = register(platform)
    second = register(platform, content="second", champion=1)
    experiment = names(platform).id_of("homes")

    frame = vertex_sdk.Experiment(experiment).get_data_frame().set_index("run_name")
    assert set(frame.index) == {run_name(first), run_name(second)}
    row = frame.loc[run_name(first)]
    assert (row["state"], row["metric.rmse"], row["metric.r2"]) == ("COMPLETE", 5.0, 0.9)
    assert (row["param.max_depth"], row["param.criterion"]) == (6.0, "squared_error")

    run = vertex_sdk.ExperimentRun(run_name(second), experiment=experiment)
    assert run.get_metrics() == second.metrics
    assert run.get_params()["dataset_version"] == second.dataset_version
    kinds = ["google.VertexModel", "system.Dataset", "system.Metrics"]
    assert sorted(item.schema_title for item in run.get_artifacts()) == kinds
    training, measuring = sorted(run.get_executions(), key=lambda item: item.display_name, reverse=True)
    assert (training.display_name, training.metadata["git_commit"]) == ("train", "c0ffee")
    (dataset,), (model,) = training.get_input_artifacts(), training.get_output_artifacts()
    assert dataset.uri == str(candidate(platform, content="second").dataset_uri)
    assert {item.name for item in measuring.get_input_artifacts()} == {dataset.name, model.name}
    assert [item.metadata for item in measuring.get_output_artifacts()] == [second.metrics]

    from google.cloud.aiplatform.metadata.artifact import _VertexResourceArtifactResolver

    registered = vertex_sdk.Model(names(platform).name("homes", 2))
    resolved = _VertexResourceArtifactResolver.resolve_vertex_resource(registered)
    assert resolved is not None and resolved.name == model.name


@pytest.mark.parametrize(
    "fault",
    [
        Fault("aiplatform.CreateContext", 403, "PERMISSION_DENIED"),
        Fault("aiplatform.AddExecutionEvents", 0, "dropped"),
        Fault("aiplatform.CreateArtifact", 503, "UNAVAILABLE", afterwards=True),
        Fault("aiplatform.UpdateContext", 503, "UNAVAILABLE"),
    ],
    ids=lambda fault: fault.call,
)
def test_lineage_that_fails_undoes_no_registration_and_is_completed_by_the_next(
    gcp: Gcp, platform: Platform, vertex_sdk: Any, fault: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    gcp.server.faults.add(replace(fault))
    version = register(platform)
    assert (version.version, version.aliases) == (1, ("champion",))
    (warned,) = [item.getMessage() for item in caplog.records if "lineage" in item.getMessage()]
    assert "homes version 1 is registered" in warned and "registered again" in warned

    assert register(platform, champion=1) == version
    (run,) = vertex_sdk.ExperimentRun.list(experiment=names(platform).id_of("homes"))
    assert (run.get_state(), len(run.get_artifacts()), len(run.get_executions())) == ("COMPLETE", 3, 2)
    before = gcp.server.faults.calls["aiplatform.CreateArtifact"]
    register(platform, champion=1)
    assert gcp.server.faults.calls["aiplatform.CreateArtifact"] == before
