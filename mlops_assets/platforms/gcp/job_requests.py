"""What Vertex AI is asked for: a custom job whose container finds its folders below /gcs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from mlops_assets.platforms.gcp.container import MOUNT
from mlops_assets.runtime.container import REQUEST

if TYPE_CHECKING:
    from mlops_assets.artifacts import ArtifactUri
    from mlops_assets.platforms.gcp.settings import GcpSettings
    from mlops_assets.platforms.gcp.vertex_settings import VertexSettings
    from mlops_assets.platforms.ports import JobRequest
    from mlops_assets.platforms.remote_trainer import JobPlace

_COMMAND = ["python", "-m", "mlops_assets.platforms.gcp.container"]


def custom_job(
    gcp: GcpSettings, vertex: VertexSettings, project: str, request: JobRequest, place: JobPlace
) -> dict[str, Any]:
    """A CustomJob, as a dictionary."""
    training = request.program == "train"
    spot = vertex.spot and training
    specification = {
        "worker_pool_specs": [
            {
                "machine_spec": _machine(vertex, training=training),
                "replica_count": 1,
                "disk_spec": {"boot_disk_size_gb": vertex.disk_size},
                "container_spec": {
                    "image_uri": vertex.needed("image"),
                    "command": _COMMAND,
                    "args": _arguments(request, place, checkpoints=spot),
                    "env": [{"name": "GOOGLE_CLOUD_PROJECT", "value": project}],
                },
            }
        ],
        "scheduling": {
            "timeout": {"seconds": math.ceil(request.timeout or vertex.max_runtime)},
            **({"strategy": "SPOT"} if spot else {}),
        },
        **({"service_account": vertex.service_account} if vertex.service_account else {}),
        **({"network": vertex.network} if vertex.network else {}),
    }
    return {
        "display_name": f"{request.program}-{request.name}"[:128],
        "job_spec": specification,
        **({"encryption_spec": {"kms_key_name": gcp.kms_key}} if gcp.kms_key else {}),
    }


def mounted(uri: ArtifactUri) -> str:
    """Where a container of Vertex AI finds a URI's object or folder."""
    return f"{MOUNT}/{uri.bucket}/{uri.key}"


def _machine(vertex: VertexSettings, *, training: bool) -> dict[str, Any]:
    if not training:
        return {"machine_type": vertex.evaluation_machine}
    accelerator = {"accelerator_type": vertex.accelerator, "accelerator_count": vertex.accelerator_count}
    return {"machine_type": vertex.training_machine, **(accelerator if vertex.accelerator else {})}


def _arguments(request: JobRequest, place: JobPlace, *, checkpoints: bool) -> list[str]:
    channels = {**request.inputs, REQUEST: place.request}
    arguments = [f"--input={name}={mounted(uri)}" for name, uri in sorted(channels.items())]
    arguments.append(f"--output={mounted(place.output)}")
    return [*arguments, f"--checkpoints={mounted(place.checkpoints)}"] if checkpoints else arguments
