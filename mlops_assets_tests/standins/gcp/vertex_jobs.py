"""What jobs of every kind do alike, and custom jobs with the service's own refusals."""

from __future__ import annotations

import re
from collections.abc import Mapping
from threading import Thread
from typing import Any, Protocol

from google.cloud import aiplatform_v1 as v1
from google.protobuf import empty_pb2

from mlops_assets_tests.standins.container import Order
from mlops_assets_tests.standins.gcp.vertex_errors import RpcError
from mlops_assets_tests.standins.gcp.vertex_operations import Operations
from mlops_assets_tests.standins.gcp.vertex_resources import Resources, location_of

_KEY, _VALUE = re.compile(r"[a-z][a-z0-9_-]{0,62}"), re.compile(r"[a-z0-9_-]{0,63}")
_S = v1.JobState
OVER = (_S.JOB_STATE_SUCCEEDED, _S.JOB_STATE_FAILED, _S.JOB_STATE_CANCELLED, _S.JOB_STATE_EXPIRED)


class Runner(Protocol):
    """What runs jobs of one kind, each to its last state; `orders` are for those that run."""

    orders: dict[str, Order]

    def run(self, name: str) -> None:
        """Run the job of this name."""
        ...


class Jobs:
    """What jobs of every kind do alike: they run in threads of their own, are cancelled, deleted once over.

    Args:
        collection: of their names.
    """

    def __init__(self, resources: Resources, operations: Operations, runner: Runner, collection: str) -> None:
        self._resources, self._operations, self._runner = resources, operations, runner
        self._collection = collection
        self._threads: list[Thread] = []

    def start(self, parent: str, job: Any) -> Any:
        """Keep a new job, and run it."""
        job.state = _S.JOB_STATE_QUEUED
        made = self._resources.create(f"{parent}/{self._collection}", job)
        thread = Thread(target=self._runner.run, args=(made.name,), daemon=True)
        self._threads.append(thread)
        thread.start()
        return made

    def listed(self, request: Any) -> tuple[list[Any], str]:
        """A page, and the next one's token."""
        return self._resources.listed(request, self._resources.of(f"{request.parent}/{self._collection}"))

    def cancel(self, name: str) -> Any:
        """Order a job to stop."""

        def change(job: Any) -> None:
            if job.state in OVER:
                kind = type(job).__name__
                raise RpcError("FAILED_PRECONDITION", f"{kind} is in a final state: {job.state.name}.")
            job.state = _S.JOB_STATE_CANCELLING
            self._runner.orders[name] = "stop"

        self._resources.update(name, change)
        return empty_pb2.Empty()

    def delete(self, name: str) -> Any:
        """Forget a job that is over."""
        if self._resources.get(name).state not in OVER:
            raise RpcError("FAILED_PRECONDITION", "The job is not in a final state.")
        return self._operations.start(location_of(name), lambda: self._resources.delete(name))

    def close(self) -> None:
        """End what still runs and wait for it."""
        self._runner.orders = _Always()
        for thread in self._threads:
            thread.join()


class CustomJobs:
    """The operations, one method each, by their names in the SDK."""

    def __init__(self, resources: Resources, operations: Operations, execution: Runner) -> None:
        self._resources, self._execution = resources, execution
        self._jobs = Jobs(resources, operations, execution, "customJobs")
        self.close = self._jobs.close

    def create_custom_job(self, request: Any) -> Any:
        """CreateCustomJob."""
        _check(request.custom_job)
        return self._jobs.start(request.parent, request.custom_job)

    def get_custom_job(self, request: Any) -> Any:
        """GetCustomJob."""
        return self._resources.get(request.name)

    def list_custom_jobs(self, request: Any) -> Any:
        """ListCustomJobs."""
        found, token = self._jobs.listed(request)
        return v1.ListCustomJobsResponse(custom_jobs=found, next_page_token=token)

    def cancel_custom_job(self, request: Any) -> Any:
        """CancelCustomJob."""
        return self._jobs.cancel(request.name)

    def delete_custom_job(self, request: Any) -> Any:
        """DeleteCustomJob."""
        return self._jobs.delete(request.name)

    def interrupt(self, name: str) -> None:
        """Take the spot machine of a job away; the service starts it again."""
        self._execution.orders[name] = "interrupt"


class _Always(dict[str, Any]):
    """Orders every job to stop."""

    def get(self, key: str, default: Any = None) -> Any:
        return "stop"


def check_labels(labels: Mapping[str, str]) -> None:
    """Refuse labels that Google Cloud does not take."""
    wrong = [key for key, value in labels.items() if not _KEY.fullmatch(key) or not _VALUE.fullmatch(value)]
    if wrong or len(labels) > 64:
        raise RpcError("INVALID_ARGUMENT", f"Invalid labels: {', '.join(wrong) or 'more than 64'}.")


def demand(holds: object, problem: str) -> None:
    """INVALID_ARGUMENT where something does not hold."""
    if not holds:
        raise RpcError("INVALID_ARGUMENT", problem)


def _check(job: Any) -> None:
    demand(0 < len(job.display_name) <= 128, "display_name must have 1 to 128 characters.")
    check_labels(job.labels)
    pools = job.job_spec.worker_pool_specs
    demand(pools, "job_spec.worker_pool_specs must be set.")
    _served(len(pools) == 1 and pools[0].replica_count in (0, 1), "several replicas")
    _served("python_package_spec" not in pools[0], "python_package_spec")
    for pool in pools:
        machine = pool.machine_spec
        demand(machine.machine_type, "machine_spec.machine_type must be set.")
        demand(
            bool(machine.accelerator_type) == bool(machine.accelerator_count), "accelerator_count is wrong."
        )
        demand(pool.container_spec.image_uri, "container_spec.image_uri must be set.")
        names = [item.name for item in pool.container_spec.env]
        demand(len(names) <= 100 and len(set(names)) == len(names), "container_spec.env is wrong.")
    for prefix in filter(None, [job.job_spec.base_output_directory.output_uri_prefix]):
        demand(prefix.startswith("gs://"), "output_uri_prefix must begin with gs://.")


def _served(holds: bool, what: str) -> None:
    if not holds:
        raise RpcError("UNIMPLEMENTED", f"CreateCustomJob with {what} is not served by the stand-in.")
