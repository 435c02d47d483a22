"""The stand-in's fixtures, and a platform whose warehouse is Redshift."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest
from pydantic import SecretStr

from mlops_assets.artifacts import ArtifactUri
from mlops_assets.platforms.aws.redshift_settings import RedshiftSettings
from mlops_assets.platforms.aws.redshift_warehouse import build_warehouse
from mlops_assets.platforms.ports import Adapters, Platform
from mlops_assets.settings import Settings
from mlops_assets_tests.platforms.aws.plain_store import PlainStore
from mlops_assets_tests.standins.redshift import RedshiftStandIn
from mlops_assets_tests.standins.redshift.fixtures import (
    BUCKET,
    ROLE,
    s3,
    s3_address,
    shared_standin,
    standin,
)

__all__ = ["s3", "s3_address", "shared_standin", "standin"]

Make = Callable[..., Platform]


def redshift_settings(standin: RedshiftStandIn, **changed: Any) -> RedshiftSettings:
    """The settings that reach the stand-in."""
    usual: dict[str, Any] = {
        "host": standin.host,
        "port": standin.port,
        "database": standin.database,
        "user": standin.user,
        "password": SecretStr(standin.password),
        "iam_role": ROLE,
    }
    return RedshiftSettings(**{**usual, **changed})


@pytest.fixture
def make(standin: RedshiftStandIn, s3: Any, tmp_path: Path) -> Make:
    """Makes a platform on the stand-in, with settings changed as given."""

    def made(**changed: Any) -> Platform:
        settings = Settings(root=tmp_path / "mlops")
        root = ArtifactUri(f"s3://{BUCKET}/{standin.database}")
        found = redshift_settings(standin, **{"staging": root.join("staging"), **changed})
        unbuilt: Any = None
        adapters = Adapters(
            store=lambda _: PlainStore(root, s3, tmp_path / "copies"),  # type: ignore[arg-type,return-value]
            warehouse=lambda _: build_warehouse(
                found, staging=root.join("staging"), clients=boto3.client, settings=settings
            ),
            trainer=unbuilt,
            registry=unbuilt,
            endpoint=unbuilt,
        )
        return Platform(settings, adapters)

    return made


@pytest.fixture
def platform(make: Make) -> Platform:
    return make()
