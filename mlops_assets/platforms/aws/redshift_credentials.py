"""User and password for a connection to Redshift: set, from Secrets Manager, or lent by IAM."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import SecretStr

from mlops_assets.errors import SettingsError
from mlops_assets.platforms.aws.redshift_settings import RedshiftSettings

Clients = Callable[[str], Any]
"""Service name -> boto3 client."""

_MARGIN = timedelta(seconds=60)


@dataclass(frozen=True)
class Login:
    """A user, a password that is never shown, and when it ends."""

    user: str
    password: SecretStr
    until: datetime | None = None

    @property
    def lasts(self) -> bool:
        """It is good for a minute more at least."""
        return self.until is None or datetime.now(UTC) + _MARGIN < self.until


class Credentials:
    """Gives the login for the next connection; what is lent is kept until it ends.

    The driver could ask IAM itself, but keeps what it gets under a key that holds the secret access key.
    """

    def __init__(self, settings: RedshiftSettings, clients: Clients) -> None:
        self._settings, self._clients = settings, clients
        self._guard = threading.Lock()
        self._login: Login | None = None

    def login(self) -> Login:
        """User and password.

        Raises:
            SettingsError: where AWS does not give them; the message holds no secret.
        """
        with self._guard:
            if self._login is None or not self._login.lasts:
                self._login = self._fetch()
            return self._login

    def forget(self) -> None:
        """Ask again the next time: the password was refused, it may have been rotated."""
        with self._guard:
            self._login = None

    def _fetch(self) -> Login:
        settings = self._settings
        if settings.authentication == "password":
            assert settings.user is not None
            assert settings.password is not None
            return Login(settings.user, settings.password)
        from botocore.exceptions import BotoCoreError, ClientError

        by_secret = settings.authentication == "secret"
        try:
            return self._secret() if by_secret else self._lent()
        except (ClientError, BotoCoreError) as error:
            raise SettingsError(
                f"AWS gives no credentials for Redshift: {error}",
                where="MLOPS_REDSHIFT_SECRET_ARN" if by_secret else "MLOPS_REDSHIFT_CLUSTER",
                mend="Check the name, the region, and that the identity may read it."
                if by_secret
                else "Check the name, the region, and that the identity may call GetClusterCredentials.",
            ) from None

    def _secret(self) -> Login:
        where = "MLOPS_REDSHIFT_SECRET_ARN"
        found = self._clients("secretsmanager").get_secret_value(SecretId=self._settings.secret_arn)
        try:
            fields = json.loads(found["SecretString"])
            return Login(fields["username"], SecretStr(fields["password"]))
        except (KeyError, ValueError, TypeError):
            raise SettingsError(
                "The secret is not JSON with `username` and `password`.",
                where=where,
                mend="Let Redshift manage the secret, or store the two fields.",
            ) from None

    def _lent(self) -> Login:
        settings = self._settings
        if settings.workgroup is not None:
            lent = self._clients("redshift-serverless").get_credentials(
                workgroupName=settings.workgroup, dbName=settings.database
            )
            return Login(lent["dbUser"], SecretStr(lent["dbPassword"]), lent.get("expiration"))
        if settings.cluster is None or settings.user is None:
            raise SettingsError(
                "There is no way to authenticate.",
                where="MLOPS_REDSHIFT_USER",
                mend="Set MLOPS_REDSHIFT_SECRET_ARN, or _USER and _PASSWORD, or for IAM _CLUSTER "
                "with _USER, or _WORKGROUP.",
            )
        lent = self._clients("redshift").get_cluster_credentials(
            DbUser=settings.user,
            DbName=settings.database,
            ClusterIdentifier=settings.cluster,
            AutoCreate=False,
        )
        return Login(lent["DbUser"], SecretStr(lent["DbPassword"]), lent.get("Expiration"))
