"""The settings of the Google Cloud platform: `MLOPS_GCP_…`, beside those of mlops_assets.settings.

docs/settings.md lists every one of them; a test keeps the two the same. Credentials are google-auth's own
matter (Application Default Credentials): none is a setting.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from mlops_assets.artifacts import ArtifactUri
from mlops_assets.errors import PathEscapeError
from mlops_assets.settings import read_settings

_Subscription = Annotated[str, Field(pattern=r"^projects/[^/]+/subscriptions/[^/]+$")]


class GcpSettings(BaseSettings):
    """One deployment's Google Cloud settings; every field is the environment variable `MLOPS_GCP_<FIELD>`."""

    model_config = SettingsConfigDict(env_prefix="MLOPS_GCP_", env_file=".env", extra="ignore", frozen=True)

    root: ArtifactUri = Field(
        description="Prefix that every artifact and arriving object lies below, `gs://bucket/prefix`."
    )
    location: str = Field(
        pattern=r"^[A-Za-z0-9-]+$",
        description="Location of datasets and jobs, such as `europe-west4`; the bucket's own, or one in it.",
    )
    project: str | None = Field(
        default=None, description="Project of every service. Default: the credentials' own."
    )
    cache_megabytes: int = Field(
        default=20_000,
        ge=0,
        description="Megabytes of copies of objects kept on this machine, in `cache/gcs` of the root; what "
        "was not read longest goes first, never what was read in the last six hours.",
    )
    event_subscriptions: dict[str, _Subscription] = Field(
        default={},
        description="Arrivals prefix to Pub/Sub subscription (full resource name) that Cloud Storage "
        "notifies of objects below it; a JSON object. Objects are seen at the next tick then, whatever "
        "their keys; listing goes on beside.",
    )
    kms_key: str | None = Field(
        default=None,
        pattern=r"^projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+$",
        description="Cloud KMS key (full resource name) that objects and tables are encrypted with. "
        "Default: the bucket's and the dataset's own encryption.",
    )

    @field_validator("root")
    @classmethod
    def _on_cloud_storage(cls, root: ArtifactUri) -> ArtifactUri:
        if root.scheme != "gs" or not root.key:
            raise ValueError("a prefix in a bucket is needed, such as gs://bucket/mlops")
        return root

    @field_validator("root", mode="before")
    @classmethod
    def _uri(cls, text: object) -> object:
        try:
            return ArtifactUri(text) if isinstance(text, str) else text
        except PathEscapeError as error:
            raise ValueError(error.what) from None

    @field_validator("project", "kms_key", mode="before")
    @classmethod
    def _empty_is_none(cls, text: object) -> object:
        return text or None


@lru_cache(maxsize=1)
def current_gcp_settings() -> GcpSettings:
    """The Google Cloud settings of this process, read once.

    Raises:
        SettingsError: naming each wrong or missing variable, its value's problem and the mend.
    """
    return read_settings(GcpSettings)
