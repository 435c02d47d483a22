"""The endpoint: the registry's champion serves, after it has answered sample rows as it does offline.

What serves is decided by the registry, not by the run: a version that waits for approval or was rejected
never serves, whichever run asks. The smoke test's samples and answers are those that the champion's own
evaluation left: the one handed on where it is the champion's, else the one that the stage's memo remembers.
"""

import json
import shlex
from collections.abc import Mapping
from typing import Any

import dagster as dg

from mlops_assets.artifacts import Deployment, Evaluation, ModelVersion
from mlops_assets.declaration.loaded import LoadedDeclaration
from mlops_assets.errors import ArtifactError, DeploymentError, MlopsAssetsError
from mlops_assets.pipeline.memo import remembered
from mlops_assets.pipeline.names import Names
from mlops_assets.platforms.ports import Platform

SAMPLES, EXPECTED = "samples.json", "expected.json"
_EXAMPLES = {
    "int": 1,
    "float": 1.0,
    "bool": True,
    "string": "text",
    "timestamp": "2026-01-31T08:00:00",
    "date": "2026-01-31",
}


def endpoint_asset(loaded: LoadedDeclaration) -> dg.AssetsDefinition:
    """The asset `<model>/endpoint`; hands on the Deployment."""
    names = Names(loaded.name)

    @dg.asset(
        key=names.asset("endpoint"),
        ins={stage: dg.AssetIn(key=names.asset(stage)) for stage in ("registered_model", "evaluation")},
        group_name=loaded.name,
        io_manager_key="handover",
        kinds={"endpoint"},
        owners=list(loaded.spec.owners) or None,
        tags=dict(loaded.spec.tags),
        description=f"Server of {loaded.name}'s champion: GET /ping, POST /invocations.",
    )
    def endpoint(
        context: dg.AssetExecutionContext,
        platform: dg.ResourceParam[Platform],
        registered_model: ModelVersion,
        evaluation: Evaluation,
    ) -> dg.MaterializeResult:
        try:
            deployment, champion = deploy_champion(platform, registered_model, evaluation)
        except MlopsAssetsError as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        context.log.info(deployment.message)
        served = f"{champion.version}-{champion.candidate_digest[:16]}" if champion else "none"
        return dg.MaterializeResult(
            value=deployment,
            data_version=dg.DataVersion(served),
            metadata=_metadata(platform, deployment, champion),
        )

    return endpoint


def deploy_champion(
    platform: Platform, handed: ModelVersion, evaluation: Evaluation
) -> tuple[Deployment, ModelVersion | None]:
    """Let the champion serve; `waiting` where `handed`, the version just registered, is not approved yet.

    What a person stopped stays `stopped`, whatever became champion since.

    Args:
        platform: whose registry says what is approved.
        handed: the version that the registration handed on; its state is read from the registry again.
        evaluation: the evaluation handed on; used where it is the champion's.

    Returns:
        The deployment, and the version that serves (None where none does).

    Raises:
        DeploymentError: where nothing is approved, or the champion does not take over.
        ArtifactError: where the champion's evaluation is gone.
    """
    model = handed.model
    version = platform.registry.get(model, handed.version)
    champion = platform.registry.champion(model)
    if champion is not None and champion.approval != "approved":
        raise _refused(champion)
    if champion is None:
        if version.approval == "pending":
            return Deployment(model=model, version=None, status="waiting", message=_waits(version)), None
        raise _refused(version)
    measured = evaluation_of(platform, champion, evaluation)
    deployment = platform.endpoint.deploy(
        champion, samples=measured.uri.join(SAMPLES), expected=measured.uri.join(EXPECTED)
    )
    if deployment.stopped_by is not None:
        said = [_waits(version)] if version.approval == "pending" else []
        said.append(stopped_by_hand(champion, deployment))
        return deployment.model_copy(update={"message": " ".join(said)}), None
    message = f"Version {champion.version} serves at {deployment.url}: {deployment.message}."
    if version.approval == "pending":
        kept = f"{_waits(version)} Version {champion.version} goes on serving at {deployment.url}."
        return deployment.model_copy(update={"status": "waiting", "message": kept}), champion
    if version.approval == "rejected":
        message = f"Version {version.version} was rejected and is not deployed. {message}"
    return deployment.model_copy(update={"message": message}), champion


def _waits(version: ModelVersion) -> str:
    command = f"mlops-assets approve {version.model} {version.version}"
    return f"Version {version.version} waits for approval: {command}."


def stopped_by_hand(champion: ModelVersion, deployment: Deployment) -> str:
    """Why `champion` is not deployed: a stop by a person holds, whatever arrives or is approved."""
    return (
        f"Stopped by {deployment.stopped_by}: version {champion.version} is not deployed; "
        f"start it with: mlops-assets endpoints restart {champion.model}."
    )


def _refused(version: ModelVersion) -> DeploymentError:
    return DeploymentError(
        f"Version {version.version} is not deployed: its approval is {version.approval!r}, "
        "and only an approved champion serves.",
        where=f"endpoint of {version.model}",
        mend=f"Run: mlops-assets approve {version.model} {version.version}, or train a better candidate.",
    )


def evaluation_of(platform: Platform, version: ModelVersion, handed: Evaluation) -> Evaluation:
    """The evaluation of `version`'s candidate that still has its samples.

    Raises:
        ArtifactError: where there is none: without samples nothing shows that a server answers rightly.
    """
    for evaluation in (handed, *remembered(platform, version.model, "evaluation", Evaluation)):
        if evaluation.candidate_digest == version.candidate_digest:
            files: Mapping[str, str] = platform.store.published(evaluation.uri) or {}
            if SAMPLES in files and EXPECTED in files:
                return evaluation
    raise ArtifactError(
        f"The evaluation of version {version.version} and its sample rows are gone.",
        where=f"evaluations of {version.model}",
        mend=f"Materialise {version.model}/evaluation for that candidate again; what serves now goes on.",
    )


def _metadata(platform: Platform, deployment: Deployment, champion: ModelVersion | None) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "status": dg.MetadataValue.text(deployment.status),
        "message": dg.MetadataValue.text(deployment.message),
    }
    if champion is not None and deployment.url is not None:
        metadata |= {
            "url": dg.MetadataValue.url(deployment.page or deployment.url),
            "version": champion.version,
            "candidate": dg.MetadataValue.text(champion.candidate_digest),
            "example": dg.MetadataValue.md(f"```sh\n{_curl(platform, deployment, champion)}\n```"),
        }
    if deployment.latency_ms is not None:
        metadata["smoke_test_ms"] = deployment.latency_ms
    return metadata


def _curl(platform: Platform, deployment: Deployment, champion: ModelVersion) -> str:
    """A request that works as it stands; its values are made up: metadata shows no row of anybody's data."""
    signature = json.loads(platform.store.read(champion.uri.join("model.json")))
    row = {
        feature["name"]: (feature.get("categories") or [_EXAMPLES[feature["type"]]])[0]
        for feature in signature["features"]
    }
    url = f"{deployment.url}{deployment.route}"
    parts = ["curl -s", url, "-H 'Content-Type: application/json'", *deployment.curl]
    body = json.dumps({"instances": [row]}, ensure_ascii=False)
    return " \\\n  ".join([" ".join(parts[:2]), *parts[2:], f"-d {shlex.quote(body)}"])
