"""Deploying what was approved: a sensor that compares the champion with what serves.

It sees a new champion wherever it was made: by `mlops-assets approve` or `rollback`, by a run, in the
registry's own interface. A tick reads the registry's file and the endpoint's state, nothing more.
"""

from typing import Any

import dagster as dg
from pydantic import BaseModel, ValidationError

from mlops_assets.artifacts import Deployment, ModelVersion
from mlops_assets.artifacts.values import now
from mlops_assets.declaration.loaded import LoadedDeclaration
from mlops_assets.pipeline.deployment import stopped_by_hand
from mlops_assets.pipeline.names import Names
from mlops_assets.platforms.ports import Platform

_UNDER_WAY = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
]


class _Seen(BaseModel):
    """The cursor: champion and deployed version as of the last tick that acted or found them the same."""

    champion: int | None = None
    deployed: int | None = None


def approval_sensor(loaded: LoadedDeclaration) -> dg.SensorDefinition:
    """A sensor that runs `<model>/endpoint` when another version than the deployed one is champion.

    It asks once for each change: a deployment that failed is not repeated by itself. What a person stopped
    stays stopped until it is restarted; a champion that became one meanwhile is deployed then.
    """
    endpoint = Names(loaded.name).asset("endpoint")

    @dg.sensor(
        name=f"{loaded.name}_approved",
        target=dg.AssetSelection.assets(endpoint),
        minimum_interval_seconds=15,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Deploys the version of {loaded.name} that became champion.",
    )
    def approved(
        context: dg.SensorEvaluationContext, platform: dg.ResourceParam[Platform]
    ) -> dg.SensorResult | dg.SkipReason:
        champion = platform.registry.champion(loaded.name)
        if champion is None:
            return dg.SkipReason(f"{loaded.name} has no approved version.")
        deployment = platform.endpoint.status(loaded.name)
        if deployment.stopped_by is not None:
            # Forgetting what was asked for: what became champion meanwhile is asked for after the restart.
            return dg.SensorResult(
                skip_reason=stopped_by_hand(champion, deployment), cursor=_Seen().model_dump_json()
            )
        seen = _Seen(champion=champion.version, deployed=deployment.version)
        if deployment.version == champion.version:
            return dg.SensorResult(
                skip_reason=f"Version {champion.version} is deployed.", cursor=seen.model_dump_json()
            )
        if reason := _waits(_cursor(context.cursor), champion, deployment):
            return dg.SkipReason(reason)
        if _deploying(context.instance, loaded.name, endpoint):
            return dg.SkipReason("A run that deploys is under way.")
        request = dg.RunRequest(
            # With the time: a version may become champion again, and Dagster never forgets a run key.
            run_key=f"{loaded.name}@{champion.version}-{now().isoformat(timespec='milliseconds')}",
            asset_selection=[endpoint],
            tags={"mlops/version": str(champion.version)},
        )
        return dg.SensorResult(run_requests=[request], cursor=seen.model_dump_json())

    return approved


def _waits(seen: _Seen, champion: ModelVersion, deployment: Deployment) -> str | None:
    """Why nothing is to be done although another version is deployed; None where something is."""
    if seen.champion != champion.version:
        return None
    if seen.deployed == deployment.version:
        return f"Version {champion.version} was asked for already; materialise the endpoint to try again."
    if deployment.status == "stopped" and seen.deployed == champion.version:
        restart = f"mlops-assets endpoints restart {champion.model}"
        return f"Version {champion.version} was stopped; start it with: {restart}."
    return None


def _deploying(instance: dg.DagsterInstance, model: str, endpoint: dg.AssetKey) -> bool:
    runs: list[Any] = list(instance.get_runs(dg.RunsFilter(statuses=_UNDER_WAY)))
    return any(run.job_name == model or endpoint in (run.asset_selection or ()) for run in runs)


def _cursor(text: str | None) -> _Seen:
    try:
        return _Seen.model_validate_json(text or "{}")
    except ValidationError:  # of another version, or edited: looking again costs at most one run
        return _Seen()
