"""Puts the warehouse together from its settings: transport, sessions, staging, scratch."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from mlops_assets.artifacts import ArtifactUri
from mlops_assets.platforms.aws.redshift import Redshift
from mlops_assets.platforms.aws.redshift_credentials import Clients, Credentials
from mlops_assets.platforms.aws.redshift_data_api import DataApiTransport
from mlops_assets.platforms.aws.redshift_driver import DriverTransport
from mlops_assets.platforms.aws.redshift_settings import RedshiftSettings
from mlops_assets.platforms.aws.redshift_staging import Staging
from mlops_assets.platforms.aws.warehouse import RedshiftWarehouse
from mlops_assets.platforms.embedded import EmbeddedEngine

if TYPE_CHECKING:
    from mlops_assets.platforms.aws.redshift_connection import Transport
    from mlops_assets.settings import Settings


def build_warehouse(
    redshift: RedshiftSettings, *, staging: ArtifactUri, clients: Clients, settings: Settings
) -> RedshiftWarehouse:
    """The warehouse that the settings name; nothing is connected yet.

    Args:
        redshift: how to reach it.
        staging: S3 prefix, where the settings set none.
        clients: service name -> boto3 client, with region and credentials; each is asked for once.
        settings: the deployment's: scratch folder and what the embedded engine may use.
    """
    once = cache(clients)
    return RedshiftWarehouse(
        Redshift(_transport(redshift, once), statement_timeout=redshift.statement_timeout),
        Staging(redshift.staging or staging, once),
        EmbeddedEngine.of(settings),
        iam_role=redshift.iam_role,
        unload_above=redshift.unload_above,
    )


def _transport(settings: RedshiftSettings, clients: Clients) -> Transport:
    if settings.transport == "data_api":
        return DataApiTransport(settings, clients)
    return DriverTransport(settings, Credentials(settings, clients))
