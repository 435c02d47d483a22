"""What SageMaker refuses of a job's request and botocore lets pass."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from moto.sagemaker.exceptions import ValidationError

_NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")


@dataclass(frozen=True)
class Kind:
    """What differs between training and processing, on the wire and in the limits."""

    prefix: str
    log_group: str
    environment_value: int
    most_channels: int
    channels: str
    longest_run: int
    not_found: str
    not_running: str

    @property
    def name(self) -> str:
        """Field of the job's name."""
        return f"{self.prefix}JobName"

    @property
    def status(self) -> str:
        """Field of the job's status."""
        return f"{self.prefix}JobStatus"

    @property
    def arn(self) -> str:
        """Field of the job's ARN."""
        return f"{self.prefix}JobArn"

    @property
    def noun(self) -> str:
        """In ARNs."""
        return f"{self.prefix.lower()}-job"


TRAINING = Kind(
    prefix="Training",
    log_group="/aws/sagemaker/TrainingJobs",
    environment_value=512,
    most_channels=20,
    channels="InputDataConfig",
    longest_run=2_419_200,
    not_found="Requested resource not found.",
    not_running="The request was rejected because the training job is in status {status}.",
)
PROCESSING = Kind(
    prefix="Processing",
    log_group="/aws/sagemaker/ProcessingJobs",
    environment_value=256,
    most_channels=10,
    channels="ProcessingInputs",
    longest_run=432_000,
    not_found="Could not find requested job with name: {name}",
    not_running="The request was rejected because the processing job is in status {status}.",
)
TRANSFORM = Kind(
    prefix="Transform",
    log_group="/aws/sagemaker/TransformJobs",
    environment_value=10_240,
    most_channels=1,
    channels="InputDataConfig",
    longest_run=2_592_000,
    not_found="Could not find requested job with name: {name}",
    not_running="The request was rejected because the transform job is in status {status}.",
)
KINDS = (TRAINING, PROCESSING, TRANSFORM)


def check(kind: Kind, request: Mapping[str, Any]) -> None:
    """What the service refuses and botocore lets pass."""
    name = request[kind.name]
    _demand(
        _NAME.fullmatch(name), f"{_lower(kind.name)}' failed to satisfy constraint: pattern {_NAME.pattern}"
    )
    _sizes("environment", request.get("Environment"), 100, kind.environment_value)
    _sizes("hyperParameters", request.get("HyperParameters"), 100, 2_500)
    _demand(
        len(request.get(kind.channels) or []) <= kind.most_channels,
        f"{_lower(kind.channels)}' failed to satisfy constraint: Member must have length less than or equal "
        f"to {kind.most_channels}",
    )
    _demand(len(request.get("Tags") or []) <= 50, "tags' failed to satisfy constraint: at most 50")
    for tag in request.get("Tags") or []:
        _demand(
            len(tag["Key"]) <= 128 and len(tag["Value"]) <= 256,
            f"tags' failed to satisfy constraint: too long ({tag['Key']})",
        )
    stopping = request.get("StoppingCondition") or {}
    seconds = stopping.get("MaxRuntimeInSeconds", 86_400)
    _demand(
        1 <= seconds <= kind.longest_run,
        f"stoppingCondition.maxRuntimeInSeconds' failed to satisfy constraint: 1 to {kind.longest_run}",
    )
    if request.get("EnableManagedSpotTraining") and stopping.get("MaxWaitTimeInSeconds", 0) < seconds:
        raise ValidationError(
            message="MaxWaitTimeInSeconds must be greater than or equal to MaxRuntimeInSeconds."
        )


def _sizes(member: str, entries: Mapping[str, str] | None, most: int, longest: int) -> None:
    entries = entries or {}
    _demand(
        len(entries) <= most,
        f"{member}' failed to satisfy constraint: Member must have length less than or equal to {most}",
    )
    for key, value in entries.items():
        _demand(
            len(value) <= longest and len(key) <= 512,
            f"{member}' failed to satisfy constraint: Map value must satisfy constraint: [Member must have "
            f"length less than or equal to {longest}] ({key})",
        )


def _demand(holds: object, problem: str) -> None:
    if not holds:
        raise ValidationError(message=f"1 validation error detected: Value at '{problem}")


def _lower(member: str) -> str:
    return member[0].lower() + member[1:]
