"""Starts and stops the stand-in: one HTTP server on a free port of 127.0.0.1 for every service."""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
import tempfile
from pathlib import Path
from threading import Thread
from typing import Any, Self

from mlops_assets_tests.standins.aws.faults import Faults
from mlops_assets_tests.standins.aws.permissions import FIXTURE, ORCHESTRATOR
from mlops_assets_tests.standins.aws.permissions import ROLE as AS_ROLE

REGION = "eu-central-1"
ROLE = "arn:aws:iam::123456789012:role/sagemaker"
# The image of every job; a container runs this environment's Python, whatever the image.
IMAGE = f"123456789012.dkr.ecr.{REGION}.amazonaws.com/mlops-assets:latest"
BUCKET = "mlops-assets"
_TRUST = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "sagemaker.amazonaws.com"},
                "Action": "sts:AssumeRole",
            }
        ],
    }
)


class AwsServer:
    """S3, SQS, STS, IAM, CloudWatch, Logs, Secrets Manager, KMS by moto; SageMaker jobs as real processes.

    One per process, because moto keeps its state there; `start` begins with an empty account.

    >>> with AwsServer() as aws:  # doctest: +SKIP
    ...     aws.client("s3").create_bucket(Bucket="b")
    """

    def __init__(self, port: int = 0) -> None:
        self._port = port
        self._folder = Path()

    def start(self) -> Self:
        """Serve until `stop`; jobs' files lie in a temporary folder."""
        from moto.moto_server.werkzeug_app import (
            DomainDispatcherApplication,
            MotoRequestHandler,
            create_backend_app,
        )
        from werkzeug.serving import make_server

        from mlops_assets_tests.standins.aws import invocations, listing, quotas, sagemaker
        from mlops_assets_tests.standins.aws.endpoint_operations import Hosting
        from mlops_assets_tests.standins.aws.execution import Execution
        from mlops_assets_tests.standins.aws.fleet import FleetStarter
        from mlops_assets_tests.standins.aws.jobs import Jobs
        from mlops_assets_tests.standins.aws.limits import TRANSFORM
        from mlops_assets_tests.standins.aws.registry import ModelPackages
        from mlops_assets_tests.standins.aws.transforms import Transforms

        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._folder = Path(tempfile.mkdtemp(prefix="mlops-aws-"))
        self.faults = Faults(DomainDispatcherApplication(create_backend_app))
        self._server = make_server(
            "127.0.0.1", self._port, self.faults, threaded=True, request_handler=MotoRequestHandler
        )
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        sagemaker.install()
        listing.install()
        execution = Execution(self._as_role, self._inside())
        self.jobs = Jobs(self._folder, REGION, execution)
        sagemaker.SageMakerOperations.jobs = self.jobs
        quotas.install()
        sagemaker.SageMakerOperations.packages = ModelPackages(REGION)
        invocations.install()
        starter = FleetStarter(self._folder, self._as_role, self._inside())
        self.hosting = Hosting(starter, self.client, REGION)
        execution.others[TRANSFORM] = Transforms(self.hosting, self._as_role("s3"))
        sagemaker.SageMakerOperations.hosting = invocations.RuntimeOperations.hosting = self.hosting
        invocations.RuntimeOperations.client = self._as_role
        self._thread = Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.client("iam").create_role(RoleName=ROLE.rpartition("/")[2], AssumeRolePolicyDocument=_TRUST)
        return self

    def stop(self) -> None:
        """End every job, then the server."""
        self.faults.clear()
        self.jobs.close()
        self.hosting.close()
        self.hosting.starter.close()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def credentials(self) -> dict[str, str]:
        """What an AWS client needs to talk to this server and to nothing else."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": ORCHESTRATOR,
            "AWS_SECRET_ACCESS_KEY": "testing-secret-access-key",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }

    def environment(self, bucket: str = BUCKET) -> dict[str, str]:
        """Settings to export: the credentials, and what MLOPS_PLATFORM=aws needs."""
        return {
            **self.credentials,
            "MLOPS_PLATFORM": "aws",
            "MLOPS_AWS_ROOT": f"s3://{bucket}/mlops",
            "MLOPS_AWS_REGION": REGION,
            "MLOPS_AWS_ROLE_ARN": ROLE,
            "MLOPS_AWS_IMAGE": IMAGE,
            "MLOPS_AWS_POLL_INTERVAL": "0.2",
        }

    def client(self, service: str, config: Any = None, *, caller: str = FIXTURE) -> Any:
        """A boto3 client of this server, as somebody of permissions.py."""
        from boto3.session import Session

        return Session().client(
            service,
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id=caller,
            aws_secret_access_key="testing-secret-access-key",
            config=config,
        )

    def _as_role(self, service: str) -> Any:
        return self.client(service, caller=AS_ROLE)

    def _inside(self) -> dict[str, str]:
        """Environment of a container."""
        path = os.pathsep.join([str(Path(sys.executable).parent), os.defpath])
        role = {**self.credentials, "AWS_ACCESS_KEY_ID": AS_ROLE, "AWS_REGION": REGION}
        return {**role, "PATH": path, "HOME": "/tmp", "LANG": "C.UTF-8"}
