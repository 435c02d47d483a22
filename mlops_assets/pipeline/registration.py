"""The registered model: the candidate becomes a version, if and only if a valid decision lets it pass.

However this asset comes to run (alone, with the checks left out, from failure, by backfill or automation), it
asks the registry, and the registry verifies the decision record before it writes anything.
"""

from typing import Any

import dagster as dg

from mlops_assets.artifacts import ArtifactUri, Candidate, Dataset, Decision, Evaluation, ModelVersion
from mlops_assets.artifacts.metrics import brief, in_order
from mlops_assets.declaration.loaded import LoadedDeclaration
from mlops_assets.errors import GateRefusedError
from mlops_assets.pipeline.names import Names
from mlops_assets.pipeline.verdicts import Case, standing
from mlops_assets.platforms.ports import Platform


def registered_model_asset(loaded: LoadedDeclaration) -> dg.AssetsDefinition:
    """The asset `<model>/registered_model`; hands on the ModelVersion, the same for the same candidate."""
    names = Names(loaded.name)

    @dg.asset(
        key=names.asset("registered_model"),
        ins={stage: dg.AssetIn(key=names.asset(stage)) for stage in ("candidate", "evaluation", "dataset")},
        group_name=loaded.name,
        io_manager_key="handover",
        kinds={"model"},
        owners=list(loaded.spec.owners) or None,
        tags=dict(loaded.spec.tags),
        description=f"Version of {loaded.name} in the registry; approval is {loaded.spec.registry.approval}.",
    )
    def registered_model(
        context: dg.AssetExecutionContext,
        platform: dg.ResourceParam[Platform],
        candidate: Candidate,
        evaluation: Evaluation,
        dataset: Dataset,
    ) -> dg.MaterializeResult:
        try:
            case = Case(loaded, candidate, evaluation, dataset)
            case.check()
            found = standing(platform, case)
            decision, uri = found or (None, None)
            version = platform.registry.register(
                candidate,
                evaluation,
                decision,
                policy_digest=case.policy_digest,
                approval=loaded.spec.registry.approval,
            )
        except GateRefusedError as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        context.log.info(_said(version))
        return dg.MaterializeResult(
            value=version,
            data_version=dg.DataVersion(f"{version.version}-{version.candidate_digest[:16]}"),
            metadata=_metadata(version, decision, uri, platform.registry.console(loaded.name)),
        )

    return registered_model


def _said(version: ModelVersion) -> str:
    state = {
        "approved": "it is the champion" if "champion" in version.aliases else "it is approved",
        "pending": f"it waits for: mlops-assets approve {version.model} {version.version}",
        "rejected": "it was rejected",
    }[version.approval]
    return f"{version.model} version {version.version}: {state}."


def _metadata(
    version: ModelVersion, decision: Decision | None, uri: ArtifactUri | None, console: str
) -> dict[str, Any]:
    return {
        "version": version.version,
        "approval": dg.MetadataValue.text(version.approval),
        "alias": dg.MetadataValue.text(", ".join(version.aliases) or "none"),
        **{f"metric/{name}": brief(version.metrics[name]) for name in in_order(version.metrics)},
        "dagster/uri": dg.MetadataValue.text(str(version.uri)),
        "decision": dg.MetadataValue.text(str(uri)),
        **({"decided": dg.MetadataValue.timestamp(decision.decided_at)} if decision else {}),
        "dataset_version": dg.MetadataValue.text(version.dataset_version),
        "candidate": dg.MetadataValue.text(version.candidate_digest),
        "git_commit": dg.MetadataValue.text(version.git_commit or "none"),
        **({"registry": dg.MetadataValue.text(console)} if console else {}),
    }
