"""S3 and Redshift for the benchmarks: the stand-ins in a process of their own, its settings in this one."""

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


@contextmanager
def services() -> Iterator[None]:
    """The stand-ins, and their exports in the environment of this process; all of it ends with the block."""
    command = [sys.executable, "-m", "mlops_assets_tests.standins"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            found: dict[str, str] = {}
            while "SSL_CERT_FILE" not in found:  # the last that is printed
                name, _, value = shlex.split(process.stdout.readline())[1].partition("=")
                found[name] = value
            with patch.dict(os.environ, found):
                yield
        finally:
            process.send_signal(signal.SIGTERM)


def aws_platform(folder: Path) -> Platform:
    """The product's own platform on these services."""
    from mlops_assets.platforms.aws import build_platform
    from mlops_assets.settings import Settings

    return build_platform(Settings(root=folder, platform="aws"))


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


def bucket() -> str:
    """The bucket that everything is in."""
    return os.environ["MLOPS_AWS_ROOT"].removeprefix("s3://").split("/")[0]
