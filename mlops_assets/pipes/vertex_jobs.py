"""Vertex AI's jobs without Dagster: found by label, created once, waited for.

The service gives jobs their names, so a job carries what is asked of it as a label: whoever asks the same
lists by that label before creating, and again where creating had no clear answer.
"""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlops_assets.errors import JobFailedError
from mlops_assets.pipes.remote_jobs import JobEnd

if TYPE_CHECKING:
    from mlops_assets.pipes.gcs_bucket import GcsBucket

REQUEST, ATTEMPT = "dagster-request", "dagster-attempt"
# Seconds that asking for a job may fail, refused for a while or without an answer, before we give up.
PATIENCE = 600.0
# Seconds that another orchestrator may take between claiming an attempt and its job being listed.
CLAIM_PATIENCE = 60.0
_LOOK = 0.5
_MOST_ATTEMPTS = 99
_OVER = ("SUCCEEDED", "PARTIALLY_SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED")
# google.rpc.Code: RESOURCE_EXHAUSTED, ABORTED, INTERNAL, UNAVAILABLE
_RETRYABLE = (8, 10, 13, 14)
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class JobKind:
    """A kind of job.

    Attributes:
        noun: as the service's calls and messages have it.
        collection: as names of resources have it.
        page: as addresses of the console have it.
    """

    noun: str
    collection: str
    page: str

    @property
    def words(self) -> str:
        """What people call one."""
        return self.noun.replace("_", " ")


CUSTOM = JobKind("custom_job", "customJobs", "training")
BATCH = JobKind("batch_prediction_job", "batchPredictionJobs", "batch-predictions")


@dataclass(frozen=True)
class Attempt:
    """One attempt at one request: what its job's labels say.

    Attributes:
        request: 1 to 63 characters of a-z, 0-9, `-` and `_`.
        number: from 1.
    """

    request: str
    number: int

    @property
    def name(self) -> str:
        """What derived keys begin with."""
        return f"{self.request}-{self.number}"

    @property
    def labels(self) -> dict[str, str]:
        """Labels of its job."""
        return {REQUEST: self.request, ATTEMPT: str(self.number)}


class VertexJobs:
    """Jobs of one kind in one project and location.

    Args:
        client: gapic's JobServiceClient.
        parent: `projects/<project>/locations/<location>`.
        kind: of the jobs.
    """

    def __init__(self, client: Any, parent: str, kind: JobKind = CUSTOM) -> None:
        self._client, self._parent, self._kind = client, parent, kind

    def find(self, request: str, usable: Callable[[Any], bool] = lambda _: True) -> tuple[Any, Attempt]:
        """The job of `request` that runs or succeeded, with its attempt; else None and the next attempt.

        Args:
            usable: whether what a succeeded job left is still there.

        Raises:
            JobFailedError: where the same request has failed too often.
        """
        jobs = self._labelled(request)
        for job in jobs:
            if not is_over(job) or (state_of(job) == "SUCCEEDED" and usable(job)):
                return job, Attempt(request, _number(job))
        number = max(map(_number, jobs), default=0) + 1
        if sum(state_of(job) != "SUCCEEDED" for job in jobs) >= _MOST_ATTEMPTS:
            raise JobFailedError(
                f"The same request failed {_MOST_ATTEMPTS} times.",
                where=f"Vertex AI {self._kind.words}s",
                mend="Look at the reason of the last one, and change the request.",
            )
        return None, Attempt(request, number)

    def create(self, attempt: Attempt, job: Any, bucket: GcsBucket, place: str) -> tuple[Any, bool]:
        """Create the attempt's job, and False; or take the one that another orchestrator created, and True.

        Of those that want the same attempt one creates it: the first to write `<place>/claim-1`. Where no job
        appears in a minute, its writer died; the next claim decides anew.

        Args:
            attempt: to make.
            job: aiplatform's message of the kind; gets the attempt's labels.
            bucket: for the claims.
            place: prefix of the attempt's keys.
        """
        owner = uuid.uuid4().hex
        job.labels.update(attempt.labels)
        for number in range(1, _MOST_ATTEMPTS):
            if bucket.claim(f"{place}/claim-{number}", owner):
                return self._create(attempt, job), False
            until = time.monotonic() + CLAIM_PATIENCE
            while time.monotonic() < until:
                if (found := self._of(attempt)) is not None:
                    return found, True
                time.sleep(_LOOK)
        raise JobFailedError("Its orchestrators keep dying.", where=place, mend="Look at their logs.")

    def wait(self, name: str, interval: float, look: Callable[[Any], None]) -> Any:
        """Wait for the end; `look` sees every description of the job. The last one is returned.

        A look that is refused for a while or finds no network is tried again for ten minutes.
        """
        while True:
            job = patiently(f"asking for {name}", lambda: self._call("get_{}", name=name))
            look(job)
            if is_over(job):
                return job
            time.sleep(interval)

    def cancel(self, name: str) -> None:
        """Ask the service to end the job; nothing happens where it is over."""
        from google.api_core.exceptions import BadRequest, NotFound

        try:
            self._call("cancel_{}", name=name)
        except (BadRequest, NotFound):  # FAILED_PRECONDITION travels as 400
            job = self._call("get_{}", name=name)
            if not is_over(job):
                raise

    def _create(self, attempt: Attempt, job: Any) -> Any:
        """Create; where it is not clear whether that worked, look before trying again."""

        def create() -> Any:
            made = {"parent": self._parent, self._kind.noun: job}
            return self._of(attempt) or self._call("create_{}", **made)

        return patiently(f"creating a {self._kind.words}", create)

    def _of(self, attempt: Attempt) -> Any:
        found = [job for job in self._labelled(attempt.request) if _number(job) == attempt.number]
        return found[0] if found else None

    def _labelled(self, request: str) -> list[Any]:
        asked = {"parent": self._parent, "filter": f'labels.{REQUEST}="{request}"'}
        doing = f"listing {self._kind.words}s"
        return patiently(doing, lambda: list(self._call("list_{}s", request=asked)))

    def _call(self, method: str, **arguments: Any) -> Any:
        return getattr(self._client, method.format(self._kind.noun))(**arguments)


def patiently(doing: str, call: Callable[[], Any]) -> Any:
    """The answer of `call`, made again for ten minutes while the service is away."""
    from google.api_core import exceptions
    from google.auth.exceptions import TransportError
    from requests.exceptions import ConnectionError as NoConnection
    from requests.exceptions import Timeout

    transient = (
        exceptions.ServerError,
        exceptions.TooManyRequests,
        exceptions.RetryError,
        TransportError,
        NoConnection,
        Timeout,
    )
    since, pause = time.monotonic(), 0.5
    while True:
        try:
            return call()
        except exceptions.MethodNotImplemented:
            raise
        except transient as error:
            if time.monotonic() - since > PATIENCE:
                raise
            _LOG.warning("%s: %s; trying again", doing, type(error).__name__)
            time.sleep(pause)
            pause = min(pause * 2, 30.0)


def state_of(job: Any) -> str:
    """The name of its state without the prefix: `QUEUED`, `PENDING`, `RUNNING`, `SUCCEEDED`, and so on."""
    return job.state.name.removeprefix("JOB_STATE_")


def is_over(job: Any) -> bool:
    """Whether nothing more happens to it."""
    return state_of(job) in _OVER


def end_of(job: Any) -> JobEnd:
    """How a job ended, by every state that the service has for it."""
    state, told = state_of(job), (job.error.message or "").strip()
    if state == "SUCCEEDED":
        return JobEnd("Completed")
    # Batch predictions have no limit of their own.
    limit = job.job_spec.scheduling.timeout if hasattr(job, "job_spec") else None
    if state == "EXPIRED" or (state == "CANCELLED" and limit and seconds_of(job) >= limit.total_seconds()):
        seconds = f" of {limit.total_seconds():g} s" if limit else ""
        return JobEnd("TimedOut", f"It took longer than its timeout{seconds}.")
    if state == "CANCELLED":
        return JobEnd("Stopped", "It was stopped by somebody, or by a cancelled run.")
    if state != "FAILED":
        return JobEnd("Failed", f"The job is in the unknown state {state!r}. {told}".strip())
    told = told or "The service gives no reason."
    if not job.start_time:
        told = f"It failed before its container started: {told}"
    return JobEnd("Failed", told, job.error.code in _RETRYABLE)


def seconds_of(job: Any) -> float:
    """Seconds from the container's start to the end; 0 where it never began."""
    if not job.start_time or not job.end_time:
        return 0.0
    return (job.end_time - job.start_time).total_seconds()


def machine_of(job: Any) -> str:
    """What the job ran on, as in `1 x n1-standard-4 + 2 x NVIDIA_TESLA_T4 (spot)`."""
    pool = job.job_spec.worker_pool_specs[0]
    machine = pool.machine_spec
    text = f"{pool.replica_count or 1} x {machine.machine_type}"
    if machine.accelerator_count:
        text += f" + {machine.accelerator_count} x {machine.accelerator_type.name}"
    return f"{text} (spot)" if job.job_spec.scheduling.strategy.name == "SPOT" else text


def console_of(name: str) -> str:
    """Link to the page of a job by its resource name."""
    _, project, _, location, collection, number = name.split("/")
    page = next(kind.page for kind in (CUSTOM, BATCH) if kind.collection == collection)
    return (
        f"https://console.cloud.google.com/vertex-ai/locations/{location}/{page}/{number}?project={project}"
    )


def labels_of(values: Mapping[str, str]) -> dict[str, str]:
    """Labels of what Google Cloud allows in them: 63 characters, lower case, few signs."""
    return {
        re.sub(r"[^a-z0-9_-]", "-", key.lower())[:63]: re.sub(r"[^a-z0-9_-]", "-", value.lower())[:63]
        for key, value in values.items()
    }


def _number(job: Any) -> int:
    text = job.labels.get(ATTEMPT, "")
    return int(text) if text.isdecimal() else 0
