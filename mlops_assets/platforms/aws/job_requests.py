"""What SageMaker is asked for: the parameters of a job's creation, and where it leaves what it made."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from mlops_assets.artifacts import ArtifactUri
from mlops_assets.pipes.sagemaker_jobs import SageMakerJob
from mlops_assets.pipes.sagemaker_limits import TRAINING
from mlops_assets.platforms.remote_trainer import JobPlace
from mlops_assets.runtime.container import PROCESSING, REQUEST

if TYPE_CHECKING:
    from mlops_assets.platforms.aws.settings import AwsSettings
    from mlops_assets.platforms.ports import JobRequest

_ENTRY = ["python", "-m", "mlops_assets.platforms.aws.container"]


def left_by(job: SageMakerJob, place: JobPlace) -> ArtifactUri:
    """`result.json` and `output/` of a completed job; a training job's lie where SageMaker puts them."""
    return place.output.join(job.name, "output", "model") if job.kind is TRAINING else place.output


def training_request(aws: AwsSettings, request: JobRequest, place: JobPlace) -> dict[str, Any]:
    """Parameters of CreateTrainingJob, without a name."""
    seconds = _seconds(aws, request)
    stopping = {"MaxRuntimeInSeconds": seconds}
    channels = {**request.inputs, REQUEST: place.request}
    asked: dict[str, Any] = {
        "AlgorithmSpecification": {
            "TrainingImage": aws.needed("image"),
            "TrainingInputMode": "File",
            "ContainerEntrypoint": _ENTRY,
        },
        "RoleArn": aws.needed("role_arn"),
        "InputDataConfig": [
            {"ChannelName": name, "DataSource": {"S3DataSource": _source(uri) | _REPLICATED}}
            for name, uri in sorted(channels.items())
        ],
        "OutputDataConfig": {
            "S3OutputPath": str(place.output),
            "CompressionType": "NONE",
            **encrypted(aws, "KmsKeyId"),
        },
        "ResourceConfig": {
            "InstanceType": aws.training_instance,
            "InstanceCount": 1,
            "VolumeSizeInGB": aws.volume_size,
            **encrypted(aws, "VolumeKmsKeyId"),
        },
        "StoppingCondition": stopping,
    }
    if aws.spot:
        stopping["MaxWaitTimeInSeconds"] = seconds + aws.spot_wait
        asked |= {
            "EnableManagedSpotTraining": True,
            "CheckpointConfig": {"S3Uri": str(place.checkpoints), "LocalPath": "/opt/ml/checkpoints"},
        }
    return asked | network(aws)


def processing_request(aws: AwsSettings, request: JobRequest, place: JobPlace) -> dict[str, Any]:
    """Parameters of CreateProcessingJob, without a name."""
    channels = {**request.inputs, REQUEST: place.request}
    cluster = {
        "InstanceType": aws.processing_instance,
        "InstanceCount": 1,
        "VolumeSizeInGB": aws.volume_size,
        **encrypted(aws, "VolumeKmsKeyId"),
    }
    output = {
        "OutputName": "output",
        "S3Output": {
            "S3Uri": str(place.output),
            "LocalPath": f"/opt/ml/{PROCESSING.output}",
            "S3UploadMode": "EndOfJob",
        },
    }
    isolated = network(aws)
    return {
        "AppSpecification": {"ImageUri": aws.needed("image"), "ContainerEntrypoint": _ENTRY},
        "RoleArn": aws.needed("role_arn"),
        "ProcessingInputs": [
            {
                "InputName": name,
                "S3Input": {
                    **_source(uri),
                    "LocalPath": f"/opt/ml/{PROCESSING.channels}/{name}",
                    "S3InputMode": "File",
                },
            }
            for name, uri in sorted(channels.items())
        ],
        "ProcessingOutputConfig": {"Outputs": [output], **encrypted(aws, "KmsKeyId")},
        "ProcessingResources": {"ClusterConfig": cluster},
        "StoppingCondition": {"MaxRuntimeInSeconds": _seconds(aws, request)},
        **({"NetworkConfig": isolated} if isolated else {}),
    }


_REPLICATED = {"S3DataDistributionType": "FullyReplicated"}


def _source(uri: ArtifactUri) -> dict[str, str]:
    """A whole folder: without its slash a prefix takes the folders that only begin like it as well."""
    return {"S3DataType": "S3Prefix", "S3Uri": f"{uri}/"}


def _seconds(aws: AwsSettings, request: JobRequest) -> int:
    return math.ceil(request.timeout) if request.timeout else aws.max_runtime


def encrypted(aws: AwsSettings, field: str) -> dict[str, str]:
    """The deployment's KMS key in the field of that name, where there is one."""
    return {field: aws.kms_key} if aws.kms_key else {}


def network(aws: AwsSettings) -> dict[str, Any]:
    """VpcConfig, where subnets are set."""
    if not aws.subnets:
        return {}
    return {"VpcConfig": {"Subnets": list(aws.subnets), "SecurityGroupIds": list(aws.security_groups)}}
