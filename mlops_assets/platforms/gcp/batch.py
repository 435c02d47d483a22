"""Batch scoring on Vertex AI: a batch prediction job from one object of the store to another."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_assets.artifacts import ArtifactUri, ModelVersion, digest_of
from mlops_assets.errors import ArtifactError, DataError, JobFailedError, SignatureError
from mlops_assets.pipes.gcs_bucket import GcsBucket
from mlops_assets.pipes.remote_jobs import request_digest
from mlops_assets.pipes.vertex_jobs import (
    BATCH,
    VertexJobs,
    console_of,
    end_of,
    labels_of,
    state_of,
)
from mlops_assets.platforms.gcp.batch_rows import KEY, read_predictions, write_instances, write_scored
from mlops_assets.platforms.gcp.client import speaking, storage_client
from mlops_assets.platforms.gcp.model_messages import model_message
from mlops_assets.platforms.gcp.model_versions import ModelVersions
from mlops_assets.platforms.gcp.vertex_client import place_of
from mlops_assets.runtime.job_environment import redacted

if TYPE_CHECKING:
    from mlops_assets.platforms.gcp.settings import GcpSettings
    from mlops_assets.platforms.gcp.vertex_settings import VertexSettings
    from mlops_assets.platforms.ports import ObjectStore
    from mlops_assets.settings import Settings

_LOG = logging.getLogger(__name__)
_INSTANCES = "instances.jsonl"
_AT_ONCE = 256  # instances of one request: wide rows stay below what a model server reads, 6 MiB
# How the files' names begin: as custom containers' are in fact, and as the API's reference has them.
_RESULTS, _ERRORS = ("prediction.results", "predictions_"), ("prediction.errors", "errors_")
_QUOTED = 1_000


class VertexBatchScorer:
    """Scores objects below the store's root; the same request attaches to its job while that runs.

    Formats, rows and columns are those of scoring files: a job would want text in a CSV file quoted, and
    answers in no order. So the model's features are sent to it, with each row's number, and its predictions
    are put beside the rows on this machine.
    """

    def __init__(
        self, settings: Settings, store: ObjectStore, gcp: GcpSettings, vertex: VertexSettings
    ) -> None:
        self._settings, self._store, self._gcp, self._vertex = settings, store, gcp, vertex
        self._place = place_of(gcp, vertex)
        self._models = ModelVersions(self._place, store.root)

    def score(self, version: ModelVersion, data: ArtifactUri, out: ArtifactUri) -> None:
        """Score `data` to `out`, which is there when it is complete.

        Raises:
            DataError, SignatureError: naming row and column of what does not fit, before a job starts.
            ArtifactError: where there is no such object, or the version's files are not the registered ones.
            JobFailedError: with what the service, or the model's server, said; also where any row failed.
        """
        from mlops_assets.runtime.model import SIGNATURE_FILE, check_files
        from mlops_assets.runtime.signature import Signature
        from mlops_assets.runtime.tabular_files import format_of

        for uri in (data, out):
            format_of(Path(uri.name))
        if data == out:
            raise DataError("The output is the data itself.", where=str(out), mend="Name another object.")
        info = self._store.head(data)
        if info is None:
            raise ArtifactError("There is no such object.", where=str(data), mend="Name another one.")
        folder, rows_file = self._store.local(version.uri), self._store.local(data)
        check_files(folder, version.files)
        signature = Signature.read(folder / SIGNATURE_FILE)
        with (
            speaking(f"scoring with {version.model} {version.version}", JobFailedError),
            tempfile.TemporaryDirectory(prefix="mlops-scoring-") as scratch,
        ):
            instances, scored = Path(scratch) / "instances.jsonl", Path(scratch) / out.name
            with _naming(data, rows_file):
                rows = write_instances(rows_file, signature, instances)
            if not rows:
                raise DataError("There are no rows.", where=str(data), mend="Name another object.")
            identity = digest_of([str(data), info.version, dict(version.files)])[:16]
            left = self._store.root.join("staging", "scoring", identity)
            job = self._over(self._request(version, left), instances, left)
            predictions = read_predictions(self._fetched(job, Path(scratch)), signature, rows)
            if state_of(job) != "SUCCEEDED" or predictions is None:
                failure = self._failure(job)
                self._store.delete(left)  # the next try is another job, also where this one "succeeded"
                raise failure
            write_scored(rows_file, signature, predictions, scored)
            self._store.upload(scored, out)
            self._store.delete(left)

    def _request(self, version: ModelVersion, left: ArtifactUri) -> dict[str, Any]:
        """A BatchPredictionJob, as a dictionary; what it reads and leaves lies below `left`."""
        vertex = self._vertex
        model = model_message(
            self._settings, vertex, model=version.model, uri=version.uri, files=version.files
        )
        return {
            "display_name": f"score-{version.model}"[:128],
            "model": self._models.serving(version.model, version.version, model),
            "input_config": {
                "instances_format": "jsonl",
                "gcs_source": {"uris": [str(left.join(_INSTANCES))]},
            },
            "instance_config": {"key_field": KEY},
            "output_config": {
                "predictions_format": "jsonl",
                "gcs_destination": {"output_uri_prefix": str(left)},
            },
            "dedicated_resources": {
                "machine_spec": {"machine_type": vertex.serving_machine},
                "starting_replica_count": vertex.min_replicas,
                "max_replica_count": max(vertex.min_replicas, vertex.max_replicas),
            },
            "manual_batch_tuning_parameters": {"batch_size": _AT_ONCE},
            "labels": labels_of({"mlops-assets-model": version.model}),
            **({"service_account": vertex.service_account} if vertex.service_account else {}),
            **({"encryption_spec": {"kms_key_name": self._gcp.kms_key}} if self._gcp.kms_key else {}),
        }

    def _over(self, asked: dict[str, Any], instances: Path, left: ArtifactUri) -> Any:
        """The request's job once it is over: the one that is there, else a new one.

        Whoever interrupts this stops the job.
        """
        from google.cloud.aiplatform_v1 import BatchPredictionJob

        jobs = VertexJobs(self._place.client("JobServiceClient"), self._place.parent, BATCH)
        job, attempt = jobs.find(request_digest(asked, "")[:40], usable=lambda job: bool(self._files(job)))
        if job is None:
            self._store.upload(instances, left.join(_INSTANCES))
            bucket = GcsBucket(storage_client(self._gcp.project), left.bucket)
            claims = left.join(attempt.name).key
            job, _ = jobs.create(attempt, BatchPredictionJob(asked), bucket, claims)
        _LOG.info("scoring: %s", console_of(job.name))
        try:
            return jobs.wait(job.name, self._vertex.poll_interval, _Progress().look)
        except (KeyboardInterrupt, SystemExit):
            jobs.cancel(job.name)
            raise

    def _files(self, job: Any) -> list[ArtifactUri]:
        """What the job left."""
        directory = job.output_info.gcs_output_directory.rstrip("/")
        return [item.uri for item in self._store.list(ArtifactUri(directory))] if directory else []

    def _fetched(self, job: Any, folder: Path) -> list[Path]:
        """Its predictions, in files on this machine."""
        found = []
        for uri in self._files(job):
            if uri.name.startswith(_RESULTS):
                found.append(folder / uri.name)
                self._store.download(uri, found[-1])
        return found

    def _failure(self, job: Any) -> JobFailedError:
        """Why a row has no prediction: the service's words, and the model server's on single rows."""
        end = end_of(job)
        stats = job.completion_stats
        counts = f"{stats.successful_count} rows have a prediction, {stats.failed_count} have none."
        told = [end.reason or counts, *(item.message for item in job.partial_failures)]
        for uri in self._files(job):
            if uri.name.startswith(_ERRORS):
                with self._store.open(uri) as file:
                    told.append(file.read(_QUOTED).decode(errors="replace"))
        return JobFailedError(
            redacted("\n".join(filter(None, told))),
            where=f"Vertex AI job {job.name}: {state_of(job).lower()}",
            mend=f"Mend what it names, then run it again. See {console_of(job.name)}",
        )


@contextmanager
def _naming(data: ArtifactUri, copy: Path) -> Iterator[None]:
    """Name the object where a mistake is told of its copy."""
    try:
        yield
    except (DataError, SignatureError) as error:
        where = str(error.where or "").replace(str(copy), str(data))
        raise type(error)(error.what, where=where, mend=error.mend) from None


class _Progress:
    """Logs what changes of a job."""

    def __init__(self) -> None:
        self._last = ""

    def look(self, job: Any) -> None:
        """Say its state and the rows that are done, where either is new."""
        done = job.completion_stats.successful_count
        said = f"{state_of(job).lower()}{f', {done:,} rows done' if done else ''}"
        if said != self._last:
            _LOG.info("scoring: %s", said)
        self._last = said
