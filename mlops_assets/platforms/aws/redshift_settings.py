"""How to reach Redshift: settings from the environment (`MLOPS_REDSHIFT_…`) or a `.env` file."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from mlops_assets.artifacts import ArtifactUri
from mlops_assets.settings import read_settings


class RedshiftSettings(BaseSettings):
    """One warehouse; every field is the environment variable `MLOPS_REDSHIFT_<FIELD>`.

    It authenticates by a secret of Secrets Manager where `secret_arn` is set, else by `user` and `password`
    where these are, else by IAM: credentials for a while, of the cluster or the serverless workgroup.
    """

    model_config = SettingsConfigDict(
        env_prefix="MLOPS_REDSHIFT_", env_file=".env", extra="ignore", frozen=True, hide_input_in_errors=True
    )

    host: str | None = Field(
        default=None,
        description="Endpoint of the cluster or workgroup, without port. Not needed with the Data API.",
    )
    port: int = Field(default=5439, ge=1, le=65_535, description="Port of the endpoint.")
    database: str = Field(default="dev", description="Database that the models' schemas are made in.")
    user: str | None = Field(default=None, description="Database user; with IAM, the one to act as.")
    password: SecretStr | None = Field(default=None, description="Password of `user`.")
    secret_arn: str | None = Field(
        default=None,
        description="Secret of Secrets Manager with `username` and `password`; it goes first.",
    )
    cluster: str | None = Field(default=None, description="Cluster identifier, for IAM and the Data API.")
    workgroup: str | None = Field(
        default=None, description="Serverless workgroup, for IAM and the Data API; instead of a cluster."
    )
    transport: Literal["driver", "data_api"] = Field(
        default="driver",
        description="`driver` connects to the endpoint; `data_api` needs no network route to it.",
    )
    sslmode: Literal["verify-full", "verify-ca", "disable"] = Field(
        default="verify-full", description="How far the server's certificate is checked."
    )
    connect_timeout: int = Field(
        default=30,
        ge=1,
        description="Seconds that connecting may take.",
    )
    statement_timeout: int = Field(default=3_600, ge=1, description="Seconds that one statement may take.")
    iam_role: str = Field(
        default="default",
        pattern=r"^(default|arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]+)$",
        description="Role by which Redshift reads and writes S3; `default` is the cluster's own.",
    )
    staging: ArtifactUri | None = Field(
        default=None,
        description="S3 prefix for files on their way in and out; default: below the root.",
    )
    unload_above: int = Field(
        default=50_000,
        ge=0,
        description="Rows above which a result is read by UNLOAD through S3 instead of a cursor.",
    )

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if self.transport == "data_api" and (self.cluster is None) == (self.workgroup is None):
            raise ValueError("the Data API needs either a cluster or a workgroup")
        if self.password is not None and self.user is None:
            raise ValueError("a password needs its user")
        return self

    @property
    def authentication(self) -> Literal["secret", "password", "iam"]:
        """How it authenticates."""
        if self.secret_arn is not None:
            return "secret"
        return "iam" if self.password is None else "password"


@lru_cache(maxsize=1)
def current_redshift_settings() -> RedshiftSettings:
    """The Redshift settings of this process, read once.

    Raises:
        SettingsError: naming each wrong or missing variable, its value's problem and the mend.
    """
    return read_settings(RedshiftSettings)
