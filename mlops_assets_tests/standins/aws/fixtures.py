"""Pytest's way to the stand-in: one server per worker, an empty bucket and the environment per test."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from mlops_assets_tests.standins.aws.server import AwsServer


@dataclass(frozen=True)
class Aws:
    """What a test of AWS needs: the server, its own bucket, and the settings to export."""

    server: AwsServer
    bucket: str

    @property
    def environment(self) -> dict[str, str]:
        """Variables of a process that is to use this bucket."""
        return self.server.environment(self.bucket)


@pytest.fixture(scope="session")
def aws_server() -> Iterator[AwsServer]:
    """The server of this worker."""
    with AwsServer() as server:
        yield server


@pytest.fixture
def aws(aws_server: AwsServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Aws]:
    """An empty bucket, exported to this process's environment; no call fails before or after the test."""
    found = Aws(aws_server, f"test-{uuid.uuid4().hex[:16]}")
    for name, value in found.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    aws_server.client("s3").create_bucket(
        Bucket=found.bucket, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"}
    )
    yield found
    aws_server.faults.clear()
