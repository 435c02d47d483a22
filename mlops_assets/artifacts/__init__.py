"""What the stages hand on: small typed values that name data, never the data itself.

Nothing in here imports Dagster, a cloud SDK, or a data library; the runtime inside a container uses it too.
"""

from mlops_assets.artifacts.digest import digest_file, digest_folder, digest_of
from mlops_assets.artifacts.uri import ArtifactUri
from mlops_assets.artifacts.values import (
    Candidate,
    Column,
    Dataset,
    Decision,
    Deployment,
    Evaluation,
    GateResult,
    Interval,
    ModelVersion,
    Origin,
    Split,
    TableRef,
    Value,
)

__all__ = [
    "ArtifactUri",
    "Candidate",
    "Column",
    "Dataset",
    "Decision",
    "Deployment",
    "Evaluation",
    "GateResult",
    "Interval",
    "ModelVersion",
    "Origin",
    "Split",
    "TableRef",
    "Value",
    "digest_file",
    "digest_folder",
    "digest_of",
]
