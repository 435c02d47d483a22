"""What Vertex AI is told of a version: its artifacts, the container that serves it, its evaluation."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from mlops_assets.artifacts.digest import digest_of
from mlops_assets.runtime.server_environment import BODY_VARIABLE, DIGEST_VARIABLE, TRUSTED_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlops_assets.artifacts import ArtifactUri, Evaluation
    from mlops_assets.platforms.gcp.vertex_settings import VertexSettings
    from mlops_assets.settings import Settings

HEALTH, PREDICT = "/ping", "/invocations"
_COMMAND = ["python", "-m", "mlops_assets.platforms.gcp.server"]
_PORT = 8080
_SCHEMA = "gs://google-cloud-aiplatform/schema/modelevaluation/{kind}_metrics_1.0.0.yaml"
# Vertex AI's names of those metrics that its schemas know.
_REGRESSION = {
    "rmse": "rootMeanSquaredError",
    "mae": "meanAbsoluteError",
    "mape": "meanAbsolutePercentageError",
    "r2": "rSquared",
}
_CLASSIFICATION = {"roc_auc": "auRoc", "average_precision": "auPrc", "log_loss": "logLoss"}


def model_message(
    settings: Settings, vertex: VertexSettings, *, model: str, uri: ArtifactUri, files: Mapping[str, str]
) -> dict[str, Any]:
    """A version's Model: its folder as it is published, and the container that serves it.

    The folder's digest goes along, so that a folder that somebody changed is not served.

    Raises:
        SettingsError: where the image is not set.
    """
    environment = {
        DIGEST_VARIABLE: digest_of(dict(files)),
        BODY_VARIABLE: str(settings.endpoint_body_limit),
        TRUSTED_VARIABLE: json.dumps(list(settings.trusted_types)),
    }
    return {
        "display_name": model[:128],
        "artifact_uri": str(uri),
        "container_spec": {
            "image_uri": vertex.needed("image"),
            "command": _COMMAND,
            "env": [{"name": name, "value": value} for name, value in environment.items()],
            "ports": [{"container_port": _PORT}],
            "health_route": HEALTH,
            "predict_route": PREDICT,
        },
    }


def serves(registered: Any, message: Mapping[str, Any]) -> bool:
    """Whether a Model of Vertex AI has the folder, and the files, of a `model_message`."""
    given = {item.name: item.value for item in registered.container_spec.env}
    asked = {item["name"]: item["value"] for item in message["container_spec"]["env"]}
    same_files = given.get(DIGEST_VARIABLE) == asked[DIGEST_VARIABLE]
    return same_files and registered.artifact_uri == message["artifact_uri"]


def evaluation_message(evaluation: Evaluation) -> dict[str, Any]:
    """A ModelEvaluation: the metrics under Vertex AI's names, and every one of ours beside them."""
    values = {name: item.value for name, item in evaluation.metrics.items() if item.value is not None}
    regression = "rmse" in values or "r2" in values
    names = _REGRESSION if regression else _CLASSIFICATION
    return {
        "display_name": evaluation.digest[:40],
        "metrics_schema_uri": _SCHEMA.format(kind="regression" if regression else "classification"),
        "metrics": {there: values[ours] for ours, there in names.items() if ours in values},
        "metadata": {
            "uri": str(evaluation.uri),
            "rows": evaluation.rows,
            "dataset_version": evaluation.dataset_version,
            "metrics": values,
        },
    }
