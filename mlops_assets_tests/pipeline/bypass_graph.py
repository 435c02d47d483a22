"""A model's graph from candidate to registered model, over candidates published beforehand.

The gates, the registration, the hand-over and the registry are the real ones; the assets above them hand on
values that a test has put into the hand-over's folder, as the stages themselves would have.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import dagster as dg

from mlops_assets.artifacts import ArtifactUri, Candidate, Dataset, Evaluation, Split, Value, digest_of
from mlops_assets.declaration.loaded import LoadedDeclaration
from mlops_assets.pipeline import handover
from mlops_assets.pipeline.gates import gate_checks
from mlops_assets.pipeline.names import Names
from mlops_assets.pipeline.registration import registered_model_asset
from mlops_assets.platforms.local import build_platform
from mlops_assets.platforms.ports import Platform
from mlops_assets.settings import Settings
from mlops_assets_tests.factories import declaration, home_attributes
from mlops_assets_tests.judged import candidate, evaluation

NAMES = Names("homes")
STAGES: dict[str, type[Value]] = {"dataset": Dataset, "candidate": Candidate, "evaluation": Evaluation}
ROWS = digest_of({"test": "3" * 64, "target": "price"})


def small(folder: Path, *gates: dict[str, Any], **changes: Any) -> LoadedDeclaration:
    """The homes model with other gates; default: rmse at most 10."""
    attributes = home_attributes() | {"gates": list(gates) or [{"metric": "rmse", "max": 10.0}]} | changes
    return declaration(folder, attributes)


def dataset(platform: Platform) -> Dataset:
    """The dataset that the candidates of mlops_assets_tests.judged say they were trained on."""
    uri = platform.store.root.join("datasets", "homes", "d" * 16)
    return Dataset(
        model="homes",
        version="d" * 64,
        uri=uri,
        splits=(Split(name="test", uri=uri.join("test"), rows=100, sha256="3" * 64),),
        columns=(),
        features=("square_feet",),
        target="price",
        query="SELECT 1",
    )


def hand_on(platform: Platform, content: str, **measured: Any) -> tuple[Candidate, Evaluation]:
    """Let the stages above the gates hand on a candidate with this content, measured so."""
    one = candidate(platform, content=content)
    result = evaluation(one, **{"data_digest": ROWS, **measured})
    for stage, value in {"dataset": dataset(platform), "candidate": one, "evaluation": result}.items():
        handover.save(platform, NAMES.asset(stage), f"made-{content}", value)
    return one, result


def definitions(loaded: LoadedDeclaration, platform: Platform, *, eager: bool = False) -> dg.Definitions:
    """The graph; `eager` puts Dagster's plain eager condition on the registered model."""
    registered = registered_model_asset(loaded)
    if eager:
        condition = dg.AutomationCondition.eager()
        registered = registered.map_asset_specs(
            lambda spec: spec.replace_attributes(automation_condition=condition)
        )
    return dg.Definitions(
        assets=[*(_stage(stage, returns) for stage, returns in STAGES.items()), registered],
        asset_checks=[gate_checks(loaded)],
        jobs=[dg.define_asset_job("homes", dg.AssetSelection.all(), executor_def=dg.in_process_executor)],  # type: ignore[list-item]
        resources={"platform": platform, "handover": handover.handover_io_manager},
    )


def _stage(stage: str, returns: type[Value]) -> dg.AssetsDefinition:
    above = {"dataset": [], "candidate": ["dataset"], "evaluation": ["candidate"]}[stage]

    @dg.asset(key=NAMES.asset(stage), deps=[NAMES.asset(name) for name in above], io_manager_key="handover")
    def made(platform: dg.ResourceParam[Platform]) -> Any:
        return handover.latest(platform, NAMES.asset(stage), returns)

    return made


def homes_job() -> dg.JobDefinition:
    """The job of BYPASS_FOLDER, for Dagster to load again when it re-executes a run."""
    folder = Path(os.environ["BYPASS_FOLDER"])
    platform = build_platform(Settings(root=folder / "mlops"))
    return definitions(small(folder), platform).resolve_job_def("homes")


def record(platform: Platform) -> ArtifactUri:
    """Where the one decision record of the store lies."""
    (found,) = platform.store.list(platform.store.root.join("decisions"))
    return found.uri
