"""The kinds of SageMaker jobs and their limits, which botocore does not check."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from mlops_assets.errors import JobFailedError

LONGEST_NAME = 63


@dataclass(frozen=True)
class JobKind:
    """What differs between kinds of jobs in SageMaker's API and in its limits.

    Attributes:
        prefix: of fields and operations, as in `TrainingJobName`.
        console: the job's page below the region's console.
        environment: characters of one environment value, at most.
        channels: field of the input channels, and how many there may be.
        longest: seconds that a job may run, at most.
    """

    prefix: Literal["Training", "Processing", "Transform"]
    console: str
    environment: int
    channels: tuple[str, int]
    longest: int

    @property
    def name(self) -> str:
        """Field of the job's name."""
        return f"{self.prefix}JobName"

    @property
    def log_group(self) -> str:
        """CloudWatch's group of the jobs' logs."""
        return f"/aws/sagemaker/{self.prefix}Jobs"

    def operation(self, verb: str) -> str:
        """boto3's method: `create`, `describe` or `stop` and the kind."""
        return f"{verb}_{self.prefix.lower()}_job"


TRAINING = JobKind("Training", "jobs", 512, ("InputDataConfig", 20), 2_419_200)
PROCESSING = JobKind("Processing", "processing-jobs", 256, ("ProcessingInputs", 10), 432_000)
TRANSFORM = JobKind("Transform", "transform-jobs", 10_240, ("InputDataConfig", 1), 2_592_000)


def check_limits(kind: JobKind, request: Mapping[str, Any]) -> None:
    """Refuse what the service would, before anything is paid for or left behind.

    Raises:
        JobFailedError: naming the limit and what is over it.
    """
    field, most = kind.channels
    sizes = [
        ("environment entries", len(request.get("Environment") or {}), 100),
        *(
            (f"characters of environment variable {name}", len(value), kind.environment)
            for name, value in (request.get("Environment") or {}).items()
        ),
        ("hyperparameters", len(request.get("HyperParameters") or {}), 100),
        *(
            (f"characters of hyperparameter {name}", len(value), 2_500)
            for name, value in (request.get("HyperParameters") or {}).items()
        ),
        (field, len(request.get(field) or []), most),
        ("tags", len(request.get("Tags") or []), 50),
        ("characters of the job's name", len(request[kind.name]), LONGEST_NAME),
        (
            "seconds of run time",
            (request.get("StoppingCondition") or {}).get("MaxRuntimeInSeconds", 1),
            kind.longest,
        ),
    ]
    over = [f"{what}: {size:,} (at most {limit:,})" for what, size, limit in sizes if size > limit]
    if over:
        raise JobFailedError(
            f"SageMaker would refuse the job. Over its limits: {'; '.join(over)}.",
            where=f"{kind.prefix.lower()} job {request[kind.name]}",
            mend="Hand large values over in a file of an input channel.",
        )


def tags_of(values: Mapping[str, str]) -> list[dict[str, str]]:
    """Tags of what the service allows in them: 256 characters, and few signs."""
    return [
        {"Key": key[:128], "Value": re.sub(r"[^\w\s.:/=+\-@]", "_", value)[:256]}
        for key, value in values.items()
    ]
