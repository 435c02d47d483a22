"""What SageMaker is asked for to serve a version: names, model, endpoint configs, how traffic moves."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlops_assets.artifacts import ArtifactUri, digest_of
from mlops_assets.errors import DeploymentError
from mlops_assets.pipes.sagemaker_jobs import readable
from mlops_assets.pipes.sagemaker_limits import LONGEST_NAME, tags_of
from mlops_assets.platforms.aws.job_requests import encrypted, network
from mlops_assets.runtime.server_environment import (
    BODY_VARIABLE,
    DIGEST_VARIABLE,
    TRUSTED_VARIABLE,
    VERSION_VARIABLE,
)

if TYPE_CHECKING:
    from mlops_assets.artifacts import ModelVersion
    from mlops_assets.platforms.aws.settings import AwsSettings
    from mlops_assets.platforms.endpoint_state import Served
    from mlops_assets.settings import Settings

VARIANT = "AllTraffic"
_LONGEST_VALUE = 1_024  # characters of a model's environment variable


@dataclass(frozen=True)
class Plan:
    """Everything that one version needs, by names derived from what is asked: the same again is the same.

    Attributes:
        endpoint: the endpoint's name.
        model, config: requests of CreateModel and CreateEndpointConfig.
        rehearsal: the config of the endpoint that the smoke test asks.
    """

    endpoint: str
    model: Mapping[str, Any]
    config: Mapping[str, Any]
    rehearsal: Mapping[str, Any]

    @property
    def config_name(self) -> str:
        """Name of the endpoint config that serves the version."""
        return self.config["EndpointConfigName"]

    @property
    def rehearsal_name(self) -> str:
        """Name of the endpoint that the smoke test asks, and of its config."""
        return self.rehearsal["EndpointConfigName"]


def endpoint_name(root: ArtifactUri, model: str) -> str:
    """An account has one namespace: two deployments of a model of one name must not meet."""
    return _named(model, [str(root), model], 8)


def rehearsal_prefix(root: ArtifactUri, model: str) -> str:
    """What the names of a model's rehearsing endpoints begin with."""
    return f"{endpoint_name(root, model)[:40].rstrip('-')}-rehearsal-"


def plan(settings: Settings, aws: AwsSettings, version: ModelVersion | Served, model: str) -> Plan:
    """What serves `version` of `model`.

    Raises:
        SettingsError: where the image or the role is not set.
        DeploymentError: for an environment that the service would refuse.
    """
    asked: dict[str, Any] = {
        "PrimaryContainer": container(settings, aws, version),
        "ExecutionRoleArn": aws.needed("role_arn"),
        # The server needs no network of its own: SageMaker fetches the model.
        "EnableNetworkIsolation": True,
        **network(aws),
    }
    asked["ModelName"] = _named(f"{model}-{version.version}", asked, 16)
    config = _config(settings, aws, asked["ModelName"], aws.endpoint_instances) | _capture(aws, model)
    config["EndpointConfigName"] = _named(f"{model}-{version.version}", config, 16)
    rehearsal = _config(settings, aws, asked["ModelName"], 1)
    prefix = rehearsal_prefix(aws.root, model)
    rehearsal["EndpointConfigName"] = f"{prefix}{digest_of(rehearsal)[:8]}"
    tags = {
        "Tags": tags_of(
            {
                "mlops-assets/model": model,
                "mlops-assets/version": str(version.version),
                "mlops-assets/candidate": version.candidate_digest,
            }
        )
    }
    return Plan(endpoint_name(aws.root, model), asked | tags, config | tags, rehearsal | tags)


def container(settings: Settings, aws: AwsSettings, version: ModelVersion | Served) -> dict[str, Any]:
    """The model's container: its folder as it is published, and what its server must know.

    The folder's digest goes along, so that a folder that somebody changed is not served. A token does not:
    requests are signed, and a container's environment can be read by DescribeModel.
    """
    environment = {
        DIGEST_VARIABLE: digest_of(dict(version.files)),
        VERSION_VARIABLE: str(version.version),
        BODY_VARIABLE: str(settings.endpoint_body_limit),
        TRUSTED_VARIABLE: json.dumps(list(settings.trusted_types)),
    }
    for name, value in environment.items():
        if len(value) > _LONGEST_VALUE:
            raise DeploymentError(
                f"SageMaker allows {_LONGEST_VALUE:,} characters of {name}, not {len(value):,}.",
                where=f"version {version.version}",
                mend="Name fewer types, or build them into the image.",
            )
    source = {"S3Uri": f"{version.uri}/", "S3DataType": "S3Prefix", "CompressionType": "None"}
    return {
        "Image": aws.needed("image"),
        "ModelDataSource": {"S3DataSource": source},
        "Environment": environment,
    }


def deployment_config(aws: AwsSettings, alarms: list[str]) -> dict[str, Any]:
    """How an update moves the traffic, and what turns it back."""
    stepwise = aws.traffic != "all_at_once"
    routing: dict[str, Any] = {
        "Type": aws.traffic.upper(),
        "WaitIntervalInSeconds": aws.traffic_wait if stepwise or alarms else 0,
    }
    if stepwise:
        size = "CanarySize" if aws.traffic == "canary" else "LinearStepSize"
        routing[size] = {"Type": "CAPACITY_PERCENT", "Value": aws.traffic_step}
    config: dict[str, Any] = {
        "BlueGreenUpdatePolicy": {
            "TrafficRoutingConfiguration": routing,
            "MaximumExecutionTimeoutInSeconds": aws.deployment_timeout,
        }
    }
    if alarms:
        config["AutoRollbackConfiguration"] = {"Alarms": [{"AlarmName": name} for name in alarms]}
    return config


def alarm_names(aws: AwsSettings, model: str) -> list[str]:
    """The alarms that watch a model's endpoint."""
    endpoint = endpoint_name(aws.root, model)
    return [name.replace("{model}", model).replace("{endpoint}", endpoint) for name in aws.rollback_alarms]


def _config(settings: Settings, aws: AwsSettings, model_name: str, instances: int) -> dict[str, Any]:
    variant = {
        "VariantName": VARIANT,
        "ModelName": model_name,
        "InstanceType": aws.endpoint_instance,
        "InitialInstanceCount": instances,
        "InitialVariantWeight": 1.0,
        "ContainerStartupHealthCheckTimeoutInSeconds": min(max(round(settings.endpoint_timeout), 60), 3_600),
    }
    return {"ProductionVariants": [variant], **encrypted(aws, "KmsKeyId")}


def _capture(aws: AwsSettings, model: str) -> dict[str, Any]:
    if not aws.capture_percent:
        return {}
    types = {
        "CsvContentTypes": ["text/csv"],
        "JsonContentTypes": ["application/json", "application/jsonlines"],
    }
    capture = {
        "EnableCapture": True,
        "InitialSamplingPercentage": aws.capture_percent,
        "DestinationS3Uri": str(aws.root.join("captured", model)),
        "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
        "CaptureContentTypeHeader": types,
        **encrypted(aws, "KmsKeyId"),
    }
    return {"DataCaptureConfig": capture}


def _named(base: str, asked: Any, digits: int) -> str:
    """`<base>-<digest of what is asked>`, at most 63 characters."""
    return f"{readable(base, LONGEST_NAME - digits - 1) or 'model'}-{digest_of(asked)[:digits]}"
