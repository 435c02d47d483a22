"""The trainer on Vertex AI: training and evaluation as custom jobs, data by Cloud Storage FUSE."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mlops_assets.artifacts import ArtifactUri
from mlops_assets.errors import JobFailedError
from mlops_assets.pipes.contexts import running_context
from mlops_assets.pipes.remote_jobs import JobEnd, request_digest
from mlops_assets.pipes.vertex import FinishedJob, PipesVertexClient
from mlops_assets.pipes.vertex_jobs import console_of, labels_of
from mlops_assets.platforms.gcp.client import speaking, storage_client
from mlops_assets.platforms.gcp.container import REASON
from mlops_assets.platforms.gcp.job_requests import custom_job
from mlops_assets.platforms.gcp.vertex_client import authorized_session, place_of
from mlops_assets.platforms.remote_trainer import EndedJob, JobPlace, RemoteTrainer, reported_metrics

if TYPE_CHECKING:
    from mlops_assets.platforms.gcp.settings import GcpSettings
    from mlops_assets.platforms.gcp.vertex_settings import VertexSettings
    from mlops_assets.platforms.ports import JobRequest, ObjectStore


class VertexTrainer(RemoteTrainer):
    """Runs the runtime's programs as custom jobs, labelled by what is asked."""

    timeout_mend = "Raise training.timeout, or MLOPS_VERTEX_MAX_RUNTIME."

    def __init__(self, store: ObjectStore, gcp: GcpSettings, vertex: VertexSettings) -> None:
        super().__init__(store)
        self._gcp, self._vertex = gcp, vertex

    def _follow(
        self, context: Any, request: JobRequest, place: JobPlace, report: Callable[[str], None]
    ) -> EndedJob:
        with speaking(f"{request.program} {request.name}", JobFailedError):
            finished, metrics = self._followed(context, request, place, report)
        name, left = finished.job.name, _left_by(finished.job, place)
        said = {key.removeprefix("vertex/"): value for key, value in finished.metadata.items()}
        end = self._explained(finished.end, left)
        return EndedJob(f"Vertex AI job {name}", console_of(name), left, end, {**said, **metrics})

    def _followed(
        self, context: Any, request: JobRequest, place: JobPlace, report: Callable[[str], None]
    ) -> tuple[FinishedJob, dict[str, Any]]:
        """The job at its end, and the metrics it reported."""
        where = place_of(self._gcp, self._vertex)
        asked = custom_job(self._gcp, self._vertex, where.project, request, place)
        pipes = PipesVertexClient(
            project=where.project,
            location=where.region,
            bucket=self._store.root.bucket,
            prefix=place.pipes.key,
            jobs=where.client("JobServiceClient"),
            storage=storage_client(self._gcp.project),
            session=authorized_session(),
            logging_url=self._vertex.logging_endpoint,
            poll_interval=self._vertex.poll_interval,
        )
        found, attempt = pipes.jobs.find(
            request_digest(asked, request.digest)[:40],
            usable=lambda job: self._has_result(_left_by(job, place)),
        )
        if found is None:
            self._write_request(request, place)
            asked["labels"] = labels_of({"mlops-assets-model": request.name})
        inner = running_context(context)
        if inner is None:
            return pipes.follow(found, attempt, asked, report=report), {}
        finished, session = pipes.follow_in_session(inner, found, attempt, asked)
        return finished, reported_metrics(session)

    def _explained(self, end: JobEnd, left: ArtifactUri) -> JobEnd:
        """The end with the reason that the container left; Vertex AI's own says no more than its status."""
        reason = left.join(REASON)
        if end.status != "Failed" or self._store.head(reason) is None:
            return end
        return JobEnd("Failed", self._store.read(reason).decode(errors="replace"))


def _left_by(job: Any, place: JobPlace) -> ArtifactUri:
    """The job's own folder."""
    return place.output.join(job.name.rpartition("/")[2])
