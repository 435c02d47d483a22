"""A cloud's services for the benchmarks: the stand-ins in a process of their own, their settings in this one."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from mlops_assets.platforms.ports import Platform
from mlops_assets_tests.standins.__main__ import SERVING

CLOUDS = {"aws": "S3", "gcp": "Cloud Storage"}
"""Name -> its object store."""


@contextmanager
def services(cloud: str) -> Iterator[None]:
    """The stand-ins, and their exports in the environment of this process; all of it ends with the block."""
    command = [sys.executable, "-m", "mlops_assets_tests.standins", cloud]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            found: dict[str, str] = {}
            while (line := process.stdout.readline().strip()) != SERVING:
                name, _, value = shlex.split(line)[1].partition("=")
                found[name] = value
            with patch.dict(os.environ, found):
                yield
        finally:
            process.send_signal(signal.SIGTERM)


def cloud_platform(folder: Path) -> Platform:
    """The product's own platform on these services."""
    from mlops_assets.platforms.binding import build_platform
    from mlops_assets.settings import Settings

    return build_platform(Settings(root=folder))


def bucket() -> str:
    """The bucket that everything is in."""
    root = os.environ[f"MLOPS_{os.environ['MLOPS_PLATFORM'].upper()}_ROOT"]
    return root.partition("://")[2].partition("/")[0]


def redshift_connection() -> Any:
    """A connection of the driver's own, as its users make it."""
    import redshift_connector

    return redshift_connector.connect(
        host=os.environ["MLOPS_REDSHIFT_HOST"],
        port=int(os.environ["MLOPS_REDSHIFT_PORT"]),
        database=os.environ["MLOPS_REDSHIFT_DATABASE"],
        user=os.environ["MLOPS_REDSHIFT_USER"],
        password=os.environ["MLOPS_REDSHIFT_PASSWORD"],
        sslmode="verify-full",
    )
