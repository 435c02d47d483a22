"""What the adapters of every model registry read and write in the same form."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlops_assets.errors import ArtifactError

if TYPE_CHECKING:
    from mlops_assets.artifacts import ArtifactUri, Candidate, Decision, Evaluation
    from mlops_assets.artifacts.values import Approval
    from mlops_assets.platforms.ports import ObjectStore


@dataclass(frozen=True)
class OutsideDecision:
    """What a person decided about a version in the service's own interface, and no record has yet.

    Attributes:
        by: who, as far as the service tells.
        reason: what the person wrote beside it.
    """

    version: int
    state: Approval
    by: str
    reason: str = ""


def version_record(candidate: Candidate, evaluation: Evaluation, decision: Decision) -> dict[str, Any]:
    """What a ModelVersion is made of, but for what the service keeps itself: number, approval, aliases."""
    return {
        "candidate_digest": candidate.digest,
        "decision_digest": decision.digest,
        "uri": str(candidate.uri),
        "files": candidate.files,
        "metrics": {name: item.value for name, item in evaluation.metrics.items() if item.value is not None},
        "parameters": candidate.parameters,
        "dataset_version": candidate.dataset_version,
        "dataset_uri": str(candidate.dataset_uri),
        "recipe": candidate.recipe,
        "estimator": candidate.estimator,
        "run_id": candidate.run_id,
        "git_commit": candidate.git_commit,
        **({"copied_from": candidate.copied_from.model_dump(mode="json")} if candidate.copied_from else {}),
    }


def signature(store: ObjectStore, uri: ArtifactUri) -> dict[str, Any] | None:
    """Features and target of the model.json in a model's folder; None where there is none to read."""
    try:
        described = json.loads(store.read(uri.join("model.json")))
    except (ArtifactError, ValueError):
        return None
    return {part: described.get(part) for part in ("features", "target")}
