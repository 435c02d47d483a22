"""One custom job from its first state to its last, as the service runs it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from google.cloud import aiplatform_v1 as v1

from mlops_assets_tests.standins.container import Exit, Order
from mlops_assets_tests.standins.gcp.vertex_container import MountedBuckets, VertexContainer
from mlops_assets_tests.standins.gcp.vertex_errors import RpcError
from mlops_assets_tests.standins.gcp.vertex_logs import Logs
from mlops_assets_tests.standins.gcp.vertex_resources import Resources, now

REPLICA = "workerpool0-0"
_WEEK = 7 * 86_400.0
_S = v1.JobState


class Execution:
    """Runs custom jobs.

    Args:
        resources: where their states are told.
        logs: gets their lines.
        storage: makes a client of Cloud Storage.
        environment: what every container gets beside its job's own.
        images: what may be pulled; a container runs this environment's Python, whatever the image.
        folder: for the containers' files.
    """

    def __init__(
        self,
        resources: Resources,
        logs: Logs,
        storage: Callable[[], Any],
        environment: Mapping[str, str],
        images: Callable[[str], bool],
        folder: Path,
    ) -> None:
        self._resources, self._logs, self._storage = resources, logs, storage
        self._environment, self._images, self._folder = environment, images, folder
        self.orders: dict[str, Order] = {}

    def run(self, name: str) -> None:
        """Run the job to its end; every failure is the job's own."""
        folder = self._folder / name.rpartition("/")[2]
        try:
            self._set(name, _S.JOB_STATE_PENDING)
            while (state := self._attempt(name, folder)) is None:
                shutil.rmtree(folder, ignore_errors=True)  # a spot machine was taken away
            self._set(name, *state)
        except RpcError as error:
            self._set(name, _S.JOB_STATE_FAILED, error)
        except Exception as error:  # what is wrong with the stand-in must not look like the job's success
            self._set(name, _S.JOB_STATE_FAILED, RpcError("INTERNAL", f"{type(error).__name__}: {error}"))
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _attempt(self, name: str, folder: Path) -> tuple[Any, ...] | None:
        """One container's life: the job's last state, with an error; None where it is to start again."""
        job = self._resources.get(name)
        pool = job.job_spec.worker_pool_specs[0].container_spec
        if self.orders.get(name) == "stop":
            return _S.JOB_STATE_CANCELLED, RpcError("CANCELLED", "CANCELED")
        if not self._images(pool.image_uri):
            raise RpcError("NOT_FOUND", f"Image {pool.image_uri!r} not found, or it may not be pulled.")
        command = [*pool.command, *pool.args]
        if not command:
            raise RpcError("UNIMPLEMENTED", "The stand-in runs images by their command alone.")
        environment = {**self._environment, **_given(job), **{item.name: item.value for item in pool.env}}
        end = self._contain(job, command, environment, folder)
        if end.order == "interrupt":
            self.orders.pop(name)
            self._set(name, _S.JOB_STATE_PENDING)
            return None
        if end.order is not None:
            return _S.JOB_STATE_CANCELLED, RpcError("CANCELLED", "CANCELED")
        if end.code == 0:
            return (_S.JOB_STATE_SUCCEEDED,)
        message = (
            f"The replica {REPLICA} exited with a non-zero status of {end.code}. To find out more about why "
            f"your job exited please check the logs."
        )
        return _S.JOB_STATE_FAILED, RpcError("FAILED_PRECONDITION", message)

    def _contain(
        self, job: Any, command: Sequence[str], environment: Mapping[str, str], folder: Path
    ) -> Exit:
        buckets = MountedBuckets(self._storage(), folder)
        buckets.fetch([*command, *environment.values()])
        _, project, *_, number = job.name.split("/")
        labels = {"job_id": number, "task_name": REPLICA}
        self._set(job.name, _S.JOB_STATE_RUNNING)
        container = VertexContainer(
            command, environment, folder, lambda line: self._logs.write(project, labels, line)
        )
        timeout = job.job_spec.scheduling.timeout
        end = container.wait(timeout.total_seconds() if timeout else _WEEK, lambda: self.orders.get(job.name))
        buckets.write_back()
        return end

    def _set(self, name: str, state: Any, error: RpcError | None = None) -> None:
        move(self._resources, name, state, error)


def move(resources: Resources, name: str, state: Any, error: RpcError | None = None) -> None:
    """Take a job to its next state; one that is being cancelled goes nowhere but to its end."""

    def change(job: Any) -> None:
        if job.state != _S.JOB_STATE_CANCELLING or state not in (
            _S.JOB_STATE_PENDING,
            _S.JOB_STATE_RUNNING,
        ):
            job.state = state
        if state == _S.JOB_STATE_RUNNING and not job.start_time:
            job.start_time = now()
        if state in (_S.JOB_STATE_SUCCEEDED, _S.JOB_STATE_FAILED, _S.JOB_STATE_CANCELLED):
            job.end_time = now()
        if error is not None:
            job.error = {"code": error.number, "message": error.message}

    resources.update(name, change)


def _given(job: Any) -> dict[str, str]:
    """What the service puts into every container's environment."""
    _, project, _, region, _, number = job.name.split("/")
    base = job.job_spec.base_output_directory.output_uri_prefix.rstrip("/")
    folders = {
        "AIP_MODEL_DIR": "model",
        "AIP_CHECKPOINT_DIR": "checkpoints",
        "AIP_TENSORBOARD_LOG_DIR": "logs",
    }
    cluster = {"cluster": {"workerpool0": ["127.0.0.1:2222"]}, "task": {"type": "workerpool0", "index": 0}}
    return {
        "CLOUD_ML_PROJECT_ID": project,
        "CLOUD_ML_REGION": region,
        "CLOUD_ML_JOB_ID": number,
        "CLUSTER_SPEC": json.dumps(cluster),
        **({name: f"{base}/{folder}/" for name, folder in folders.items()} if base else {}),
    }
