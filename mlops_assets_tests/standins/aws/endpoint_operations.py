"""Operations on models, endpoint configs and endpoints, with the service's own refusals and limits."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC
from threading import RLock
from typing import Any, ClassVar

from moto.core.responses import ActionResult, BaseResponse, EmptyResult
from moto.sagemaker.exceptions import ValidationError

from mlops_assets_tests.standins.aws.endpoints import Endpoint
from mlops_assets_tests.standins.aws.fleet import FleetStarter
from mlops_assets_tests.standins.aws.jobs import ACCOUNT, now
from mlops_assets_tests.standins.aws.transfers import split

_NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")
_KINDS = {"model": "model", "endpoint-config": "endpoint configuration", "endpoint": "endpoint"}


class Hosting:
    """Models, configs and endpoints of one server.

    Args:
        starter: starts fleets.
        client: makes a boto3 client of a service that talks to this server.
    """

    def __init__(self, starter: FleetStarter, client: Callable[[str], Any], region: str) -> None:
        self.starter, self._client, self._region = starter, client, region
        self.models: dict[str, dict[str, Any]] = {}
        self.configs: dict[str, dict[str, Any]] = {}
        self.endpoints: dict[str, Endpoint] = {}
        self.lock = RLock()
        # Seconds that containers get at most to become healthy, where a test cannot wait for the service's.
        self.longest_start: float | None = None

    def arn(self, kind: str, name: str) -> str:
        """ARN of a `model`, `endpoint-config` or `endpoint`."""
        return f"arn:aws:sagemaker:{self._region}:{ACCOUNT}:{kind}/{name.lower()}"

    def add(self, kind: str, name: str, there: Mapping[str, Any]) -> str:
        """Check a new one's name; its ARN."""
        if not _NAME.fullmatch(name):
            raise ValidationError(
                message=f"1 validation error detected: Value '{name}' failed to satisfy constraint: "
                f"Member must satisfy regular expression pattern: {_NAME.pattern}"
            )
        arn = self.arn(kind, name)
        if name in there:
            raise ValidationError(message=f'Cannot create already existing {_KINDS[kind]} "{arn}".')
        return arn

    def get(self, kind: str, name: str, there: Mapping[str, Any]) -> Any:
        """The one of that name; the service's error where there is none."""
        if name not in there:
            raise ValidationError(message=f'Could not find {_KINDS[kind]} "{self.arn(kind, name)}".')
        return there[name]

    def open(self, name: str) -> Endpoint:
        """A new endpoint."""
        arn = self.add("endpoint", name, self.endpoints)

        def forget() -> None:
            with self.lock:
                self.endpoints.pop(name, None)

        endpoint = Endpoint(
            name,
            arn,
            lambda config: self.starter.start(name, self.configs[config], self.models),
            self._alarming,
            forget,
        )
        endpoint.longest_start = self.longest_start
        self.endpoints[name] = endpoint
        return endpoint

    def demand_data(self, uri: str) -> None:
        """Refuse a model whose data is not there."""
        bucket, prefix = split(uri)
        if not self._client("s3").list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=1)["KeyCount"]:
            raise ValidationError(message=f"Could not find model data at {uri}.")

    def close(self) -> None:
        """End every container."""
        for endpoint in list(self.endpoints.values()):
            endpoint.close()
        self.endpoints.clear()

    def _alarming(self, names: Sequence[str]) -> list[str]:
        found = self._client("cloudwatch").describe_alarms(AlarmNames=list(names))
        return [alarm["AlarmName"] for alarm in found["MetricAlarms"] if alarm["StateValue"] == "ALARM"]


class EndpointOperations(BaseResponse):
    """The operations, one method each, as moto's dispatcher calls them."""

    hosting: ClassVar[Hosting]

    def create_model(self) -> ActionResult:
        """CreateModel."""
        hosting, name = self.hosting, self.params["ModelName"]
        container = self.params.get("PrimaryContainer") or {}
        _sizes(container.get("Environment") or {})
        if "ExecutionRoleArn" not in self.params:
            raise ValidationError(message="ExecutionRoleArn is required.")
        source = (container.get("ModelDataSource") or {}).get("S3DataSource")
        if source and source["S3DataType"] == "S3Prefix" and not source["S3Uri"].endswith("/"):
            raise ValidationError(message=f"S3Uri {source['S3Uri']} must end with a forward slash.")
        if source or container.get("ModelDataUrl"):
            hosting.demand_data(source["S3Uri"] if source else container["ModelDataUrl"])
        with hosting.lock:
            arn = hosting.add("model", name, hosting.models)
            hosting.models[name] = self._kept("ModelArn", arn)
        return ActionResult({"ModelArn": arn})

    def describe_model(self) -> ActionResult:
        """DescribeModel."""
        return ActionResult(self.hosting.get("model", self.params["ModelName"], self.hosting.models))

    def delete_model(self) -> ActionResult:
        """DeleteModel."""
        self.hosting.get("model", self.params["ModelName"], self.hosting.models)
        del self.hosting.models[self.params["ModelName"]]
        return EmptyResult()

    def create_endpoint_config(self) -> ActionResult:
        """CreateEndpointConfig."""
        hosting, name = self.hosting, self.params["EndpointConfigName"]
        for variant in self.params["ProductionVariants"]:
            hosting.get("model", variant["ModelName"], hosting.models)
            seconds = variant.get("ContainerStartupHealthCheckTimeoutInSeconds", 600)
            _demand(60 <= seconds <= 3_600, "containerStartupHealthCheckTimeoutInSeconds: 60 to 3600")
        with hosting.lock:
            arn = hosting.add("endpoint-config", name, hosting.configs)
            hosting.configs[name] = self._kept("EndpointConfigArn", arn)
        return ActionResult({"EndpointConfigArn": arn})

    def describe_endpoint_config(self) -> ActionResult:
        """DescribeEndpointConfig."""
        name = self.params["EndpointConfigName"]
        return ActionResult(self.hosting.get("endpoint-config", name, self.hosting.configs))

    def delete_endpoint_config(self) -> ActionResult:
        """DeleteEndpointConfig; the service warns of deleting one that is used, and does it."""
        name = self.params["EndpointConfigName"]
        self.hosting.get("endpoint-config", name, self.hosting.configs)
        del self.hosting.configs[name]
        return EmptyResult()

    def create_endpoint(self) -> ActionResult:
        """CreateEndpoint."""
        hosting, config = self.hosting, self.params["EndpointConfigName"]
        hosting.get("endpoint-config", config, hosting.configs)
        with hosting.lock:
            endpoint = hosting.open(self.params["EndpointName"])
            endpoint.create(config)
        self.keep_tags(endpoint.arn, self.params.get("Tags") or [])
        return ActionResult({"EndpointArn": endpoint.arn})

    def update_endpoint(self) -> ActionResult:
        """UpdateEndpoint."""
        endpoint, config = self._endpoint(), self.params["EndpointConfigName"]
        new = self.hosting.get("endpoint-config", config, self.hosting.configs)
        deployment = self.params.get("DeploymentConfig") or {}
        _check_deployment(deployment, new)
        endpoint.update(config, deployment)
        return ActionResult({"EndpointArn": endpoint.arn})

    def describe_endpoint(self) -> ActionResult:
        """DescribeEndpoint."""
        return ActionResult(self._endpoint().describe())

    def delete_endpoint(self) -> ActionResult:
        """DeleteEndpoint."""
        self._endpoint().delete()
        return EmptyResult()

    def list_endpoints(self) -> ActionResult:
        """ListEndpoints, newest first, in pages."""
        contains, status = self.params.get("NameContains", ""), self.params.get("StatusEquals")
        before = self.params.get("LastModifiedTimeBefore", now()).replace(tzinfo=UTC)
        found = [item.describe() for item in reversed(list(self.hosting.endpoints.values()))]
        kept = [
            {field: item[field] for field in _SUMMARY}
            for item in found
            if contains in item["EndpointName"]
            and status in (None, item["EndpointStatus"])
            and item["LastModifiedTime"] <= before
        ]
        start, most = int(self.params.get("NextToken") or 0), self.params.get("MaxResults", 100)
        more = {"NextToken": str(start + most)} if len(kept) > start + most else {}
        return ActionResult({"Endpoints": kept[start : start + most], **more})

    def _endpoint(self) -> Endpoint:
        return self.hosting.get("endpoint", self.params["EndpointName"], self.hosting.endpoints)

    def _kept(self, field: str, arn: str) -> dict[str, Any]:
        self.keep_tags(arn, self.params.get("Tags") or [])
        given = {name: value for name, value in self.params.items() if name != "Tags"}
        return {**given, field: arn, "CreationTime": now()}

    def keep_tags(self, arn: str, tags: list[dict[str, str]]) -> None:
        """Set tags of a resource; `TagOperations` does."""
        raise NotImplementedError


_SUMMARY = ("EndpointName", "EndpointArn", "CreationTime", "LastModifiedTime", "EndpointStatus")


def _check_deployment(deployment: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """Limits of a blue/green update."""
    alarms = (deployment.get("AutoRollbackConfiguration") or {}).get("Alarms")
    _demand(alarms is None or 1 <= len(alarms) <= 10, "autoRollbackConfiguration.alarms: 1 to 10")
    policy = deployment.get("BlueGreenUpdatePolicy") or {}
    longest = policy.get("MaximumExecutionTimeoutInSeconds", 600)
    _demand(600 <= longest <= 28_800, "maximumExecutionTimeoutInSeconds: 600 to 28800")
    _demand(0 <= policy.get("TerminationWaitInSeconds", 0) <= 3_600, "terminationWaitInSeconds: 0 to 3600")
    routing = policy.get("TrafficRoutingConfiguration") or {}
    _demand(0 <= routing.get("WaitIntervalInSeconds", 0) <= 3_600, "waitIntervalInSeconds: 0 to 3600")
    size = routing.get("CanarySize") or routing.get("LinearStepSize")
    if routing.get("Type") in ("CANARY", "LINEAR"):
        least = 1 if routing["Type"] == "CANARY" else 10
        _demand(size and least <= size["Value"] <= 50, f"size of a step: {least} to 50 percent")
        few = [item for item in config["ProductionVariants"] if item["InitialInstanceCount"] < 2]
        _demand(not few, "a fleet of one instance cannot be shifted in steps")


def _sizes(environment: Mapping[str, str]) -> None:
    longest = max((len(text) for pair in environment.items() for text in pair), default=0)
    _demand(len(environment) <= 100 and longest <= 1_024, "environment: 100 entries of 1024 characters")


def _demand(holds: object, constraint: str) -> None:
    if not holds:
        raise ValidationError(
            message=f"1 validation error detected: Value failed to satisfy constraint: {constraint}"
        )
