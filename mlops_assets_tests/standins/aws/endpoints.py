"""SageMaker's endpoints: created, updated blue/green with alarms, rolled back, deleted.

Containers really run. After an update that failed the endpoint is InService on its old config, as the service
has it.
"""

from __future__ import annotations

import copy
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from threading import Event, RLock, Thread
from typing import Any

from moto.sagemaker.exceptions import ValidationError

from mlops_assets_tests.standins.aws.fleet import Fleet
from mlops_assets_tests.standins.aws.jobs import now
from mlops_assets_tests.standins.aws.model_server import ModelServer
from mlops_assets_tests.standins.aws.transfers import DownloadError

_LOOK = 0.05
_BUSY = ("Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting")
_UNHEALTHY = (
    "The primary container for production variant {variant} did not pass the ping health check. "
    "Please check CloudWatch logs for this endpoint."
)


class RolledBackError(Exception):
    """An update that did not come to its end."""


class Endpoint:
    """One endpoint.

    Args:
        name, arn: its names.
        start: starts the fleet of a config, by the config's name.
        alarming: which of the named alarms are in the state ALARM.
        forget: called once it is deleted.
    """

    def __init__(
        self,
        name: str,
        arn: str,
        start: Callable[[str], Fleet],
        alarming: Callable[[Sequence[str]], list[str]],
        forget: Callable[[], None],
    ) -> None:
        self.name, self.arn = name, arn
        self.longest_start: float | None = None
        self._start, self._alarming, self._forget = start, alarming, forget
        self._blue: Fleet | None = None
        self._green: Fleet | None = None
        self._shifted = 0  # percent of the requests that the green fleet gets
        self._over, self._lock = Event(), RLock()
        self._threads: list[Thread] = []
        self._said: dict[str, Any] = {
            "EndpointName": name,
            "EndpointArn": arn,
            "CreationTime": now(),
            "LastModifiedTime": now(),
        }

    @property
    def status(self) -> str:
        """As the service names it."""
        return self._said["EndpointStatus"]

    def describe(self) -> dict[str, Any]:
        """What DescribeEndpoint answers."""
        with self._lock:
            said = copy.deepcopy(self._said)
            if self._blue is not None:
                said["ProductionVariants"] = self._blue.variants
                if "DataCaptureConfig" in self._blue.config:
                    capture = self._blue.config["DataCaptureConfig"]
                    said["DataCaptureConfig"] = {
                        "EnableCapture": capture.get("EnableCapture", False),
                        "CaptureStatus": "Started",
                        "CurrentSamplingPercentage": capture["InitialSamplingPercentage"],
                        "DestinationS3Uri": capture["DestinationS3Uri"],
                        "KmsKeyId": capture.get("KmsKeyId", ""),
                    }
            return said

    def create(self, config: str) -> None:
        """Start the first fleet."""
        self._say(EndpointStatus="Creating", EndpointConfigName=config)
        self._run(self._create, config)

    def update(self, config: str, deployment: Mapping[str, Any]) -> None:
        """Start a second fleet and shift the traffic to it."""
        with self._lock:
            self.refuse_busy("update")
            if self.status == "Failed":
                raise ValidationError(message=f'Cannot update endpoint "{self.arn}" in status Failed.')
            self._said.pop("FailureReason", None)
            pending = {"EndpointConfigName": config, "StartTime": now()}
            self._say(EndpointStatus="Updating", PendingDeploymentSummary=pending)
        self._run(self._update, config, deployment)

    def delete(self) -> None:
        """End everything."""
        with self._lock:
            self.refuse_busy("delete")
            self._say(EndpointStatus="Deleting")
        self._run(self._delete)

    def refuse_busy(self, verb: str) -> None:
        """The service's refusal while something is under way."""
        if self.status in _BUSY:
            raise ValidationError(message=f'Cannot {verb} in-progress endpoint "{self.arn}".')

    @contextmanager
    def asked(self, target: str | None) -> Iterator[tuple[Fleet, str, ModelServer]]:
        """Who answers the next request: fleet, variant, container; KeyError for an unknown variant."""
        with ExitStack() as using:
            with self._lock:
                green = self._green is not None and random.random() * 100 < self._shifted
                fleet = self._green if green else self._blue
                assert fleet is not None
                variant, server = using.enter_context(fleet.variant(target))
            yield fleet, variant, server

    def close(self) -> None:
        """End whatever runs, now."""
        self._over.set()
        for thread in self._threads:
            thread.join()
        for fleet in (self._blue, self._green):
            if fleet is not None:
                fleet.close()

    def _run(self, what: Callable[..., None], *arguments: Any) -> None:
        thread = Thread(target=what, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _say(self, **fields: Any) -> None:
        with self._lock:
            self._said |= {**fields, "LastModifiedTime": now()}

    def _create(self, config: str) -> None:
        try:
            fleet = self._healthy(config)
        except RolledBackError as error:
            self._say(EndpointStatus="Failed", FailureReason=str(error))
            return
        with self._lock:
            self._blue = fleet
            self._say(EndpointStatus="InService")

    def _update(self, config: str, deployment: Mapping[str, Any]) -> None:
        policy = deployment.get("BlueGreenUpdatePolicy") or {}
        alarms = [
            alarm["AlarmName"]
            for alarm in (deployment.get("AutoRollbackConfiguration") or {}).get("Alarms") or []
        ]
        try:
            self._watch(alarms, 0)
            green = self._healthy(config)
            with self._lock:
                self._green, blue = green, self._blue
            for share, wait in _steps(policy.get("TrafficRoutingConfiguration") or {}):
                self._shifted = share
                self._watch(alarms, wait)
            self._watch(alarms, policy.get("TerminationWaitInSeconds", 0))
        except RolledBackError as error:
            self._roll_back(str(error))
            return
        with self._lock:
            self._blue, self._green, self._shifted = green, None, 0
            self._said.pop("PendingDeploymentSummary", None)
            last = {"LastDeploymentConfig": dict(deployment)} if deployment else {}
            self._say(EndpointStatus="InService", EndpointConfigName=config, **last)
        if blue is not None:
            blue.close()

    def _roll_back(self, reason: str) -> None:
        self._say(EndpointStatus="RollingBack")
        with self._lock:
            green, self._green, self._shifted = self._green, None, 0
        if green is not None:
            green.close()
        with self._lock:
            self._said.pop("PendingDeploymentSummary", None)
            # An alarm's rollback is silent: nothing but the old config tells of it.
            self._say(EndpointStatus="InService", **({"FailureReason": reason} if reason else {}))

    def _delete(self) -> None:
        with self._lock:
            blue, self._blue = self._blue, None
        if blue is not None:
            blue.close()
        self._forget()

    def _healthy(self, config: str) -> Fleet:
        """A fleet whose containers all answer /ping."""
        try:
            fleet = self._start(config)
        except (DownloadError, KeyError) as error:
            raise RolledBackError(f"Failed to download model data: {error}") from error
        sick = fleet.unhealthy(self.longest_start, self._over.is_set)
        if sick is not None:
            fleet.close()
            raise RolledBackError(_UNHEALTHY.format(variant=sick))
        return fleet

    def _watch(self, alarms: Sequence[str], seconds: float) -> None:
        """Bake: roll back as soon as an alarm trips."""
        deadline = time.monotonic() + seconds
        while True:
            if self._over.is_set() or (alarms and self._alarming(alarms)):
                raise RolledBackError
            if time.monotonic() >= deadline:
                return
            time.sleep(_LOOK)


def _steps(routing: Mapping[str, Any]) -> list[tuple[int, float]]:
    """Percent of the traffic on the new fleet, and seconds to bake there."""
    wait = routing.get("WaitIntervalInSeconds", 0)
    if routing.get("Type") == "CANARY":
        return [(routing["CanarySize"]["Value"], wait), (100, wait)]
    if routing.get("Type") == "LINEAR":
        size = routing["LinearStepSize"]["Value"]
        return [(share, wait) for share in (*range(size, 100, size), 100)]
    return [(100, wait)]
