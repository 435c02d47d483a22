"""SageMaker's training and processing jobs without Dagster: named by their request, attached to, waited for.

A name is derived from the request, so a job is described before it is created and never listed: what an
orchestrator started that died is found again, and throttled calls stay few.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any, TypeVar

from mlops_assets.errors import JobFailedError
from mlops_assets.pipes.remote_jobs import JobEnd, request_digest
from mlops_assets.pipes.sagemaker_limits import LONGEST_NAME, JobKind, check_limits

Described = TypeVar("Described")

_LOG = logging.getLogger(__name__)
_MOST_ATTEMPTS = 99
# Seconds that describing a job may fail, throttled or without an answer, before the wait is given up.
PATIENCE = 600.0
_TRANSIENT = (
    "Throttling",
    "ThrottlingException",
    "RequestLimitExceeded",
    "ServiceUnavailable",
    "InternalFailure",
)


class SageMakerJob:
    """One job by name, which may not exist yet.

    Args:
        client: boto3's SageMaker client.
        kind: `TRAINING` or `PROCESSING`.
        name: at most 63 characters.
    """

    def __init__(self, client: Any, kind: JobKind, name: str) -> None:
        self.kind, self.name = kind, name
        self._client = client

    @property
    def console(self) -> str:
        """Link to the job's page."""
        region = self._client.meta.region_name
        return (
            f"https://{region}.console.aws.amazon.com/sagemaker/home?region={region}"
            f"#/{self.kind.console}/{self.name}"
        )

    def describe(self) -> Mapping[str, Any] | None:
        """What the service says of the job; None where there is none."""
        from botocore.exceptions import ClientError

        try:
            return self._call("describe")
        except ClientError as error:
            if _is_missing(error):
                return None
            raise

    def create(self, request: Mapping[str, Any]) -> bool:
        """Create the job from `request` (without its name); False where it is there already."""
        from botocore.exceptions import ClientError

        check_limits(self.kind, {**request, self.kind.name: self.name})
        try:
            self._call("create", **request)
        except ClientError as error:
            if error.response["Error"]["Code"] == "ResourceInUse":
                return False
            raise
        return True

    def stop(self) -> None:
        """Ask the service to end the job; nothing happens where it is over."""
        from botocore.exceptions import ClientError

        try:
            self._call("stop")
        except ClientError as error:
            if error.response["Error"]["Code"] not in ("ValidationException", "ResourceNotFound"):
                raise

    def status(self, description: Mapping[str, Any]) -> str:
        """`InProgress`, `Stopping`, `Completed`, `Failed` or `Stopped`."""
        return description[f"{self.kind.prefix}JobStatus"]

    def wait(self, interval: float, look: Callable[[Mapping[str, Any]], None]) -> Mapping[str, Any]:
        """Wait for the end; `look` sees every description, the last one twice.

        A describe call that is throttled or finds no network is tried again for ten minutes.
        """
        while True:
            description = patiently(lambda: self._call("describe"), self.name)
            look(description)
            if self.status(description) in ("Completed", "Failed", "Stopped"):
                return description
            time.sleep(interval)

    def _call(self, verb: str, **request: Any) -> Mapping[str, Any]:
        return getattr(self._client, self.kind.operation(verb))(**{self.kind.name: self.name}, **request)


def patiently(describe: Callable[[], Described], name: str) -> Described:
    """What `describe` answers; throttled or without a network it is tried again for ten minutes."""
    from botocore.exceptions import BotoCoreError, ClientError

    since, pause = time.monotonic(), 1.0
    while True:
        try:
            return describe()
        except (ClientError, BotoCoreError) as error:
            code = error.response["Error"]["Code"] if isinstance(error, ClientError) else "no answer"
            if code not in (*_TRANSIENT, "no answer") or time.monotonic() - since > PATIENCE:
                raise
            _LOG.warning("describing %s: %s; trying again", name, code)
            time.sleep(pause)
            pause = min(pause * 2, 30.0)


def readable(base: str, room: int) -> str:
    """`base` cut and cleaned to what SageMaker allows in a name; empty where nothing is left."""
    return re.sub(r"[^a-zA-Z0-9]+", "-", base).strip("-")[:room].strip("-")


def job_names(base: str, request: Mapping[str, Any], identity: str) -> Iterator[str]:
    """Names of one request's attempts, first to last: `<base>-<16 hexadecimal digits>-<attempt>`.

    Args:
        base: what a person reads; cut and cleaned to fit.
        request: as the service gets it, without what differs between attempts.
        identity: what else makes it the same work, such as the root run.
    """
    digest = request_digest(request, identity)[:16]
    room = LONGEST_NAME - len(digest) - len("--99")
    name = readable(base, room) or "job"
    for attempt in range(1, _MOST_ATTEMPTS + 1):
        yield f"{name}-{digest}-{attempt}"


def find(
    client: Any,
    kind: JobKind,
    names: Iterator[str],
    *,
    usable: Callable[[SageMakerJob], bool] = lambda _: True,
) -> tuple[SageMakerJob, bool]:
    """The job of the first attempt that runs or completed, and True; else the first that is free, and False.

    Args:
        usable: whether what a completed job left is still there.
    """
    for name in names:
        job = SageMakerJob(client, kind, name)
        description = job.describe()
        if description is None:
            return job, False
        status = job.status(description)
        if status == "InProgress" or (status == "Completed" and usable(job)):
            return job, True
    raise JobFailedError(
        f"The same request failed {_MOST_ATTEMPTS} times.",
        where=f"SageMaker {kind.prefix.lower()} jobs",
        mend="Look at the reason of the last one, and change the request.",
    )


def end_of(kind: JobKind, description: Mapping[str, Any]) -> JobEnd:
    """How a job ended, by every name that the service has for it."""
    status, reason = description[f"{kind.prefix}JobStatus"], description.get("FailureReason", "")
    if status == "Completed":
        return JobEnd("Completed")
    if status == "Failed":
        told = description.get("ExitMessage") or _unwrapped(reason) or "The service gives no reason."
        return JobEnd("Failed", told, not reason.startswith(("AlgorithmError", "ClientError")))
    if status != "Stopped":
        return JobEnd("Failed", f"The job is in the unknown status {status!r}.")
    secondary = description.get("SecondaryStatus", "")
    limit = (description.get("StoppingCondition") or {}).get("MaxRuntimeInSeconds")
    if secondary == "MaxWaitTimeExceeded":
        return JobEnd("TimedOut", "It waited for spot instances longer than it may.", True)
    if secondary == "MaxRuntimeExceeded" or (
        not secondary and limit and seconds_of(kind, description) >= limit
    ):
        return JobEnd("TimedOut", f"It took longer than its timeout of {limit} s.")
    return JobEnd("Stopped", "It was stopped by somebody, or by a cancelled run.")


def seconds_of(kind: JobKind, description: Mapping[str, Any]) -> float:
    """Seconds that are paid for: as the service says, else from start to end; 0 where it never began."""
    if "BillableTimeInSeconds" in description:
        return float(description["BillableTimeInSeconds"])
    start: datetime | None = description.get(f"{kind.prefix}StartTime")
    end: datetime | None = description.get(f"{kind.prefix}EndTime")
    return (end - start).total_seconds() if start and end else 0.0


def instance_of(description: Mapping[str, Any]) -> str:
    """What the job ran on, as in `1 x ml.m5.large`."""
    resources = (
        description.get("ProcessingResources", {}).get("ClusterConfig") or description["ResourceConfig"]
    )
    return f"{resources.get('InstanceCount', 1)} x {resources.get('InstanceType', '?')}"


def _is_missing(error: Any) -> bool:
    code, message = error.response["Error"]["Code"], error.response["Error"].get("Message", "")
    return code == "ResourceNotFound" or (
        code == "ValidationException"
        and re.search(r"not found|could not find", message, re.IGNORECASE) is not None
    )


def _unwrapped(reason: str) -> str:
    """What the container wrote, without what the service puts around it."""
    inner = re.fullmatch(r"AlgorithmError: (.*?)(?:, exit code: \d+)?", reason, re.DOTALL)
    return (inner[1] or reason) if inner else reason
