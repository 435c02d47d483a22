"""One SageMaker endpoint by name: created, updated, deleted, waited for, asked; every status by its name."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlops_assets.errors import DeploymentError
from mlops_assets.pipes.sagemaker_jobs import patiently
from mlops_assets.pipes.sagemaker_logs import LogTail
from mlops_assets.platforms.aws.client import client, code_of
from mlops_assets.platforms.aws.endpoint_requests import VARIANT
from mlops_assets.platforms.aws.settings import AwsSettings
from mlops_assets.platforms.smoke import answered_rows, request_body
from mlops_assets.runtime.job_environment import redacted

_LOG = logging.getLogger(__name__)
_SERVING = ("InService", "Updating", "SystemUpdating", "RollingBack", "UpdateRollbackFailed")
_MOVING = ("Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting")
_SETTLED = ("InService", "Failed", "OutOfService", "UpdateRollbackFailed")
_TAIL = 20


class VanishedError(Exception):
    """Somebody deleted the endpoint meanwhile."""


@dataclass(frozen=True)
class Found:
    """What the service says of an endpoint.

    Attributes:
        config: name of the endpoint config that serves; after an update that was rolled back the old one.
        pending: names of the configs that were seen on their way.
    """

    status: str
    config: str
    reason: str = ""
    pending: frozenset[str] = frozenset()

    @property
    def serves(self) -> bool:
        """Whether requests are answered."""
        return self.status in _SERVING

    @property
    def moves(self) -> bool:
        """Whether something is under way."""
        return self.status in _MOVING


class HostedEndpoint:
    """An endpoint, which may not exist."""

    def __init__(self, aws: AwsSettings, name: str) -> None:
        self.name = name
        self._aws = aws
        self._sagemaker = client("sagemaker", aws.region)
        self._runtime = client("sagemaker-runtime", aws.region)

    @property
    def url(self) -> str:
        """Base address; requests to `<url>/invocations` are signed with AWS's Signature Version 4."""
        return f"{self._runtime.meta.endpoint_url}/endpoints/{self.name}"

    @property
    def console(self) -> str:
        """Link to its page."""
        region = self._sagemaker.meta.region_name
        page = f"sagemaker/home?region={region}#/endpoints/{self.name}"
        return f"https://{region}.console.aws.amazon.com/{page}"

    @property
    def curl(self) -> tuple[str, ...]:
        """How curl signs a request; without a session token the header is left out."""
        return (
            f'--aws-sigv4 "aws:amz:{self._sagemaker.meta.region_name}:sagemaker"',
            '--user "$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY"',
            '-H "X-Amz-Security-Token: $AWS_SESSION_TOKEN"',
        )

    def find(self) -> Found | None:
        """What the service says now; None where there is none."""
        from botocore.exceptions import ClientError

        try:
            said = patiently(lambda: self._sagemaker.describe_endpoint(EndpointName=self.name), self.name)
        except ClientError as error:
            if _says(error, "could not find"):
                return None
            raise
        summary = said.get("PendingDeploymentSummary")
        pending = frozenset([summary["EndpointConfigName"]] if summary else [])
        return Found(
            said["EndpointStatus"], said["EndpointConfigName"], said.get("FailureReason", ""), pending
        )

    def settled(self) -> Found | None:
        """Wait until nothing is under way; None where there is no endpoint then.

        Raises:
            DeploymentError: where that takes longer than `deployment_timeout`, or for an unknown status.
        """
        deadline, seen = time.monotonic() + self._aws.deployment_timeout, frozenset[str]()
        before = None
        while (found := self.find()) is not None:
            seen |= found.pending
            if found.status != before:
                _LOG.info("endpoint %s: %s (%s)", self.name, found.status, self.console)
                before = found.status
            if not found.moves:
                break
            if time.monotonic() > deadline:
                raise DeploymentError(
                    f"It is still {found.status} after {self._aws.deployment_timeout} s.",
                    where=self.console,
                    mend="Materialise the endpoint again: it goes on waiting. "
                    "Or raise MLOPS_AWS_DEPLOYMENT_TIMEOUT.",
                )
            time.sleep(self._aws.poll_interval)
        if found is None:
            return None
        if found.status not in _SETTLED:
            raise DeploymentError(
                f"It is in the unknown status {found.status!r}.",
                where=self.console,
                mend="Look at it in the console.",
            )
        return Found(found.status, found.config, found.reason, seen)

    def create(self, config: str, tags: Sequence[Mapping[str, str]]) -> bool:
        """Ask for it; False where it is there already."""
        return _unless(
            "already existing",
            lambda: self._sagemaker.create_endpoint(
                EndpointName=self.name, EndpointConfigName=config, Tags=list(tags)
            ),
        )

    def update(self, config: str, deployment: Mapping[str, Any]) -> bool:
        """Ask for another config; False while something else is under way."""
        return _unless(
            "in-progress",
            lambda: self._sagemaker.update_endpoint(
                EndpointName=self.name, EndpointConfigName=config, DeploymentConfig=deployment
            ),
        )

    def delete(self) -> None:
        """Ask for its end, after what is under way; nothing happens where there is none."""
        while (found := self.find()) is not None and found.status != "Deleting":
            if _unless(
                "in-progress|could not find",
                lambda: self._sagemaker.delete_endpoint(EndpointName=self.name),
            ):
                return
            self.settled()

    def invoke(self, rows: Sequence[Any]) -> list[dict[str, Any]]:
        """Predictions for some rows.

        Raises:
            VanishedError: where there is no endpoint.
            DeploymentError: for any other answer than predictions.
        """
        from botocore.exceptions import ClientError

        try:
            answer = self._runtime.invoke_endpoint(
                EndpointName=self.name,
                ContentType="application/json",
                Accept="application/jsonlines",
                Body=request_body(rows).encode(),
            )
        except ClientError as error:
            if code_of(error) == "ValidationError" and _says(error, "not found"):
                raise VanishedError from None
            if code_of(error) != "ModelError":
                raise
            told = str(error.response.get("OriginalMessage", ""))[:500]
            status = error.response.get("OriginalStatusCode", "an error")
            raise DeploymentError(f"It answered {status}: {redacted(told)}", where="smoke test") from None
        return answered_rows(answer["Body"].read())

    def log_tail(self) -> str:
        """The last lines that its servers wrote."""
        group = f"/aws/sagemaker/Endpoints/{self.name}"
        lines = LogTail(client("logs", self._aws.region), group, VARIANT).lines()
        return redacted("\n".join(lines[-_TAIL:]))


def _unless(refusal: str, call: Callable[[], object]) -> bool:
    """Whether the call was accepted; False where the service refuses it in words like these."""
    from botocore.exceptions import ClientError

    try:
        call()
    except ClientError as error:
        if _says(error, *refusal.split("|")):
            return False
        raise
    return True


def made(call: Callable[[], object]) -> None:
    """Create something that is named by what it is; the same one may be there already."""
    _unless("already existing", call)


def _says(error: Any, *words: str) -> bool:
    message = error.response["Error"].get("Message", "").lower()
    return code_of(error) in ("ValidationException", "ValidationError", "ResourceInUse") and any(
        word in message for word in words
    )
