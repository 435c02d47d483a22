"""The clouds' services as `make cloud-aws` starts them, for tests that use the command line alone."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mlops_assets_tests.standins.__main__ import SERVING
from mlops_assets_tests.waiting import eventually

CERTIFICATE = "SSL_CERT_FILE"


@dataclass(frozen=True)
class Services:
    """Running services, and the settings that they printed."""

    process: subprocess.Popen[bytes]
    settings: dict[str, str]

    def own(self) -> dict[str, str]:
        """The settings with a prefix and a database of the caller's own."""
        name = f"test_{uuid.uuid4().hex[:12]}"
        with self.redshift() as connection:
            connection.autocommit = True
            connection.cursor().execute(f"CREATE DATABASE {name}")
        root = self.settings["MLOPS_AWS_ROOT"]
        return {**self.settings, "MLOPS_AWS_ROOT": f"{root}/{name}", "MLOPS_REDSHIFT_DATABASE": name}

    @contextmanager
    def redshift(self) -> Iterator[Any]:
        """A connection of the driver's to the first database."""
        import redshift_connector

        found = self.settings
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(CERTIFICATE, found[CERTIFICATE])
            connection = redshift_connector.connect(
                host=found["MLOPS_REDSHIFT_HOST"],
                port=int(found["MLOPS_REDSHIFT_PORT"]),
                database=found["MLOPS_REDSHIFT_DATABASE"],
                user=found["MLOPS_REDSHIFT_USER"],
                password=found["MLOPS_REDSHIFT_PASSWORD"],
                sslmode="verify-full",
            )
        try:
            yield connection
        finally:
            connection.close()


def bucket_of(settings: dict[str, str]) -> tuple[Any, str]:
    """The bucket of these settings, and the prefix in it."""
    import boto3

    name, _, prefix = settings["MLOPS_AWS_ROOT"].removeprefix("s3://").partition("/")
    s3: Any = boto3.resource(
        "s3",
        endpoint_url=settings["AWS_ENDPOINT_URL"],
        region_name=settings["AWS_DEFAULT_REGION"],
        aws_access_key_id=settings["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=settings["AWS_SECRET_ACCESS_KEY"],
    )
    return s3.Bucket(name), prefix


@contextmanager
def running(folder: Path, cloud: str = "aws", file: str = CERTIFICATE) -> Iterator[Services]:
    """Services that end, and take their folders along, on SIGTERM.

    Args:
        folder: where their output goes.
        cloud: `aws` or `gcp`.
        file: the setting that names a file of theirs.
    """
    printed = folder / "exports"
    command = [sys.executable, "-m", "mlops_assets_tests.standins", cloud]
    with printed.open("w") as output:
        process = subprocess.Popen(command, stdout=output)
    found: dict[str, str] = {}
    try:
        eventually(lambda: process.poll() is not None or SERVING in printed.read_text())
        found = dict(shlex.split(line)[1].split("=", 1) for line in printed.read_text().splitlines()[:-1])
        yield Services(process, found)
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert not Path(found[file]).exists()
