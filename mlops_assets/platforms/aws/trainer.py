"""The trainer on SageMaker: training as a training job, evaluation as a processing job, data by S3 prefix."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlops_assets.errors import JobFailedError
from mlops_assets.pipes.contexts import running_context
from mlops_assets.pipes.sagemaker import FinishedJob, PipesSageMakerClient
from mlops_assets.pipes.sagemaker_jobs import find, job_names
from mlops_assets.pipes.sagemaker_limits import PROCESSING, TRAINING, tags_of
from mlops_assets.platforms.aws.client import client, speaking
from mlops_assets.platforms.aws.job_requests import left_by, processing_request, training_request
from mlops_assets.platforms.aws.object_store import S3ObjectStore
from mlops_assets.platforms.aws.settings import AwsSettings
from mlops_assets.platforms.ports import JobRequest
from mlops_assets.platforms.remote_trainer import EndedJob, JobPlace, RemoteTrainer, reported_metrics

_KINDS = {"train": (TRAINING, training_request), "evaluate": (PROCESSING, processing_request)}


class SageMakerTrainer(RemoteTrainer):
    """Runs the runtime's programs as SageMaker jobs, named by what is asked."""

    timeout_mend = "Raise training.timeout, or MLOPS_AWS_SPOT_WAIT for spot instances."

    def __init__(self, store: S3ObjectStore, aws: AwsSettings) -> None:
        super().__init__(store)
        self._aws = aws
        self._sagemaker = client("sagemaker", aws.region)

    def _follow(
        self, context: Any, request: JobRequest, place: JobPlace, report: Callable[[str], None]
    ) -> EndedJob:
        with speaking(f"{request.program} {request.name}", JobFailedError):
            finished, metrics = self._followed(context, request, place, report)
        job = finished.job
        said = {name.removeprefix("sagemaker/"): value for name, value in finished.metadata.items()}
        return EndedJob(
            f"SageMaker job {job.name}", job.console, left_by(job, place), finished.end, {**said, **metrics}
        )

    def _followed(
        self, context: Any, request: JobRequest, place: JobPlace, report: Callable[[str], None]
    ) -> tuple[FinishedJob, dict[str, Any]]:
        """The job at its end, and the metrics it reported."""
        kind, requested = _KINDS[request.program]
        asked = requested(self._aws, request, place)
        names = job_names(f"{request.program}-{request.name}", asked, request.digest)
        job, attached = find(
            self._sagemaker, kind, names, usable=lambda job: self._has_result(left_by(job, place))
        )
        if not attached:
            self._write_request(request, place)
            asked["Tags"] = tags_of(
                {"mlops-assets/model": request.name, "mlops-assets/request": request.digest}
            )
        pipes = PipesSageMakerClient(
            bucket=self._store.root.bucket,
            prefix=place.pipes.key,
            sagemaker=self._sagemaker,
            s3=client("s3", self._aws.region),
            logs=client("logs", self._aws.region),
            poll_interval=self._aws.poll_interval,
        )
        inner = running_context(context)
        if inner is None:
            return pipes.follow(job, asked, attached=attached, report=report), {}
        finished, session = pipes.follow_in_session(inner, job, asked, attached=attached)
        return finished, reported_metrics(session)
