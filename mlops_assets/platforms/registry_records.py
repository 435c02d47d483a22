"""What the adapters of every model registry read and write in the same form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlops_assets.artifacts import Candidate, Decision, Evaluation
    from mlops_assets.artifacts.values import Approval


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
        "run_id": candidate.run_id,
        "git_commit": candidate.git_commit,
    }
