"""The endpoint on SageMaker: the contract, and what only updates elsewhere can show."""

from __future__ import annotations

import getpass
import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from mlops_assets.errors import DeploymentError, SettingsError
from mlops_assets.platforms.aws import build_platform
from mlops_assets.platforms.aws.client import client
from mlops_assets.platforms.aws.endpoint_requests import endpoint_name, rehearsal_prefix
from mlops_assets.platforms.aws.hosted_endpoint import HostedEndpoint
from mlops_assets.platforms.aws.settings import current_aws_settings
from mlops_assets.platforms.ports import Platform
from mlops_assets.settings import Settings
from mlops_assets_tests.commands import Deployment as CommandLine
from mlops_assets_tests.platforms.contracts.endpoint import Ask, EndpointContract
from mlops_assets_tests.runtime.models import ROWS
from mlops_assets_tests.served import Deployable, deployable
from mlops_assets_tests.standins.aws.endpoint_operations import EndpointOperations
from mlops_assets_tests.standins.aws.faults import Fault
from mlops_assets_tests.standins.aws.fixtures import Aws
from mlops_assets_tests.standins.aws.server import IMAGE, REGION
from mlops_assets_tests.standins.aws.test_endpoints import alarm, servers, set_alarm, tiny
from mlops_assets_tests.waiting import eventually


def on_aws(aws: Aws, folder: Path) -> Iterator[Platform]:
    """A platform on the stand-in; every endpoint ends after the test."""
    current_aws_settings.cache_clear()
    yield build_platform(Settings(platform="aws", root=folder / "mlops"))
    current_aws_settings.cache_clear()
    aws.server.hosting.close()


def asking(platform: Platform) -> Ask:
    """Asks the endpoint of `homes` as any client of AWS does."""
    runtime = client("sagemaker-runtime", REGION)
    name = endpoint_name(platform.store.root, "homes")

    def ask(row: dict[str, Any]) -> float:
        body = json.dumps({"instances": [row]}).encode()
        answer = runtime.invoke_endpoint(EndpointName=name, ContentType="application/json", Body=body)
        return json.loads(answer["Body"].read())["predictions"][0]

    return ask


class TestSageMakerEndpoint(EndpointContract):
    @pytest.fixture
    def platform(self, aws: Aws, tmp_path: Path) -> Iterator[Platform]:
        yield from on_aws(aws, tmp_path)

    @pytest.fixture
    def ask(self, platform: Platform) -> Ask:
        return asking(platform)


# --- updates that go wrong: the containers start at once and answer their version -------------------------


@dataclass
class Small:
    """Deploys versions whose containers are small servers.

    Attributes:
        sick: while this file is there, no container of it answers a ping.
    """

    aws: Aws
    patch: pytest.MonkeyPatch
    folder: Path
    sick: Path

    def platform(self, *behaviour: str, **settings: object) -> Platform:
        """A platform whose image runs a small server, with settings `MLOPS_AWS_…` changed as given."""
        image = f"{IMAGE}-{uuid.uuid4().hex[:8]}"
        self.aws.server.hosting.starter.images[image] = tiny(*behaviour)
        for name, value in {"image": image, **settings}.items():
            self.patch.setenv(
                f"MLOPS_AWS_{name.upper()}", value if isinstance(value, str) else json.dumps(value)
            )
        current_aws_settings.cache_clear()
        return build_platform(Settings(platform="aws", root=self.folder / "mlops"))

    @property
    def endpoints(self) -> dict[str, Any]:
        """Name -> endpoint, as the service has them."""
        return self.aws.server.hosting.endpoints

    def calls(self, operation: str) -> int:
        """How often the service was asked so, in this test."""
        return self.aws.server.faults.calls[f"sagemaker:{operation}"]

    def fails(self, call: str, *, times: int = 1, afterwards: bool = False) -> None:
        """Make calls fail: throttled, or with their answer lost."""
        code = "InternalFailure" if afterwards else "ThrottlingException"
        status = 500 if afterwards else 400
        self.aws.server.faults.add(Fault(f"sagemaker:{call}", status, code, times, afterwards=afterwards))


@pytest.fixture
def small(aws: Aws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Small]:
    aws.server.faults.calls.clear()
    aws.server.hosting.longest_start = 5.0
    yield Small(aws, monkeypatch, tmp_path, tmp_path / "sick")
    aws.server.hosting.longest_start = None
    current_aws_settings.cache_clear()
    aws.server.hosting.close()
    assert servers() == []


def version(platform: Platform, number: int) -> Deployable:
    """A version whose small server gives the answers that its smoke test wants."""
    return deployable(platform, number, expected=[{"prediction": float(number)}] * len(ROWS))


def production(small: Small) -> dict[str, Any]:
    """What the service says of the endpoint that users ask."""
    (endpoint,) = (item for name, item in small.endpoints.items() if "-rehearsal-" not in name)
    return endpoint.describe()


CANARY = {"traffic": "canary", "traffic_step": 50, "endpoint_instances": 2}


@pytest.mark.parametrize(("behaviour", "why"), [("sick", "ping health check"), ("failing", "answered 500")])
def test_a_version_that_is_not_well_never_gets_a_request(small: Small, behaviour: str, why: str) -> None:
    platform = small.platform()
    version(platform, 1).deploy(platform)
    wrong = small.platform(behaviour)
    with pytest.raises(DeploymentError, match=f"(?s)Version 2 did not take over.*{why}.*Version 1 goes on"):
        version(wrong, 2).deploy(wrong)
    eventually(lambda: len(small.endpoints) == 1)
    assert small.calls("UpdateEndpoint") == 0
    assert asking(platform)(ROWS[0]) == 1


def test_an_update_that_fails_its_health_check_is_reported_as_rolled_back(small: Small) -> None:
    platform = small.platform()
    first = version(platform, 1)
    first.deploy(platform)
    before = production(small)["EndpointConfigName"]
    turning = small.platform("turning-sick", str(small.sick))
    second = version(turning, 2)
    with (
        sick_from_the_update_on(small),
        pytest.raises(
            DeploymentError,
            match=r"(?s)Version 2 did not take over.*rolled the update back: The primary container.*"
            "Version 1 goes on serving",
        ),
    ):
        second.deploy(turning)
    assert production(small)["EndpointConfigName"] == before
    assert turning.endpoint.status("homes").version == 1
    assert asking(platform)(ROWS[0]) == 1
    assert second.deploy(turning).version == 2


@contextmanager
def sick_from_the_update_on(small: Small) -> Iterator[None]:
    """The rehearsal goes well, and containers that start later are sick."""
    update = EndpointOperations.update_endpoint

    def turning(operations: EndpointOperations) -> Any:
        small.sick.touch()
        return update(operations)

    with small.patch.context() as patch:
        patch.setattr(EndpointOperations, "update_endpoint", turning)
        yield
    small.sick.unlink()


def test_an_alarm_turns_the_update_back_and_the_error_names_it(small: Small) -> None:
    name = alarm(small.aws, "OK")
    platform = small.platform(**CANARY, traffic_wait=60, rollback_alarms=[name])
    version(platform, 1).deploy(platform)
    second = version(platform, 2)
    with ThreadPoolExecutor(1) as pool:
        deploying = pool.submit(second.deploy, platform)
        eventually(lambda: small.calls("UpdateEndpoint") == 1)
        eventually(lambda: 2 in [asking(platform)(ROWS[0]) for _ in range(10)])
        set_alarm(small.aws, name, "ALARM")
        with pytest.raises(
            DeploymentError,
            match=f"(?s)rolled the update back: alarm {name} is in ALARM.*Version 1 goes on serving",
        ):
            deploying.result()
    assert asking(platform)(ROWS[0]) == 1
    with pytest.raises(DeploymentError, match="is in ALARM: it would turn the update back"):
        second.deploy(platform)
    assert small.calls("UpdateEndpoint") == 1
    missing = small.platform(rollback_alarms=["{model}-errors"])
    with pytest.raises(DeploymentError, match="alarm homes-errors does not exist"):
        second.deploy(missing)


def test_throttled_calls_are_tried_again(small: Small) -> None:
    platform = small.platform()
    for operation in (
        "CreateModel",
        "CreateEndpoint",
        "DescribeEndpoint",
        "DeleteEndpoint",
        "UpdateEndpoint",
    ):
        small.fails(operation, times=2)
    small.fails("POST", times=1)
    for number in (1, 2):
        assert version(platform, number).deploy(platform).version == number
    assert asking(platform)(ROWS[0]) == 2


def test_lost_answers_change_nothing_twice(small: Small) -> None:
    platform = small.platform()
    for operation in ("CreateModel", "CreateEndpointConfig", "CreateEndpoint", "DeleteEndpoint"):
        small.fails(operation, times=1, afterwards=True)
    version(platform, 1).deploy(platform)
    small.fails("UpdateEndpoint", times=1, afterwards=True)
    small.fails("CreateEndpoint", times=1, afterwards=True)
    assert version(platform, 2).deploy(platform).version == 2
    eventually(lambda: len(servers()) == 1)
    assert production(small)["EndpointStatus"] == "InService"


DEPLOYER = """
import sys
from pathlib import Path
from mlops_assets.settings import Settings
from mlops_assets.platforms.aws import build_platform
from mlops_assets.artifacts import ArtifactUri, ModelVersion

platform = build_platform(Settings(platform="aws", root=Path(sys.argv[1])))
version = ModelVersion.model_validate_json(sys.argv[2])
platform.endpoint.deploy(version, samples=ArtifactUri(sys.argv[3]), expected=ArtifactUri(sys.argv[4]))
"""


@pytest.mark.parametrize("moment", ["in the rehearsal", "in the update"])
def test_a_deployer_that_was_killed_is_caught_up_with(small: Small, moment: str) -> None:
    platform = small.platform(**CANARY, traffic_wait=2)
    version(platform, 1).deploy(platform)
    second = version(platform, 2)
    created = small.calls("CreateEndpoint")
    arguments = [
        str(platform.settings.root),
        second.version.model_dump_json(),
        second.samples,
        second.expected,
    ]
    deployer = subprocess.Popen([sys.executable, "-c", DEPLOYER, *arguments], stderr=subprocess.DEVNULL)
    if moment == "in the update":
        eventually(lambda: small.calls("UpdateEndpoint") == 1)
    else:
        eventually(lambda: small.calls("CreateEndpoint") == created + 1)
    deployer.kill()
    deployer.wait()
    assert platform.endpoint.status("homes").version == 1
    made = second.deploy(platform)
    assert (made.version, made.status) == (2, "serving")
    assert small.calls("UpdateEndpoint") == 1
    eventually(lambda: len(small.endpoints) == 1)
    assert asking(platform)(ROWS[0]) == 2


def test_an_endpoint_deleted_by_hand_is_said_to_be_stopped_and_made_again(small: Small) -> None:
    platform = small.platform()
    first = version(platform, 1)
    first.deploy(platform)
    for again in (lambda: platform.endpoint.restart("homes"), lambda: first.deploy(platform)):
        name = production(small)["EndpointName"]
        small.aws.server.client("sagemaker").delete_endpoint(EndpointName=name)
        eventually(lambda: small.endpoints == {})
        status = platform.endpoint.status("homes")
        assert (status.status, status.version, status.stopped_by) == ("stopped", 1, None)
        assert "not running" in status.message
        assert again().version == 1
    assert asking(platform)(ROWS[0]) == 1


def test_an_endpoint_that_failed_is_named_and_replaced(small: Small) -> None:
    platform = small.platform("turning-sick", str(small.sick))
    first = version(platform, 1)
    first.deploy(platform)
    platform.endpoint.stop("homes")
    small.sick.touch()
    with pytest.raises(DeploymentError, match=r"(?s)It is Failed: The primary container.*Nothing serves"):
        platform.endpoint.restart("homes")
    status = platform.endpoint.status("homes")
    assert (status.status, status.version) == ("stopped", 1)
    assert "Failed: The primary container" in status.message
    small.sick.unlink()
    assert first.deploy(platform).status == "serving"


def test_a_config_of_somebody_else_is_named_and_replaced(small: Small) -> None:
    platform = small.platform()
    first = version(platform, 1)
    first.deploy(platform)
    sagemaker, said = small.aws.server.client("sagemaker"), production(small)
    config = sagemaker.describe_endpoint_config(EndpointConfigName=said["EndpointConfigName"])
    other = f"by-hand-{uuid.uuid4().hex[:8]}"
    variants = config["ProductionVariants"]
    sagemaker.create_endpoint_config(EndpointConfigName=other, ProductionVariants=variants)
    sagemaker.update_endpoint(EndpointName=said["EndpointName"], EndpointConfigName=other)
    eventually(lambda: production(small)["EndpointConfigName"] == other)
    status = platform.endpoint.status("homes")
    assert (status.status, status.version) == ("serving", None)
    assert other in status.message
    assert first.deploy(platform).version == 1
    assert production(small)["EndpointConfigName"] == said["EndpointConfigName"]


def test_who_stops_it_in_mid_deployment_is_heeded(small: Small) -> None:
    platform = small.platform()
    version(platform, 1).deploy(platform)
    second = version(platform, 2)
    invoke = HostedEndpoint.invoke

    def stopping(endpoint: HostedEndpoint, rows: Any) -> Any:
        platform.endpoint.stop("homes", by="anna")
        return invoke(endpoint, rows)

    with small.patch.context() as patch:
        patch.setattr(HostedEndpoint, "invoke", stopping)
        held = second.deploy(platform)
    assert (held.status, held.version, held.stopped_by) == ("stopped", 1, "anna")
    eventually(lambda: small.endpoints == {})


def test_a_rehearsal_left_behind_is_deleted_once_it_is_old(small: Small) -> None:
    platform = small.platform()
    first = version(platform, 1)
    first.deploy(platform)
    sagemaker, config = small.aws.server.client("sagemaker"), production(small)["EndpointConfigName"]
    left, running = (f"{rehearsal_prefix(platform.store.root, 'homes')}{end}" for end in ("old", "new"))
    for name in (left, running):
        sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=config)
    eventually(lambda: all(item.status == "InService" for item in small.endpoints.values()))
    small.endpoints[left]._said["LastModifiedTime"] -= timedelta(hours=3)
    version(platform, 2).deploy(platform)
    eventually(lambda: left not in small.endpoints)
    assert running in small.endpoints


def test_settings_reach_the_service(small: Small) -> None:
    platform = small.platform(
        traffic="linear", traffic_step=50, traffic_wait=0, endpoint_instances=2, capture_percent=100
    )
    for number in (1, 2):
        version(platform, number).deploy(platform)
    routing = production(small)["LastDeploymentConfig"]["BlueGreenUpdatePolicy"][
        "TrafficRoutingConfiguration"
    ]
    assert routing["LinearStepSize"] == {"Type": "CAPACITY_PERCENT", "Value": 50}
    (variant,) = production(small)["ProductionVariants"]
    assert variant["CurrentInstanceCount"] == 2
    asking(platform)(ROWS[0])
    captured = platform.store.root.join("captured", "homes")
    (line,) = [json.loads(platform.store.read(info.uri)) for info in platform.store.list(captured)]
    assert json.loads(line["captureData"]["endpointInput"]["data"]) == {"instances": [ROWS[0]]}
    model = next(name for name in small.aws.server.hosting.models if name.startswith("homes-2"))
    described = small.aws.server.client("sagemaker").describe_model(ModelName=model)
    assert described["EnableNetworkIsolation"] is True


def test_no_secret_reaches_a_container(small: Small) -> None:
    small.patch.setenv("MLOPS_ENDPOINT_TOKEN", "a-token-that-nobody-else-has")
    platform = small.platform()
    version(platform, 1).deploy(platform)
    described = json.dumps([*small.aws.server.hosting.models.values()], default=str)
    assert "a-token-that-nobody-else-has" not in described


def test_steps_need_two_instances(small: Small) -> None:
    small.platform(traffic="canary")
    with pytest.raises(SettingsError, match="MLOPS_AWS_ENDPOINT_INSTANCES of 2 or more"):
        current_aws_settings()


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl on this machine")
def test_the_request_that_is_shown_to_people_works(small: Small) -> None:
    platform = small.platform()
    made = version(platform, 1).deploy(platform)
    assert made.page is not None and "console.aws.amazon.com/sagemaker" in made.page
    body = json.dumps({"instances": [ROWS[0]]})
    command = ["curl -s", f"{made.url}/invocations", "-H 'Content-Type: application/json'", *made.curl]
    script = " ".join([*command, f"-d '{body}'"])
    answer = subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(answer.stdout) == {"predictions": [1.0]}


def test_the_command_line_lists_and_stops_endpoints(small: Small, tmp_path: Path) -> None:
    made = version(small.platform(), 1).deploy(small.platform())
    shell = CommandLine(tmp_path)
    settings = {name: value for name, value in os.environ.items() if name.startswith("MLOPS_")}

    def endpoints() -> Any:
        return shell.json("endpoints", "list", status=0, **settings)

    (listed,) = endpoints()
    assert (listed["model"], listed["version"], listed["status"]) == ("homes", 1, "serving")
    assert listed["url"] == made.url
    unknown = shell.command("endpoints", "stop", "hoems", **settings)
    assert (unknown.returncode, "homes" in unknown.stderr) == (2, True)
    done = shell.command("endpoints", "stop", "homes", **settings)
    assert (done.returncode, done.stdout) == (0, "homes version 1: stopped.\n")
    (stopped,) = endpoints()
    assert (stopped["status"], stopped["stopped_by"]) == ("stopped", getpass.getuser())
