"""How Vertex AI's jobs, models and endpoints are to be: settings from the environment (`MLOPS_VERTEX_…`)."""

from __future__ import annotations

from functools import lru_cache

from pydantic import Field, field_validator
from pydantic_settings import SettingsConfigDict

from mlops_assets.settings import CloudSettings, read_settings


class VertexSettings(CloudSettings):
    """One deployment's use of Vertex AI; every field is the environment variable `MLOPS_VERTEX_<FIELD>`."""

    model_config = SettingsConfigDict(
        env_prefix="MLOPS_VERTEX_", env_file=".env", extra="ignore", frozen=True
    )

    region: str | None = Field(
        default=None,
        pattern=r"^[a-z]+-[a-z]+\d+$",
        description="Region of jobs, models and endpoints, such as `europe-west4`. Default: "
        "`MLOPS_GCP_LOCATION`.",
    )
    image: str | None = Field(
        default=None,
        pattern=r"^\S+/\S+$",
        description="Image in Artifact Registry that has this package installed; jobs and model servers run "
        "it.",
    )
    service_account: str | None = Field(
        default=None,
        pattern=r"^[^@\s]+@[^@\s]+$",
        description="Service account that jobs and model servers run as; deploy/gcp holds its roles. "
        "Default: Vertex AI's own.",
    )
    training_machine: str = Field(default="n2-standard-4", description="Machine type of training jobs.")
    evaluation_machine: str = Field(default="n2-standard-4", description="Machine type of evaluation jobs.")
    accelerator: str | None = Field(
        default=None,
        pattern=r"^[A-Z0-9_]+$",
        description="Accelerator of training jobs, such as `NVIDIA_TESLA_T4`; none by default.",
    )
    accelerator_count: int = Field(default=1, ge=1, description="Accelerators of a training job's machine.")
    disk_size: int = Field(
        default=100, ge=100, le=64_000, description="Gigabytes of the disk of a job's machine."
    )
    max_runtime: int = Field(
        default=86_400,
        ge=1,
        le=604_800,
        description="Seconds that a job may run where the declaration gives no timeout.",
    )
    spot: bool = Field(
        default=False,
        description="Train on spot machines, with checkpoints; an interrupted job goes on by itself.",
    )
    serving_machine: str = Field(default="n2-standard-2", description="Machine type of model servers.")
    min_replicas: int = Field(default=1, ge=1, description="Servers of a deployed version, at least.")
    max_replicas: int = Field(default=1, ge=1, description="Servers of a deployed version, at most.")
    traffic_steps: tuple[int, ...] = Field(
        default=(10, 50),
        description="Percentages of the requests that a new version gets one after another, before it gets "
        "all; a JSON list.",
    )
    traffic_wait: float = Field(
        default=60.0, ge=0, description="Seconds between two steps of the traffic, in which it is watched."
    )
    deployment_timeout: float = Field(
        default=3_600.0, gt=0, description="Seconds that deploying a version may take."
    )
    network: str | None = Field(
        default=None,
        pattern=r"^projects/[^/]+/global/networks/[^/]+$",
        description="VPC network that jobs are peered with. Default: none.",
    )
    endpoint: str | None = Field(
        default=None,
        description="Address of Vertex AI's API, for private access. Default: the region's own.",
    )
    logging_endpoint: str = Field(
        default="https://logging.googleapis.com",
        description="Address of Cloud Logging's API, for private access.",
    )
    poll_interval: float = Field(
        default=10.0, gt=0, description="Seconds between two looks at a job or a deployment of Vertex AI."
    )

    @field_validator(
        "region", "image", "service_account", "accelerator", "network", "endpoint", mode="before"
    )
    @classmethod
    def _empty_is_none(cls, text: object) -> object:
        return text or None

    @field_validator("traffic_steps")
    @classmethod
    def _growing_shares(cls, steps: tuple[int, ...]) -> tuple[int, ...]:
        if list(steps) != sorted(set(steps)) or any(not 0 < step < 100 for step in steps):
            raise ValueError("growing percentages between 1 and 99 are needed, such as [10, 50]")
        return steps


@lru_cache(maxsize=1)
def current_vertex_settings() -> VertexSettings:
    """Vertex AI's settings of this process, read once.

    Raises:
        SettingsError: naming each wrong or missing variable, its value's problem and the mend.
    """
    return read_settings(VertexSettings)
