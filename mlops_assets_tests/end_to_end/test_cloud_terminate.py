"""Runs of cloud jobs that the UI starts and ends: the job is stopped, and no process of it is left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from mlops_assets_tests.commands import Deployment
from mlops_assets_tests.end_to_end.cloud import Services, bucket_of, running
from mlops_assets_tests.end_to_end.small import declare_waiting, run
from mlops_assets_tests.end_to_end.test_gcp import bucket_of as gcp_bucket_of
from mlops_assets_tests.end_to_end.watching import processes_below, until
from mlops_assets_tests.end_to_end.web import ENDED, running_ui
from mlops_assets_tests.factories import csv_text, home_rows

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@dataclass(frozen=True)
class Cloud:
    """Services of one cloud.

    Attributes:
        settings: to export.
        pid: of the process whose descendants the jobs are.
        put: writes an object below the root.
        jobs: training job -> its state, asked of the service.
        stopped: the state of a job that was stopped.
    """

    settings: dict[str, str]
    pid: int
    put: Callable[[str, bytes], object]
    jobs: Callable[[], dict[str, str]]
    stopped: str


@pytest.mark.parametrize(
    ("name", "executor"), [("aws", "in_process"), ("aws", "multiprocess"), ("gcp", "multiprocess")]
)
def test_a_run_that_is_terminated_in_the_ui_stops_its_job(
    request: pytest.FixtureRequest, tmp_path: Path, name: str, executor: str
) -> None:
    deployment = Deployment(tmp_path)
    declare_waiting(deployment)
    with _cloud(name, request, tmp_path) as cloud:
        cloud.put("landing/homes/a.csv", csv_text(home_rows(100)).encode())
        prepared = run(deployment, "--upto", "dataset", **cloud.settings)
        assert prepared.status == 0, prepared.stderr
        before, idle = cloud.jobs(), _containers(cloud.pid)
        marker = deployment.folder / "training"  # what the job itself writes
        with running_ui(deployment, MLOPS_EXECUTOR=executor, **cloud.settings) as ui:
            launched = ui.launch("homes_retrain")
            until(lambda: (marker.exists() and marker.read_text()) or ui.status(launched) in ENDED, pause=0.5)
            assert marker.exists(), "the run failed before it trained"
            assert _containers(cloud.pid) - idle
            (job,) = cloud.jobs().keys() - before.keys()
            ui.terminate(launched)
            assert ui.ended(launched) == "CANCELED"
            until(lambda: cloud.jobs()[job] == cloud.stopped, pause=0.5)
            assert _containers(cloud.pid) - idle == set()
            assert cloud.jobs().keys() - before.keys() == {job}
        assert processes_below(deployment.folder) == []


def _containers(services: int) -> set[psutil.Process]:
    """Living processes of the services, but for the warehouse's sessions."""
    found = set()
    for process in psutil.Process(services).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if process.status() != psutil.STATUS_ZOMBIE and process.name() != "postgres":
                found.add(process)
    return found


@contextmanager
def _cloud(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Cloud]:
    if name == "aws":
        yield _aws(request.getfixturevalue("services"))
    else:
        with running(tmp_path, "gcp", file="GOOGLE_APPLICATION_CREDENTIALS") as services:
            yield _gcp(services)


def _aws(services: Services) -> Cloud:
    import boto3

    settings = services.own()
    bucket, prefix = bucket_of(settings)
    sagemaker: Any = boto3.client(
        "sagemaker",
        endpoint_url=settings["AWS_ENDPOINT_URL"],
        region_name=settings["AWS_DEFAULT_REGION"],
        aws_access_key_id=settings["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=settings["AWS_SECRET_ACCESS_KEY"],
    )

    def jobs() -> dict[str, str]:
        pages = sagemaker.get_paginator("list_training_jobs").paginate()
        found = [item for page in pages for item in page["TrainingJobSummaries"]]
        return {item["TrainingJobName"]: item["TrainingJobStatus"] for item in found}

    return Cloud(
        settings,
        services.process.pid,
        lambda key, data: bucket.put_object(Key=f"{prefix}/{key}", Body=data),
        jobs,
        "Stopped",
    )


def _gcp(services: Services) -> Cloud:
    from google.cloud.aiplatform_v1 import JobServiceClient
    from google.oauth2.service_account import Credentials

    settings = services.settings
    bucket, prefix = gcp_bucket_of(settings)
    vertex = JobServiceClient(
        credentials=Credentials.from_service_account_file(settings["GOOGLE_APPLICATION_CREDENTIALS"]),
        transport="rest",
        client_options={"api_endpoint": settings["MLOPS_VERTEX_ENDPOINT"]},
    )
    parent = f"projects/{settings['MLOPS_GCP_PROJECT']}/locations/{settings['MLOPS_GCP_LOCATION']}"
    return Cloud(
        settings,
        services.process.pid,
        lambda key, data: bucket.blob(f"{prefix}/{key}").upload_from_string(data),
        lambda: {job.name: job.state.name for job in vertex.list_custom_jobs(parent=parent)},
        "JOB_STATE_CANCELLED",
    )
