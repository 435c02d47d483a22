"""What every trainer does whose jobs run elsewhere: find, follow, take what was left, publish it once.

Data goes from the store into the job and back, never through the orchestrator. What a platform adds is how
its service is asked for a job, and how one that runs is found again.
"""

from __future__ import annotations

import json
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlops_assets.artifacts.uri import check_key
from mlops_assets.errors import ArtifactError, JobFailedError, StorageError
from mlops_assets.pipes.remote_jobs import JobEnd
from mlops_assets.platforms.ports import JobRequest, JobResult, ObjectStore
from mlops_assets.platforms.repetition import repeated
from mlops_assets.runtime.container import REQUEST

if TYPE_CHECKING:
    import dagster as dg

    from mlops_assets.artifacts import ArtifactUri

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class JobPlace:
    """Where one request's jobs find and leave things; removed once the output is published.

    Attributes:
        root: `<store>/jobs/<model>/<digest>`.
    """

    root: ArtifactUri

    @property
    def request(self) -> ArtifactUri:
        """The channel `request`."""
        return self.root.join(REQUEST)

    @property
    def output(self) -> ArtifactUri:
        """What jobs leave, each in a folder of its own where the platform runs several."""
        return self.root.join("output")

    @property
    def checkpoints(self) -> ArtifactUri:
        """What an interrupted spot job goes on from."""
        return self.root.join("checkpoints")

    @property
    def pipes(self) -> ArtifactUri:
        """Context and messages."""
        return self.root.join("pipes")


@dataclass(frozen=True)
class EndedJob:
    """A job that was followed to its end.

    Attributes:
        title: how the service calls it, for people: `SageMaker job train-1`.
        console: link to its page.
        left: folder of `result.json` and `output/`, where it completed.
        end: how it ended.
        metadata: what a person wants to know: job, console, status, instance, billable_seconds, attached, and
            the metrics that the program reported.
    """

    title: str
    console: str
    left: ArtifactUri
    end: JobEnd
    metadata: Mapping[str, Any] = field(default_factory=dict)


class RemoteTrainer(ABC):
    """Runs the runtime's programs as jobs of a service.

    A job is known by what is asked, whoever asks: a run that starts while the job of another, even dead, one
    is still running attaches to it. A request whose output is published already is not run again.
    """

    # What a person can do where a job took too long.
    timeout_mend = "Raise training.timeout."

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def prepare(self) -> None:
        """Nothing: containers start elsewhere."""
        return

    def run(self, context: Any, request: JobRequest) -> JobResult:
        """Run to the end, attach to the job of the same request, or find its result.

        A forced request runs again and is compared; what was published before stays.

        Args:
            context: an execution context of Dagster, for logs and Pipes; None outside of a run.
            request: what to run.

        Raises:
            JobFailedError: with the reason that the program or the service gave, and the job's link.
            ArtifactError: where an input is not there.
        """
        log: logging.Logger = context.log if hasattr(context, "log") else _LOG
        before = self._store.published(request.output)
        if before is not None and not request.force:
            log.info(f"{request.program} {request.name}: found the output of the same request")
            return JobResult(request.output, before, self._recall(request), {"reused": True})
        self._check_inputs(request)
        started = time.monotonic()
        place = JobPlace(self._store.root.join("jobs", request.name, request.digest))
        job = self._follow(context, request, place, log.info)
        if job.end.status != "Completed":
            raise self._failure(request, job)
        metadata = dict(job.metadata)
        if request.force:
            metadata |= repeated(request, before, self._made(job.left), log.warning)
        files = self._take(request, job) if before is None else before
        self._store.delete(place.root)
        metadata |= {"reused": False, "seconds": round(time.monotonic() - started, 3)}
        return JobResult(request.output, files, self._recall(request), metadata)

    @abstractmethod
    def _follow(
        self, context: Any, request: JobRequest, place: JobPlace, report: Callable[[str], None]
    ) -> EndedJob:
        """Create the request's job, or attach to it, and follow it to its end.

        Before creating one, `_write_request` lays out what it is asked.
        """

    def _write_request(self, request: JobRequest, place: JobPlace) -> None:
        """What the container's first process reads; files first, so that a whole request names them all."""
        for name, text in request.code.items():
            self._store.write(place.request.join("code", check_key(name)), text.encode())
        asked = {
            "program": request.program,
            "arguments": dict(request.arguments),
            "channels": sorted(request.inputs),
        }
        self._store.write(place.request.join("request.json"), json.dumps(asked, sort_keys=True).encode())

    def _has_result(self, left: ArtifactUri) -> bool:
        """Whether what a completed job left is still there."""
        return self._store.head(left.join("result.json")) is not None

    def _take(self, request: JobRequest, job: EndedJob) -> Mapping[str, str]:
        """Publish what the job left; of two orchestrators that followed it, one does."""
        try:
            result = self._store.read(job.left.join("result.json"))
            self._store.write(self._record(request), result)
            self._store.publish(job.left.join("output"), request.output)
        except (ArtifactError, StorageError) as error:  # the other one, done, removes what is being read here
            if self._store.published(request.output) is None:
                if isinstance(error, StorageError):
                    raise
                raise JobFailedError(
                    "The job completed without a result.", where=job.console, mend="Run it again."
                ) from None
        files = self._store.published(request.output)
        if files is None:
            raise JobFailedError(
                "The job's output was not published.", where=str(request.output), mend="Run it again."
            )
        return files

    def _made(self, left: ArtifactUri) -> dict[str, str]:
        """File name -> SHA-256 of what a job made and nobody has published."""
        output = left.join("output")
        return {output.relative(info.uri): self._store.digest(info.uri) for info in self._store.list(output)}

    def _failure(self, request: JobRequest, job: EndedJob) -> JobFailedError:
        what, _, mend = job.end.reason.partition(" Mend: ")
        where = f"{request.program} {request.name} ({job.title}: {job.end.status})"
        if job.end.status == "TimedOut":
            mend = self.timeout_mend
        return JobFailedError(what, where=where, mend=f"{mend} " * bool(mend) + f"See {job.console}")

    def _check_inputs(self, request: JobRequest) -> None:
        for channel, uri in request.inputs.items():
            if next(iter(self._store.list(uri, limit=1)), None) is None:
                raise ArtifactError(
                    f"The input {channel!r} is not there.",
                    where=str(uri),
                    mend="Materialise the asset that writes it.",
                )

    def _record(self, request: JobRequest) -> ArtifactUri:
        return self._store.root.join("jobs", request.name, f"{request.digest}.json")

    def _recall(self, request: JobRequest) -> Mapping[str, Any]:
        if self._store.head(self._record(request)) is None:
            return {}
        return json.loads(self._store.read(self._record(request)))


def reported_metrics(session: dg.PipesSession) -> dict[str, Any]:
    """The metrics that a program reported over Pipes, by title."""
    reported = [message["metrics"] for message in session.get_custom_messages() if "metrics" in message]
    return {str(item["title"]): item["values"] for item in reported}
