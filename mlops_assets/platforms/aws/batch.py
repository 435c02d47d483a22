"""Batch scoring on SageMaker: a transform job from one object of the store to another."""

from __future__ import annotations

import logging
from typing import Any

from mlops_assets.artifacts import ArtifactUri, ModelVersion, digest_of
from mlops_assets.errors import ArtifactError, DataError, JobFailedError
from mlops_assets.pipes.sagemaker_jobs import SageMakerJob, end_of, find, job_names
from mlops_assets.pipes.sagemaker_limits import TRANSFORM, tags_of
from mlops_assets.pipes.sagemaker_logs import LogTail
from mlops_assets.platforms.aws.client import client, speaking
from mlops_assets.platforms.aws.endpoint_requests import plan
from mlops_assets.platforms.aws.hosted_endpoint import made
from mlops_assets.platforms.aws.job_requests import encrypted
from mlops_assets.platforms.aws.object_store import S3ObjectStore
from mlops_assets.platforms.aws.settings import AwsSettings
from mlops_assets.runtime.job_environment import redacted
from mlops_assets.settings import Settings

_LOG = logging.getLogger(__name__)
_TYPES = {".csv": "text/csv", ".jsonl": "application/jsonlines", ".ndjson": "application/jsonlines"}
_MEGABYTES = 5  # of one request: below what a model server reads, 6 MiB


class SageMakerBatchScorer:
    """Scores objects below the store's root; the same request attaches to its job while that runs.

    A CSV file has a header and the model's features in their order; its rows come back with the predictions
    as further columns. A JSON line comes back with its prediction as `SageMakerOutput`, as SageMaker joins
    them. Data never passes through this process.
    """

    def __init__(self, settings: Settings, store: S3ObjectStore, aws: AwsSettings) -> None:
        self._settings, self._store, self._aws = settings, store, aws
        self._sagemaker = client("sagemaker", aws.region)

    def score(self, version: ModelVersion, data: ArtifactUri, out: ArtifactUri) -> None:
        """Score `data` to `out`, which is there when it is complete.

        Raises:
            DataError: for formats that a transform job does not read line by line.
            ArtifactError: where there is no such object.
            JobFailedError: with what the model's server said.
        """
        kind = _kind(data, out)
        info = self._store.head(data)
        if info is None:
            raise ArtifactError("There is no such object.", where=str(data), mend="Name another one.")
        asked = plan(self._settings, self._aws, version, version.model)
        identity = digest_of([str(data), info.version])
        left = self._store.root.join("staging", "scoring", identity[:16])
        request = self._request(asked.model["ModelName"], kind, data, left)
        result = left.join(f"{data.name}.out")
        with speaking(f"scoring with {version.model} {version.version}", JobFailedError):
            made(lambda: self._sagemaker.create_model(**asked.model))
            names = job_names(f"score-{version.model}", request, identity)
            job, attached = find(
                self._sagemaker, TRANSFORM, names, usable=lambda _: self._store.head(result) is not None
            )
            if not attached:
                job.create({**request, "Tags": tags_of({"mlops-assets/model": version.model})})
            self._follow(job)
        self._store.copy(result, out)
        self._store.delete(left)

    def _request(self, model: str, kind: str, data: ArtifactUri, left: ArtifactUri) -> dict[str, Any]:
        source = {"S3DataType": "S3Prefix", "S3Uri": str(data)}
        return {
            "ModelName": model,
            "BatchStrategy": "MultiRecord",
            "MaxPayloadInMB": _MEGABYTES,
            "TransformInput": {
                "DataSource": {"S3DataSource": source},
                "ContentType": kind,
                "SplitType": "Line",
            },
            "TransformOutput": {
                "S3OutputPath": str(left),
                "Accept": kind,
                "AssembleWith": "Line",
                **encrypted(self._aws, "KmsKeyId"),
            },
            "TransformResources": {
                "InstanceType": self._aws.processing_instance,
                "InstanceCount": 1,
                **encrypted(self._aws, "VolumeKmsKeyId"),
            },
            "DataProcessing": {"JoinSource": "Input"},
        }

    def _follow(self, job: SageMakerJob) -> None:
        """Wait for the end; whoever interrupts this stops the job."""
        log = LogTail(client("logs", self._aws.region), TRANSFORM.log_group, job.name)
        _LOG.info("scoring: %s", job.console)
        try:
            end = end_of(TRANSFORM, job.wait(self._aws.poll_interval, lambda _: None))
        except (KeyboardInterrupt, SystemExit):
            job.stop()
            raise
        if end.status != "Completed":
            lines = redacted("\n".join(log.lines()[-20:]))
            raise JobFailedError(
                f"{end.reason}\nIts log ends:\n{lines}",
                where=f"SageMaker job {job.name}: {end.status}",
                mend=f"Mend what the log names, then run it again. See {job.console}",
            )


def _kind(data: ArtifactUri, out: ArtifactUri) -> str:
    suffix = f".{data.name.rpartition('.')[2]}"
    if suffix not in _TYPES or not out.name.endswith(suffix):
        raise DataError(
            "A transform job reads and writes CSV or JSON lines, one format for both.",
            where=f"{data} to {out}",
            mend=f"Name two objects that end in one of {', '.join(_TYPES)}.",
        )
    return _TYPES[suffix]
