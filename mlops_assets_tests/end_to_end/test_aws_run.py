"""A CSV file from `init` to a served version on AWS: the metrics of one machine, and no secret anywhere."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import pytest

from mlops_assets_tests.commands import Deployment
from mlops_assets_tests.end_to_end.cloud import Services, bucket_of
from mlops_assets_tests.end_to_end.small import Run, ended

pytestmark = pytest.mark.timeout(1_200)  # three runs are set up in the first test
GATE_KEY, WRONG = "a-gate-key-that-nobody-else-may-ever-read", "a-wrong-passw0rd"


@dataclass(frozen=True)
class Finished:
    """The runs of one file, and what they left on AWS."""

    local: Run
    cloud: Run
    refused: Run
    deployment: Deployment
    settings: dict[str, str]
    output: str


def measured(rows: int) -> str:
    """Rows without a key, of floats that engines write differently as text."""
    draw = random.Random(7)
    lines = ["SIZE,AGE,SLOPE,PRICE"]
    for _ in range(rows):
        size, age, slope = draw.uniform(40, 400), draw.randint(0, 90), draw.gauss(0, 1) / 3
        price = 3_000 * size - 900 * age + 10_000 * slope + draw.gauss(0, 9_000)
        lines.append(f"{size!r},{age},{slope!r},{price!r}")
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def finished(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Runs on one machine and on AWS, and one with a wrong password."""
    settings = services.own() | {"MLOPS_GATE_KEY": GATE_KEY}
    here = Deployment(tmp_path_factory.mktemp("here"))
    there = Deployment(tmp_path_factory.mktemp("there"))
    said = []

    def command(deployment: Deployment, *arguments: str, **environment: str) -> Any:
        done = deployment.command(*arguments, **environment)
        said.extend([done.stdout, done.stderr])
        return done

    runs = []
    for deployment, environment in ((here, {}), (there, settings)):
        file = deployment.folder / "homes.csv"
        file.write_text(measured(900))
        made = command(deployment, "init", "homes", "--data", str(file), "--target", "PRICE", **environment)
        assert made.returncode == 0, made.stderr
        runs.append(ended(command(deployment, "run", "homes", "--json", **environment)))
    stopped = command(here, "endpoints", "stop", "homes")
    assert stopped.returncode == 0
    wrong = settings | {"MLOPS_REDSHIFT_PASSWORD": WRONG}
    refused = ended(command(there, "run", "homes", "--json", "--force", **wrong))
    command(there, "doctor", **settings)
    return Finished(runs[0], runs[1], refused, there, settings, "".join(said))


def test_the_metrics_are_those_of_one_machine(finished: Finished) -> None:
    assert (finished.local.status, finished.cloud.status) == (0, 0), finished.cloud.stderr
    local, cloud = finished.local.report["metrics"], finished.cloud.report["metrics"]
    assert {"r2", "rmse", "mae"} <= set(local)
    assert cloud == pytest.approx(local, rel=1e-9)
    assert finished.cloud.report["dataset"]["rows"] == finished.local.report["dataset"]["rows"]
    assert (finished.cloud.report["status"], finished.cloud.report["serving"]) == ("registered", 1)


def test_a_wrong_password_is_said_with_its_mend(finished: Finished) -> None:
    assert finished.refused.status == 1
    assert "does not let us in" in finished.refused.stderr
    assert "MLOPS_REDSHIFT_USER and _PASSWORD" in finished.refused.stderr


def test_no_secret_is_in_logs_events_metadata_objects_or_output(finished: Finished) -> None:
    settings = finished.settings
    secrets = [settings["MLOPS_REDSHIFT_PASSWORD"], settings["AWS_SECRET_ACCESS_KEY"], GATE_KEY, WRONG]
    places = {"output": finished.output.encode()}
    folder = finished.deployment.folder
    places |= {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    bucket, prefix = bucket_of(settings)
    places |= {item.key: item.get()["Body"].read() for item in bucket.objects.filter(Prefix=prefix)}
    places |= log_lines(settings)
    assert any(name.endswith(".db") for name in places)  # the event log
    assert sum(name.startswith(f"{prefix}/") for name in places) > 20  # jobs' messages and artifacts
    found = [
        (name, number)
        for name, content in places.items()
        for number, secret in enumerate(secrets)
        if secret.encode() in content
    ]
    assert found == []


def log_lines(settings: dict[str, str]) -> dict[str, bytes]:
    """CloudWatch's streams of jobs and endpoints."""
    import boto3

    logs: Any = boto3.client(
        "logs",
        endpoint_url=settings["AWS_ENDPOINT_URL"],
        region_name=settings["AWS_DEFAULT_REGION"],
        aws_access_key_id=settings["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=settings["AWS_SECRET_ACCESS_KEY"],
    )
    groups = [item["logGroupName"] for item in logs.describe_log_groups()["logGroups"]]
    lines = {
        group: str(logs.filter_log_events(logGroupName=group, limit=10_000)["events"]).encode()
        for group in groups
    }
    assert any(content != b"[]" for content in lines.values())
    return lines
