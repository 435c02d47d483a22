"""The settings of the AWS platform: `MLOPS_AWS_…`, beside those of every platform in mlops_assets.settings.

docs/settings.md lists every one of them; a test keeps the two the same. Credentials are boto3's own matter
(profile, role, environment): none is a setting.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from mlops_assets.artifacts import ArtifactUri
from mlops_assets.errors import PathEscapeError
from mlops_assets.settings import CloudSettings, read_settings


class AwsSettings(CloudSettings):
    """One deployment's AWS settings; every field is the environment variable `MLOPS_AWS_<FIELD>`."""

    model_config = SettingsConfigDict(env_prefix="MLOPS_AWS_", env_file=".env", extra="ignore", frozen=True)

    root: ArtifactUri = Field(
        description="Prefix that every artifact and arriving object lies below, `s3://bucket/prefix`."
    )
    region: str | None = Field(
        default=None, description="Region of every service. Default: what boto3 finds (`AWS_DEFAULT_REGION`)."
    )
    kms_key: str | None = Field(
        default=None,
        description="KMS key (id or ARN) that objects, job volumes and job output are encrypted with. "
        "Default: the bucket's own encryption.",
    )
    role_arn: str | None = Field(
        default=None,
        pattern=r"^arn:aws[a-z-]*:iam::\d{12}:role/.+$",
        description="IAM role that SageMaker's jobs and models run as; deploy/aws holds its policy.",
    )
    image: str | None = Field(
        default=None,
        pattern=r"^\S+/\S+$",
        description="Image in ECR that has this package installed; jobs and model servers run it.",
    )
    training_instance: str = Field(
        default="ml.m5.large", pattern=r"^ml\.", description="Instance type of training jobs."
    )
    processing_instance: str = Field(
        default="ml.m5.large", pattern=r"^ml\.", description="Instance type of evaluation jobs."
    )
    volume_size: int = Field(
        default=30, ge=1, le=16_384, description="Gigabytes of a job's disk: it holds the channels' files."
    )
    max_runtime: int = Field(
        default=86_400,
        ge=1,
        le=432_000,
        description="Seconds that a job may run where the declaration gives no timeout.",
    )
    spot: bool = Field(
        default=False,
        description="Train on spot instances, with checkpoints; an interrupted job goes on by itself.",
    )
    spot_wait: int = Field(
        default=3_600,
        ge=0,
        description="Seconds that a spot job may wait for instances, beside the time that it may run.",
    )
    subnets: tuple[str, ...] = Field(
        default=(),
        description="Subnets of jobs and model servers; a JSON list. Default: SageMaker's network.",
    )
    security_groups: tuple[str, ...] = Field(
        default=(), description="Security groups of jobs and model servers; a JSON list, needed with subnets."
    )
    event_queues: dict[str, str] = Field(
        default={},
        description="Arrivals prefix to URL of the SQS queue that S3 notifies of objects below it; a JSON "
        "object. Objects are seen at the next tick then, whatever their keys; listing goes on beside.",
    )
    cache_megabytes: int = Field(
        default=20_000,
        ge=0,
        description="Megabytes of copies of objects kept on this machine, in `cache/s3` of the root; what "
        "was not read longest goes first, never what was read in the last six hours.",
    )
    poll_interval: float = Field(
        default=10.0, gt=0, description="Seconds between two looks at a job, its messages and its log."
    )

    endpoint_instance: str = Field(
        default="ml.m5.large", pattern=r"^ml\.", description="Instance type of endpoints."
    )
    endpoint_instances: int = Field(default=1, ge=1, description="Instances that an endpoint has.")
    traffic: Literal["all_at_once", "canary", "linear"] = Field(
        default="all_at_once",
        description="How a new version gets an endpoint's requests: `all_at_once`, `canary` (a part, then "
        "the rest) or `linear` (equal steps); the last two need two instances or more.",
    )
    traffic_step: int = Field(
        default=10, ge=1, le=50, description="Percent of the requests that a canary or a linear step moves."
    )
    traffic_wait: int = Field(
        default=300,
        ge=0,
        le=3_600,
        description="Seconds after each step in which an alarm turns it back; without steps and without "
        "alarms nothing waits.",
    )
    rollback_alarms: tuple[str, ...] = Field(
        default=(),
        max_length=10,
        description="CloudWatch alarms that turn an endpoint's update back; a JSON list of names in which "
        "`{model}` stands for the model's and `{endpoint}` for the endpoint's.",
    )
    deployment_timeout: int = Field(
        default=3_600,
        ge=600,
        le=28_800,
        description="Seconds that creating or updating an endpoint may take.",
    )
    capture_percent: int = Field(
        default=0,
        ge=0,
        le=100,
        description="Percent of an endpoint's requests that are kept, with their answers, below "
        "`<root>/captured/<model>`; they may hold personal data.",
    )

    @model_validator(mode="after")
    def _steps_need_instances(self) -> Self:
        if self.traffic != "all_at_once" and self.endpoint_instances < 2:
            raise ValueError(f"{self.traffic} needs MLOPS_AWS_ENDPOINT_INSTANCES of 2 or more")
        if self.traffic == "linear" and self.traffic_step < 10:
            raise ValueError("linear needs MLOPS_AWS_TRAFFIC_STEP of 10 or more")
        return self

    @field_validator("root")
    @classmethod
    def _on_s3(cls, root: ArtifactUri) -> ArtifactUri:
        if root.scheme != "s3" or not root.key:
            raise ValueError("a prefix in a bucket is needed, such as s3://bucket/mlops")
        return root

    @field_validator("root", mode="before")
    @classmethod
    def _uri(cls, text: object) -> object:
        try:
            return ArtifactUri(text) if isinstance(text, str) else text
        except PathEscapeError as error:
            raise ValueError(error.what) from None

    @field_validator("kms_key", "role_arn", "image", "region", mode="before")
    @classmethod
    def _empty_is_none(cls, text: object) -> object:
        return text or None


@lru_cache(maxsize=1)
def current_aws_settings() -> AwsSettings:
    """The AWS settings of this process, read once.

    Raises:
        SettingsError: naming each wrong or missing variable, its value's problem and the mend.
    """
    return read_settings(AwsSettings)
