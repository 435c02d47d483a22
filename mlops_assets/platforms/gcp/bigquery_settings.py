"""How BigQuery is used: settings from the environment (`MLOPS_BIGQUERY_…`) or a `.env` file."""

from __future__ import annotations

from functools import lru_cache

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from mlops_assets.settings import read_settings


class BigQuerySettings(BaseSettings):
    """One warehouse; every field is the environment variable `MLOPS_BIGQUERY_<FIELD>`.

    Its project, location and key are those of `MLOPS_GCP_…`.
    """

    model_config = SettingsConfigDict(
        env_prefix="MLOPS_BIGQUERY_", env_file=".env", extra="ignore", frozen=True
    )

    staging_dataset: str = Field(
        default="mlops_staging",
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        description="Dataset of results on their way to a file; its tables expire after a day.",
    )
    maximum_bytes_billed: int | None = Field(
        default=None,
        ge=10_485_760,
        description="Bytes that one query may be billed for; a dry run refuses what would read more. "
        "Default: no limit.",
    )
    labels: dict[str, str] = Field(
        default={}, description="Labels of every job and dataset, for the bill; a JSON object."
    )
    timeout: int = Field(default=3_600, ge=1, description="Seconds that one job may take.")

    @field_validator("labels")
    @classmethod
    def _labels(cls, labels: dict[str, str]) -> dict[str, str]:
        import re

        for text in (*labels, *labels.values()):
            if not re.fullmatch(r"[a-z0-9_-]{0,63}", text):
                raise ValueError(f"{text!r}: at most 63 lower-case letters, digits, - and _")
        return labels


@lru_cache(maxsize=1)
def current_bigquery_settings() -> BigQuerySettings:
    """The BigQuery settings of this process, read once.

    Raises:
        SettingsError: naming each wrong variable, its value's problem and the mend.
    """
    return read_settings(BigQuerySettings)
