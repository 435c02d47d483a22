"""Dagster Pipes on SageMaker: training and processing jobs that survive their orchestrator."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import dagster as dg

from mlops_assets.pipes.contexts import identity_of, step_of
from mlops_assets.pipes.following import Following
from mlops_assets.pipes.remote_jobs import JobEnd
from mlops_assets.pipes.s3_bucket import S3Bucket
from mlops_assets.pipes.sagemaker_jobs import (
    SageMakerJob,
    end_of,
    find,
    instance_of,
    job_names,
    seconds_of,
)
from mlops_assets.pipes.sagemaker_limits import PROCESSING, TRAINING, tags_of
from mlops_assets.pipes.sagemaker_logs import LogTail
from mlops_assets.pipes.stored_messages import StoredContextInjector, StoredMessageReader

KINDS = {"training": TRAINING, "processing": PROCESSING}


@dataclass(frozen=True)
class FinishedJob:
    """A job that was followed to its end."""

    job: SageMakerJob
    description: Mapping[str, Any]
    attached: bool
    tail: tuple[str, ...]

    @property
    def end(self) -> JobEnd:
        """How it ended."""
        return end_of(self.job.kind, self.description)

    @property
    def metadata(self) -> dict[str, Any]:
        """What a person wants to know of it."""
        return {
            "sagemaker/job": self.job.name,
            "sagemaker/console": dg.MetadataValue.url(self.job.console),
            "sagemaker/status": self.end.status,
            "sagemaker/instance": instance_of(self.description),
            "sagemaker/billable_seconds": seconds_of(self.job.kind, self.description),
            "sagemaker/attached": self.attached,
        }


class PipesSageMakerClient(dg.PipesClient):
    """Runs a SageMaker job and streams its logs, metrics and results into Dagster.

    The job's name is derived from its request and from the root run, step and partition. After the
    orchestrator died, the same work under the same root run (a retry, a re-execution) attaches to the job
    that still runs, or takes the one that completed; one that failed or was stopped is followed by the next
    attempt. A cancelled run stops its job. Messages travel over S3 below `prefix`, where they stay; the job
    opens Pipes with `PipesS3ContextLoader` and `PipesS3MessageWriter`.

    Args:
        bucket: for context and messages.
        prefix: of their keys.
        sagemaker: boto3 client; so `s3` and `logs`. Default: made from the environment.
        poll_interval: seconds between two looks at the job, its messages and its log.
        forward_termination: stop the job when the run is cancelled.
    """

    def __init__(
        self,
        *,
        bucket: str,
        prefix: str = "dagster-pipes",
        sagemaker: Any = None,
        s3: Any = None,
        logs: Any = None,
        poll_interval: float = 10.0,
        forward_termination: bool = True,
    ) -> None:
        import boto3

        self._bucket = S3Bucket(s3 or boto3.client("s3"), bucket)
        self._prefix = prefix.strip("/")
        self._sagemaker = sagemaker or boto3.client("sagemaker")
        self._logs = logs or boto3.client("logs")
        self._interval, self._forward = poll_interval, forward_termination

    def run(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        *,
        context: dg.OpExecutionContext | dg.AssetExecutionContext,
        request: Mapping[str, Any],
        kind: Literal["training", "processing"] = "training",
        base_name: str | None = None,
        identity: str | None = None,
        extras: dict[str, Any] | None = None,
    ) -> dg.PipesClientCompletedInvocation:
        """Run the job to its end, or attach to it.

        Args:
            context: of the op or asset that runs.
            request: parameters of boto3's `create_training_job` or `create_processing_job`, without a name.
            kind: of the job.
            base_name: how the job's name begins. Default: the step's key.
            identity: what, beside the request, makes it the same work. Default: root run, step and partition.
            extras: for the job's Pipes context.

        Returns:
            The invocation, with the job's name, link, instance and billable seconds as metadata.

        Raises:
            Failure: where the job did not complete: its reason, the end of its log and the metadata.
        """
        names = job_names(
            base_name or step_of(context), request, identity_of(context) if identity is None else identity
        )
        job, attached = find(self._sagemaker, KINDS[kind], names)
        finished, session = self.follow_in_session(context, job, request, attached=attached, extras=extras)
        if finished.end.status != "Completed":
            raise dg.Failure(
                f"SageMaker {kind} job {job.name}: {finished.end.status}. {finished.end.reason}",
                metadata={
                    **finished.metadata,
                    "sagemaker/failure_reason": finished.end.reason,
                    "sagemaker/log_tail": dg.MetadataValue.md("```\n" + "\n".join(finished.tail) + "\n```"),
                },
                allow_retries=finished.end.retryable,
            )
        return dg.PipesClientCompletedInvocation(session, metadata=finished.metadata)

    def follow_in_session(
        self,
        context: dg.OpExecutionContext | dg.AssetExecutionContext,
        job: SageMakerJob,
        request: Mapping[str, Any],
        *,
        attached: bool,
        extras: dict[str, Any] | None = None,
    ) -> tuple[FinishedJob, dg.PipesSession]:
        """Create or attach to `job` in a Pipes session of the job's own keys, and follow it to its end."""
        place = f"{self._prefix}/{job.name}"
        with dg.open_pipes_session(
            context=context,
            context_injector=StoredContextInjector(self._bucket, f"{place}/context.json"),
            message_reader=StoredMessageReader(self._bucket, f"{place}/messages", interval=self._interval),
            extras=extras,
        ) as session:
            asked = {
                **request,
                "Environment": {**(request.get("Environment") or {}), **session.get_bootstrap_env_vars()},
                "Tags": [*(request.get("Tags") or []), *tags_of(session.default_remote_invocation_info)],
            }
            finished = self.follow(job, asked, attached=attached, report=context.log.info)
        return finished, session

    def follow(
        self, job: SageMakerJob, request: Mapping[str, Any], *, attached: bool, report: Callable[[str], None]
    ) -> FinishedJob:
        """Create or attach to `job` and follow it to its end, without Pipes; its lines are printed."""
        attached = attached or not job.create(request)
        log = LogTail(self._logs, job.kind.log_group, job.name)
        following = Following(f"SageMaker job {job.name}", job.console, log.lines, report)
        following.begin(attached=attached)
        with following.stopping(job.stop) if self._forward else nullcontext():
            description = job.wait(self._interval, lambda seen: following.look(_steps(seen)))
        following.look(_steps(description))
        return FinishedJob(job, description, attached, tuple(following.tail))


def _steps(description: Mapping[str, Any]) -> list[str]:
    """What a training job went through so far."""
    steps = description.get("SecondaryStatusTransitions", [])
    return [f"{step['Status']} {step.get('StatusMessage', '')}".rstrip() for step in steps]
