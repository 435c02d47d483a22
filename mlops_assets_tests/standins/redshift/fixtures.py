"""Fixtures of every test that talks to the stand-in: moto's S3, the stand-in, a database per test."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from mlops_assets_tests.standins.redshift import RedshiftStandIn

BUCKET = "warehouse"
ROLE = "arn:aws:iam::123456789012:role/redshift-copy"
REGION = "us-east-1"
_databases = itertools.count(1)


@pytest.fixture(scope="session")
def s3_address() -> Iterator[str]:
    """Moto's server; its address is where this process's AWS clients go."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "standin")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "standin")
        patch.setenv("AWS_DEFAULT_REGION", REGION)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="session")
def s3(s3_address: str) -> Any:
    """A client of the S3 stand-in, with one bucket."""
    client = boto3.client("s3", endpoint_url=s3_address)
    client.create_bucket(Bucket=BUCKET)
    return client


@pytest.fixture(scope="session")
def shared_standin(s3: Any) -> Iterator[RedshiftStandIn]:
    """One stand-in, with TLS, for all tests of this process."""
    with RedshiftStandIn(s3, tls=True) as started, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(started.ca))
        yield started


@pytest.fixture
def standin(shared_standin: RedshiftStandIn) -> RedshiftStandIn:
    """The stand-in, with a new database for the test."""
    name = f"test_{next(_databases)}"
    shared_standin.create_database(name)
    shared_standin.database = name
    return shared_standin
