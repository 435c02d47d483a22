"""SageMaker's training and processing jobs: create, describe, list, stop, with the service's own refusals."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock, RLock, Thread
from typing import Any, ClassVar

from moto.core.responses import ActionResult, BaseResponse, EmptyResult
from moto.sagemaker.exceptions import ResourceInUseException, ValidationError

from mlops_assets_tests.standins.aws.container import Order
from mlops_assets_tests.standins.aws.limits import PROCESSING, TRAINING, TRANSFORM, Kind, check

ACCOUNT = "123456789012"
TERMINAL = ("Completed", "Failed", "Stopped")


def now() -> datetime:
    """The time that the service stamps."""
    return datetime.now(UTC)


class Job:
    """One job: what Describe answers, and the order that its runner is to obey."""

    def __init__(self, kind: Kind, request: Mapping[str, Any], region: str) -> None:
        self.kind = kind
        self.name: str = request[kind.name]
        self.order: Order | None = None
        self._lock = RLock()
        self._description: dict[str, Any] = {
            **copy.deepcopy(dict(request)),
            kind.arn: f"arn:aws:sagemaker:{region}:{ACCOUNT}:{kind.noun}/{self.name}",
            kind.status: "InProgress",
            "CreationTime": now(),
            "LastModifiedTime": now(),
        }
        self._description.pop("Tags", None)

    @property
    def status(self) -> str:
        """`InProgress`, `Stopping` or a terminal one."""
        with self._lock:
            return self._description[self.kind.status]

    def update(self, **fields: Any) -> None:
        """Change what Describe answers."""
        with self._lock:
            self._description |= {**fields, "LastModifiedTime": now()}

    def secondary(self, status: str, message: str = "") -> None:
        """A training job's next step; the one before ends."""
        with self._lock:
            steps = self._description.setdefault("SecondaryStatusTransitions", [])
            if steps:
                steps[-1].setdefault("EndTime", now())
            steps.append({"Status": status, "StartTime": now(), "StatusMessage": message})
            self.update(SecondaryStatus=status)

    def stop(self) -> None:
        """Order the end, as StopTrainingJob does."""
        with self._lock:
            if self.status != "InProgress":
                raise ValidationError(message=self.kind.not_running.format(status=self.status))
            self.update(**{self.kind.status: "Stopping"})
            if self.kind is TRAINING:
                self.secondary("Stopping", "Stopping the training job")
            self.order = "stop"

    def describe(self) -> dict[str, Any]:
        """A copy of the description."""
        with self._lock:
            return copy.deepcopy(self._description)


class Jobs:
    """Every job of one server.

    Args:
        folder: where the jobs' /opt/ml folders lie.
        region: of the ARNs.
        run: runs one job to its end, in a thread of its own.
    """

    def __init__(self, folder: Path, region: str, run: Callable[[Job, Path], None]) -> None:
        self._folder, self._region, self._run = folder, region, run
        self._jobs: dict[tuple[Kind, str], Job] = {}
        self._threads: list[Thread] = []
        self._lock = Lock()

    def create(self, kind: Kind, request: Mapping[str, Any]) -> Job:
        """Check and start; a name is used once."""
        check(kind, request)
        with self._lock:
            name = request[kind.name]
            if (kind, name) in self._jobs:
                raise ResourceInUseException(
                    f"Job name must be unique within an AWS account and region, and a {kind.prefix.lower()} "
                    f"job with this name already exists ({self._jobs[kind, name].describe()[kind.arn]})"
                )
            job = self._jobs[kind, name] = Job(kind, request, self._region)
            if kind is TRAINING:
                job.secondary("Starting", "Starting the training job")
            thread = Thread(target=self._run, args=(job, self._folder / kind.noun / name), daemon=True)
            self._threads.append(thread)
            thread.start()
        return job

    def get(self, kind: Kind, name: str) -> Job:
        """The job; the service's own error where there is none."""
        try:
            return self._jobs[kind, name]
        except KeyError:
            raise ValidationError(message=kind.not_found.format(name=name)) from None

    def of(self, kind: Kind) -> list[Job]:
        """Every job, oldest first."""
        with self._lock:
            return [job for (its, _), job in self._jobs.items() if its is kind]

    def interrupt(self, name: str) -> None:
        """Take the spot instance of a training job away; the service starts it again."""
        self.get(TRAINING, name).order = "interrupt"

    def close(self) -> None:
        """End what still runs and wait for it."""
        for job in list(self._jobs.values()):
            job.order = job.order or "stop"
        for thread in self._threads:
            thread.join()


class JobOperations(BaseResponse):
    """The operations, one method each, as moto's dispatcher calls them."""

    jobs: ClassVar[Jobs]

    def create_training_job(self) -> ActionResult:
        """CreateTrainingJob."""
        return self._create(TRAINING)

    def create_processing_job(self) -> ActionResult:
        """CreateProcessingJob."""
        return self._create(PROCESSING)

    def describe_training_job(self) -> ActionResult:
        """DescribeTrainingJob."""
        return self._describe(TRAINING)

    def describe_processing_job(self) -> ActionResult:
        """DescribeProcessingJob."""
        return self._describe(PROCESSING)

    def create_transform_job(self) -> ActionResult:
        """CreateTransformJob."""
        return self._create(TRANSFORM)

    def describe_transform_job(self) -> ActionResult:
        """DescribeTransformJob."""
        return self._describe(TRANSFORM)

    def list_transform_jobs(self) -> ActionResult:
        """ListTransformJobs."""
        return self._list(TRANSFORM)

    def stop_transform_job(self) -> ActionResult:
        """StopTransformJob."""
        return self._stop(TRANSFORM)

    def list_training_jobs(self) -> ActionResult:
        """ListTrainingJobs."""
        return self._list(TRAINING)

    def list_processing_jobs(self) -> ActionResult:
        """ListProcessingJobs."""
        return self._list(PROCESSING)

    def stop_training_job(self) -> ActionResult:
        """StopTrainingJob."""
        return self._stop(TRAINING)

    def stop_processing_job(self) -> ActionResult:
        """StopProcessingJob."""
        return self._stop(PROCESSING)

    def _create(self, kind: Kind) -> ActionResult:
        job = self.jobs.create(kind, self.params)
        arn = job.describe()[kind.arn]
        self.keep_tags(arn, self.params.get("Tags") or [])
        return ActionResult({kind.arn: arn})

    def _describe(self, kind: Kind) -> ActionResult:
        return ActionResult(self.jobs.get(kind, self.params[kind.name]).describe())

    def _list(self, kind: Kind) -> ActionResult:
        contains, status = self.params.get("NameContains", ""), self.params.get("StatusEquals")
        found = [job.describe() for job in reversed(self.jobs.of(kind))]
        kept = [job for job in found if contains in job[kind.name] and status in (None, job[kind.status])]
        fields = (kind.name, kind.arn, "CreationTime", "LastModifiedTime", kind.status)
        summaries = [{field: job[field] for field in fields} for job in kept]
        return ActionResult({f"{kind.prefix}JobSummaries": summaries[: self.params.get("MaxResults", 100)]})

    def _stop(self, kind: Kind) -> ActionResult:
        self.jobs.get(kind, self.params[kind.name]).stop()
        return EmptyResult()

    def keep_tags(self, arn: str, tags: list[dict[str, str]]) -> None:
        """Set tags of a resource; `TagOperations` does."""
        raise NotImplementedError
