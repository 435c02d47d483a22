"""The stand-in's own fidelity: endpoints that start, update, roll back and answer as documented."""

from __future__ import annotations

import json
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from botocore.exceptions import ClientError

from mlops_assets_tests.standins.aws import tiny_server
from mlops_assets_tests.standins.aws.fixtures import Aws
from mlops_assets_tests.standins.aws.server import ROLE
from mlops_assets_tests.waiting import eventually

TINY = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/tiny:latest"
ROWS = json.dumps({"instances": [{"a": 1}]}).encode()


def tiny(*behaviour: str) -> list[str]:
    """What the image of a small server runs."""
    return [sys.executable, "-S", "-E", str(tiny_server.__file__), *behaviour]


class Hosting:
    """Makes endpoints as any client would."""

    def __init__(self, aws: Aws) -> None:
        self.aws = aws
        self.sagemaker: Any = aws.server.client("sagemaker")
        self.runtime: Any = aws.server.client("sagemaker-runtime")
        self.name = f"e-{uuid.uuid4().hex[:12]}"
        aws.server.client("s3").put_object(Bucket=aws.bucket, Key="model/model.txt", Body=b"m")

    def config(
        self, *versions: int, behaviour: tuple[str, ...] = (), weights: Any = None, **more: Any
    ) -> str:
        """An endpoint config with one variant per version."""
        image = f"{TINY}-{uuid.uuid4().hex[:8]}"
        self.aws.server.hosting.starter.images[image] = tiny(*behaviour)
        variants = []
        for place, version in enumerate(versions):
            model = f"m-{uuid.uuid4().hex[:12]}"
            source = {"S3Uri": f"s3://{self.aws.bucket}/model/", "S3DataType": "S3Prefix"}
            self.sagemaker.create_model(
                ModelName=model,
                ExecutionRoleArn=ROLE,
                PrimaryContainer={
                    "Image": image,
                    "ModelDataSource": {"S3DataSource": {**source, "CompressionType": "None"}},
                    "Environment": {"MLOPS_MODEL_VERSION": str(version)},
                },
            )
            variants.append(
                {
                    "VariantName": f"v{version}",
                    "ModelName": model,
                    "InstanceType": "ml.m5.large",
                    "InitialInstanceCount": 2,
                    "InitialVariantWeight": weights[place] if weights else 1.0,
                }
            )
        name = f"c-{uuid.uuid4().hex[:12]}"
        self.sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=variants, **more)
        return name

    def create(self, config: str) -> dict[str, Any]:
        """Create the endpoint; its description once it is settled."""
        self.sagemaker.create_endpoint(EndpointName=self.name, EndpointConfigName=config)
        return self.settled()

    def update(self, config: str, **deployment: Any) -> None:
        """Start an update."""
        more = {"DeploymentConfig": deployment} if deployment else {}
        self.sagemaker.update_endpoint(EndpointName=self.name, EndpointConfigName=config, **more)

    def describe(self) -> dict[str, Any]:
        return self.sagemaker.describe_endpoint(EndpointName=self.name)

    def settled(self) -> dict[str, Any]:
        eventually(lambda: self.describe()["EndpointStatus"] in ("InService", "Failed"))
        return self.describe()

    def ask(self, body: bytes = ROWS, **more: Any) -> float:
        answer = self.runtime.invoke_endpoint(
            EndpointName=self.name, ContentType="application/json", Body=body, **more
        )
        return json.loads(answer["Body"].read())["predictions"][0]


@pytest.fixture
def hosting(aws: Aws) -> Iterator[Hosting]:
    yield Hosting(aws)
    aws.server.hosting.close()
    assert servers() == []


def servers() -> list[int]:
    """Process ids of this worker's containers."""
    mine = psutil.Process().children(recursive=True)
    return [process.pid for process in mine if _line(process)[:4] == tiny()]


def _line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def canary(percent: int, wait: int, alarms: tuple[str, ...] = ()) -> dict[str, Any]:
    size = {"Type": "CAPACITY_PERCENT", "Value": percent}
    routing = {"Type": "CANARY", "CanarySize": size, "WaitIntervalInSeconds": wait}
    rollback = {"AutoRollbackConfiguration": {"Alarms": [{"AlarmName": name} for name in alarms]}}
    return {
        "BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": routing},
        **(rollback if alarms else {}),
    }


def alarm(aws: Aws, state: str) -> str:
    """A metric alarm in a state."""
    cloudwatch, name = aws.server.client("cloudwatch"), f"alarm-{aws.bucket}"
    cloudwatch.put_metric_alarm(
        AlarmName=name,
        ComparisonOperator="GreaterThanThreshold",
        EvaluationPeriods=1,
        MetricName="Invocation5XXErrors",
        Namespace="AWS/SageMaker",
        Period=60,
        Statistic="Sum",
        Threshold=1.0,
    )
    set_alarm(aws, name, state)
    return name


def set_alarm(aws: Aws, name: str, state: str) -> None:
    aws.server.client("cloudwatch").set_alarm_state(AlarmName=name, StateValue=state, StateReason="a test")


def refusal(call: Callable[[], object]) -> tuple[str, str]:
    with pytest.raises(ClientError) as caught:
        call()
    error = caught.value.response["Error"]
    return error.get("Code", ""), error.get("Message", "")


def test_an_endpoint_is_creating_then_in_service_and_answers(hosting: Hosting) -> None:
    config = hosting.config(1)
    hosting.sagemaker.create_endpoint(EndpointName=hosting.name, EndpointConfigName=config)
    assert hosting.describe()["EndpointStatus"] == "Creating"
    made = hosting.settled()
    assert (made["EndpointStatus"], made["EndpointConfigName"]) == ("InService", config)
    assert hosting.ask() == 1
    names = [item["EndpointName"] for item in hosting.sagemaker.list_endpoints()["Endpoints"]]
    assert hosting.name in names


@pytest.mark.parametrize("behaviour", ["sick", "crashing"])
def test_an_endpoint_whose_container_is_not_healthy_fails_with_its_reason(
    hosting: Hosting, behaviour: str
) -> None:
    hosting.aws.server.hosting.longest_start = 1.0
    try:
        made = hosting.create(hosting.config(1, behaviour=(behaviour,)))
    finally:
        hosting.aws.server.hosting.longest_start = None
    assert made["EndpointStatus"] == "Failed"
    assert "did not pass the ping health check" in made["FailureReason"]
    assert refusal(hosting.ask)[0] == "ValidationError"
    assert "Failed" in refusal(lambda: hosting.update(hosting.config(2)))[1]


def test_an_update_takes_over_and_the_old_containers_end(hosting: Hosting) -> None:
    hosting.create(hosting.config(1))
    (old,) = servers()
    config = hosting.config(2)
    hosting.update(config)
    updating = hosting.describe()
    if updating["EndpointStatus"] == "Updating":
        assert updating["PendingDeploymentSummary"]["EndpointConfigName"] == config
    assert hosting.settled()["EndpointConfigName"] == config
    assert hosting.ask() == 2
    eventually(lambda: old not in servers())


def test_a_sick_update_leaves_the_old_config_in_service(hosting: Hosting) -> None:
    before = hosting.config(1)
    hosting.create(before)
    hosting.update(hosting.config(2, behaviour=("crashing",)))
    after = hosting.settled()
    assert (after["EndpointStatus"], after["EndpointConfigName"]) == ("InService", before)
    assert hosting.ask() == 1


def test_a_canary_gets_its_part_of_the_requests_and_an_alarm_turns_it_back(hosting: Hosting) -> None:
    before = hosting.config(1)
    hosting.create(before)
    name = alarm(hosting.aws, "OK")
    hosting.update(hosting.config(2), **canary(50, 60, (name,)))
    eventually(lambda: 2 in [hosting.ask() for _ in range(10)])
    answers = [hosting.ask() for _ in range(40)]
    assert {1, 2} == set(answers)
    assert hosting.describe()["EndpointStatus"] == "Updating"
    set_alarm(hosting.aws, name, "ALARM")
    after = hosting.settled()
    assert (after["EndpointConfigName"], after.get("FailureReason")) == (before, None)
    assert {hosting.ask() for _ in range(10)} == {1}


def test_nothing_is_changed_while_something_is_under_way(hosting: Hosting) -> None:
    hosting.create(hosting.config(1))
    hosting.update(hosting.config(2), **canary(50, 2))
    for call in (
        lambda: hosting.update(hosting.config(3)),
        lambda: hosting.sagemaker.delete_endpoint(EndpointName=hosting.name),
    ):
        code, message = refusal(call)
        assert code == "ValidationException"
        assert "in-progress endpoint" in message
    hosting.settled()


def test_what_is_not_there_or_there_already_is_refused_in_the_services_words(hosting: Hosting) -> None:
    config = hosting.config(1)
    hosting.create(config)
    for call, says in (
        (lambda: hosting.create(config), "Cannot create already existing endpoint"),
        (lambda: hosting.update("c-missing"), "Could not find endpoint configuration"),
        (lambda: hosting.sagemaker.describe_endpoint(EndpointName="missing"), "Could not find endpoint"),
        (lambda: hosting.update(config, **canary(60, 0)), "failed to satisfy constraint"),
    ):
        code, message = refusal(call)
        assert (code, says in message) == ("ValidationException", True), message
    hosting.sagemaker.delete_endpoint(EndpointName=hosting.name)
    eventually(lambda: servers() == [])
    assert "not found" in refusal(hosting.ask)[1]


def test_a_variant_of_no_weight_is_reached_by_its_name_alone(hosting: Hosting) -> None:
    hosting.create(hosting.config(1, 2, weights=[1.0, 0.0]))
    assert {hosting.ask() for _ in range(10)} == {1}
    assert hosting.ask(TargetVariant="v2") == 2
    assert refusal(lambda: hosting.ask(TargetVariant="v3"))[0] == "ValidationError"


@pytest.mark.parametrize(("behaviour", "body", "status"), [("", b"{}", 400), ("failing", ROWS, 500)])
def test_what_the_container_refuses_is_a_model_error_with_its_own_words(
    hosting: Hosting, behaviour: str, body: bytes, status: int
) -> None:
    hosting.create(hosting.config(1, behaviour=(behaviour,)))
    with pytest.raises(ClientError) as caught:
        hosting.ask(body)
    said: Any = caught.value.response
    assert (said["Error"]["Code"], said["OriginalStatusCode"]) == ("ModelError", status)
    assert said["OriginalMessage"] in ("no instances", "out of order")


def test_captured_requests_lie_in_s3_with_their_answers(hosting: Hosting) -> None:
    capture = {
        "EnableCapture": True,
        "InitialSamplingPercentage": 100,
        "DestinationS3Uri": f"s3://{hosting.aws.bucket}/captured",
        "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
        "CaptureContentTypeHeader": {"JsonContentTypes": ["application/json"]},
    }
    hosting.create(hosting.config(1, DataCaptureConfig=capture))
    hosting.ask()
    s3 = hosting.aws.server.client("s3")
    (item,) = s3.list_objects_v2(Bucket=hosting.aws.bucket, Prefix=f"captured/{hosting.name}/v1/")["Contents"]
    line = json.loads(s3.get_object(Bucket=hosting.aws.bucket, Key=item["Key"])["Body"].read())
    data = line["captureData"]
    assert data["endpointInput"]["data"] == ROWS.decode()
    assert data["endpointOutput"]["encoding"] == "JSON"
    assert json.loads(data["endpointOutput"]["data"]) == {"predictions": [1.0]}


def test_a_model_needs_its_data_and_fits_its_limits(hosting: Hosting, tmp_path: Path) -> None:
    bucket = hosting.aws.bucket

    def create(uri: str, **environment: str) -> None:
        source = {"S3Uri": uri, "S3DataType": "S3Prefix", "CompressionType": "None"}
        hosting.sagemaker.create_model(
            ModelName="m-limits",
            ExecutionRoleArn=ROLE,
            PrimaryContainer={
                "Image": TINY,
                "ModelDataSource": {"S3DataSource": source},
                "Environment": environment,
            },
        )

    assert "Could not find model data" in refusal(lambda: create(f"s3://{bucket}/nothing/"))[1]
    assert "forward slash" in refusal(lambda: create(f"s3://{bucket}/model"))[1]
    assert "1024" in refusal(lambda: create(f"s3://{bucket}/model/", A="x" * 1_025))[1]
