"""Dagster Pipes on Vertex AI: custom jobs that survive their orchestrator."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import dagster as dg

from mlops_assets.pipes import vertex_logs
from mlops_assets.pipes.contexts import identity_of, step_of
from mlops_assets.pipes.following import Following
from mlops_assets.pipes.gcs_bucket import GcsBucket
from mlops_assets.pipes.remote_jobs import JobEnd, request_digest
from mlops_assets.pipes.stored_messages import StoredContextInjector, StoredMessageReader
from mlops_assets.pipes.vertex_jobs import (
    Attempt,
    VertexJobs,
    console_of,
    end_of,
    labels_of,
    machine_of,
    seconds_of,
    state_of,
)

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"


@dataclass(frozen=True)
class FinishedJob:
    """A job that was followed to its end.

    Attributes:
        job: aiplatform's CustomJob.
        attached: it was there already.
        tail: the end of its log.
    """

    job: Any
    attached: bool
    tail: tuple[str, ...]

    @property
    def end(self) -> JobEnd:
        """How it ended."""
        return end_of(self.job)

    @property
    def metadata(self) -> dict[str, Any]:
        """What a person wants to know of it."""
        return {
            "vertex/job": self.job.name,
            "vertex/console": dg.MetadataValue.url(console_of(self.job.name)),
            "vertex/status": self.end.status,
            "vertex/instance": machine_of(self.job),
            "vertex/billable_seconds": seconds_of(self.job),
            "vertex/attached": self.attached,
        }


class PipesVertexClient(dg.PipesClient):
    """Runs a custom job on Vertex AI and streams its logs, metrics and results into Dagster.

    What is asked, with the root run, step and partition, is a label of the job. After the orchestrator died,
    the same work under the same root run (a retry, a re-execution) attaches to the job that still runs, or
    takes the one that succeeded; one that failed or was stopped is followed by the next attempt. A cancelled
    run cancels its job. Messages travel over Cloud Storage below `prefix`, where they stay; the job opens
    Pipes with `PipesGCSContextLoader` and `PipesGCSMessageWriter`.

    Args:
        project: of the jobs.
        location: of the jobs, as in `europe-west4`.
        bucket: for context and messages.
        prefix: of their keys.
        jobs: aiplatform_v1's JobServiceClient; default: made from the environment's credentials. So `storage`
            (google-cloud-storage's Client) and `session` (google-auth's AuthorizedSession, for the log).
        logging_url: of Cloud Logging.
        poll_interval: seconds between two looks at the job, its messages and its log.
        forward_termination: cancel the job when the run is cancelled.
    """

    def __init__(
        self,
        *,
        project: str,
        location: str,
        bucket: str,
        prefix: str = "dagster-pipes",
        jobs: Any = None,
        storage: Any = None,
        session: Any = None,
        logging_url: str = vertex_logs.URL,
        poll_interval: float = 10.0,
        forward_termination: bool = True,
    ) -> None:
        self._jobs = VertexJobs(jobs or _jobs(location), f"projects/{project}/locations/{location}")
        self._bucket, self._prefix = GcsBucket(storage or _storage(project), bucket), prefix.strip("/")
        self._session, self._logging_url = session or _session(), logging_url
        self._interval, self._forward = poll_interval, forward_termination

    @property
    def jobs(self) -> VertexJobs:
        """The custom jobs of the project and location."""
        return self._jobs

    def run(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        *,
        context: dg.OpExecutionContext | dg.AssetExecutionContext,
        job: Mapping[str, Any],
        identity: str | None = None,
        extras: dict[str, Any] | None = None,
    ) -> dg.PipesClientCompletedInvocation:
        """Run the job to its end, or attach to it.

        Args:
            context: of the op or asset that runs.
            job: a CustomJob of aiplatform_v1 as a dictionary: `job_spec` with its `worker_pool_specs`
                (containers or Python packages), machines and accelerators, `scheduling` (timeout, spot).
                `display_name` defaults to the step's key.
            identity: what, beside the job, makes it the same work. Default: root run, step and partition.
            extras: for the job's Pipes context.

        Returns:
            The invocation, with the job's name, link, machine and seconds as metadata.

        Raises:
            Failure: where the job did not succeed: its reason, the end of its log and the metadata.
        """
        asked = {"display_name": step_of(context)[:128], **job}
        request = request_digest(asked, identity_of(context) if identity is None else identity)[:40]
        found, attempt = self._jobs.find(request)
        finished, session = self.follow_in_session(context, found, attempt, asked, extras=extras)
        if finished.end.status != "Completed":
            raise dg.Failure(
                f"Vertex AI job {finished.job.name}: {finished.end.status}. {finished.end.reason}",
                metadata={
                    **finished.metadata,
                    "vertex/failure_reason": finished.end.reason,
                    "vertex/log_tail": dg.MetadataValue.md("```\n" + "\n".join(finished.tail) + "\n```"),
                },
                allow_retries=finished.end.retryable,
            )
        return dg.PipesClientCompletedInvocation(session, metadata=finished.metadata)

    def follow_in_session(
        self,
        context: dg.OpExecutionContext | dg.AssetExecutionContext,
        found: Any,
        attempt: Attempt,
        asked: Mapping[str, Any],
        *,
        extras: dict[str, Any] | None = None,
    ) -> tuple[FinishedJob, dg.PipesSession]:
        """Create the attempt's job or attach to `found`, in a Pipes session of its own keys, to its end."""
        place = self._place(attempt)
        with dg.open_pipes_session(
            context=context,
            context_injector=StoredContextInjector(self._bucket, f"{place}/context.json"),
            message_reader=StoredMessageReader(self._bucket, f"{place}/messages", interval=self._interval),
            extras=extras,
        ) as session:
            finished = self.follow(
                found,
                attempt,
                asked,
                report=context.log.info,
                environment=session.get_bootstrap_env_vars(),
                labels=labels_of(session.default_remote_invocation_info),
            )
        return finished, session

    def follow(
        self,
        found: Any,
        attempt: Attempt,
        asked: Mapping[str, Any],
        *,
        report: Callable[[str], None],
        environment: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> FinishedJob:
        """Create the attempt's job or attach to `found`, and follow it to its end; its lines are printed.

        Args:
            found: the job that is there already, or None.
            attempt: what to create otherwise.
            asked: a CustomJob as a dictionary.
            report: gets what happens to the job.
            environment: for every container, beside its own.
            labels: of the job, beside its own.
        """
        job, attached = found, True
        if job is None:
            made = _custom_job(asked, environment or {}, labels or {})
            job, attached = self._jobs.create(attempt, made, self._bucket, self._place(attempt))
        name = job.name
        log = vertex_logs.LogTail(self._session, name, self._logging_url)
        following = Following(f"Vertex AI job {name}", console_of(name), log.lines, report)
        following.begin(attached=attached)
        states: list[str] = []

        def look(seen: Any) -> None:
            if state_of(seen) not in states[-1:]:
                states.append(state_of(seen))
            following.look(states)

        with following.stopping(lambda: self._jobs.cancel(name)) if self._forward else nullcontext():
            job = self._jobs.wait(name, self._interval, look)
        following.look(states)
        return FinishedJob(job, attached, tuple(following.tail))

    def _place(self, attempt: Attempt) -> str:
        return f"{self._prefix}/{attempt.name}"


def _custom_job(asked: Mapping[str, Any], environment: Mapping[str, str], labels: Mapping[str, str]) -> Any:
    """The message of what is asked, with more environment and labels; `asked` stays as it is."""
    from google.cloud.aiplatform_v1 import CustomJob

    job: Any = CustomJob(asked)
    job.labels.update(labels)
    for pool in job.job_spec.worker_pool_specs:
        program = pool.python_package_spec if "python_package_spec" in pool else pool.container_spec
        program.env.extend([{"name": name, "value": value} for name, value in environment.items()])
    return job


def _jobs(location: str) -> Any:
    from google.cloud.aiplatform_v1 import JobServiceClient

    return JobServiceClient(
        transport="rest", client_options={"api_endpoint": f"{location}-aiplatform.googleapis.com"}
    )


def _storage(project: str) -> Any:
    from google.cloud import storage

    return storage.Client(project=project)


def _session() -> Any:
    import google.auth
    from google.auth.transport.requests import AuthorizedSession

    credentials, _ = google.auth.default(scopes=[_SCOPE])
    return AuthorizedSession(credentials)
