"""Batch predictions: the model's own container is asked for objects' rows, its answers become objects."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.cloud import aiplatform_v1 as v1

from mlops_assets_tests.standins.container import Order
from mlops_assets_tests.standins.gcp.vertex_errors import RpcError
from mlops_assets_tests.standins.gcp.vertex_execution import move
from mlops_assets_tests.standins.gcp.vertex_jobs import Jobs, check_labels, demand
from mlops_assets_tests.standins.gcp.vertex_logs import Logs
from mlops_assets_tests.standins.gcp.vertex_models import Models
from mlops_assets_tests.standins.gcp.vertex_operations import Operations
from mlops_assets_tests.standins.gcp.vertex_resources import Resources
from mlops_assets_tests.standins.gcp.vertex_serving import ServingContainer

_S = v1.JobState
_BATCH = 64
_SHARDS = 2


class BatchPredictionJobs:
    """The operations, one method each, by their names in the SDK."""

    def __init__(
        self, resources: Resources, operations: Operations, models: Models, predicting: Predicting
    ) -> None:
        self._resources, self._models = resources, models
        self._jobs = Jobs(resources, operations, predicting, "batchPredictionJobs")
        self.close = self._jobs.close

    def create_batch_prediction_job(self, request: Any) -> Any:
        """CreateBatchPredictionJob."""
        job = request.batch_prediction_job
        model = self._models.version(job.model)
        _check(job, model)
        job.model_version_id = model.version_id
        return self._jobs.start(request.parent, job)

    def get_batch_prediction_job(self, request: Any) -> Any:
        """GetBatchPredictionJob."""
        return self._resources.get(request.name)

    def list_batch_prediction_jobs(self, request: Any) -> Any:
        """ListBatchPredictionJobs."""
        found, token = self._jobs.listed(request)
        return v1.ListBatchPredictionJobsResponse(batch_prediction_jobs=found, next_page_token=token)

    def cancel_batch_prediction_job(self, request: Any) -> Any:
        """CancelBatchPredictionJob."""
        return self._jobs.cancel(request.name)

    def delete_batch_prediction_job(self, request: Any) -> Any:
        """DeleteBatchPredictionJob."""
        return self._jobs.delete(request.name)


@dataclass(frozen=True)
class _Row:
    """What is sent of a row, and what the answer says that it is of."""

    instance: Any
    named: Mapping[str, Any]


class Predicting:
    """Runs batch predictions.

    Args:
        resources: where their states are told.
        models: whose containers are asked.
        logs: gets the containers' lines.
        storage: makes a client of Cloud Storage.
        environment: what every container gets.
        images: what may be pulled.
        folder: for the containers' files.
    """

    def __init__(
        self,
        resources: Resources,
        models: Models,
        logs: Logs,
        storage: Callable[[], Any],
        environment: Mapping[str, str],
        images: Callable[[str], bool],
        folder: Path,
    ) -> None:
        self._resources, self._models, self._logs, self._storage = resources, models, logs, storage
        self._environment, self._images, self._folder = environment, images, folder
        self.orders: dict[str, Order] = {}

    def run(self, name: str) -> None:
        """Run the job to its end; every failure is the job's own."""
        try:
            move(self._resources, name, _S.JOB_STATE_RUNNING)
            self._predict(name)
            move(self._resources, name, _S.JOB_STATE_SUCCEEDED)
        except RpcError as error:
            cancelled = error.code == "CANCELLED"
            move(self._resources, name, _S.JOB_STATE_CANCELLED if cancelled else _S.JOB_STATE_FAILED, error)
        except Exception as error:  # what is wrong with the stand-in must not look like the job's success
            broken = RpcError("INTERNAL", f"{type(error).__name__}: {error}")
            move(self._resources, name, _S.JOB_STATE_FAILED, broken)

    def _predict(self, name: str) -> None:
        job = self._resources.get(name)
        model = self._models.version(job.model)
        if not self._images(model.container_spec.image_uri):
            raise RpcError("NOT_FOUND", f"Image {model.container_spec.image_uri!r} not found.")
        rows = list(_rows(self._storage(), job))
        demand(rows, "There are no instances to predict.")
        self._go_on(name)
        _, project, *_, number = name.split("/")
        labels = {"job_id": number, "task_name": "prediction_container"}
        container = ServingContainer(
            model,
            self._folder / number,
            self._environment,
            {},
            lambda line: self._logs.write(project, labels, line),
        )
        shards: list[list[str]] = [[] for _ in range(_SHARDS)]
        failed: list[str] = []
        size = job.manual_batch_tuning_parameters.batch_size or _BATCH
        try:
            for index, batch in enumerate(rows[start : start + size] for start in range(0, len(rows), size)):
                self._go_on(name)
                good, bad = _asked(container, batch)
                shards[-1 - index % _SHARDS] += good  # in no order, as several machines write them
                failed += bad
        finally:
            container.close()
        self._leave(job, model.display_name, shards, failed)
        if not any(shards):
            raise RpcError("FAILED_PRECONDITION", f"Every prediction failed, such as: {failed[0][:500]}")

    def _go_on(self, name: str) -> None:
        if self.orders.get(name) == "stop":
            raise RpcError("CANCELLED", "CANCELED")

    def _leave(self, job: Any, model: str, shards: Sequence[list[str]], failed: list[str]) -> None:
        stamp = job.create_time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        prefix = job.output_config.gcs_destination.output_uri_prefix.rstrip("/")
        directory = f"{prefix}/prediction-{model}-{stamp}"
        files = {
            f"prediction.results-{index:05}-of-{len(shards):05}": lines for index, lines in enumerate(shards)
        }
        files["prediction.errors_stats-00000-of-00001"] = failed
        bucket, _, folder = directory.removeprefix("gs://").partition("/")
        for name, lines in files.items():
            text = "".join(f"{line}\n" for line in lines)
            self._storage().bucket(bucket).blob(f"{folder}/{name}").upload_from_string(text)

        def tell(told: Any) -> None:
            told.output_info = {"gcs_output_directory": directory}
            told.completion_stats = {
                "successful_count": sum(map(len, shards)),
                "failed_count": len(failed),
            }

        self._resources.update(job.name, tell)


def _asked(container: ServingContainer, batch: Sequence[_Row]) -> tuple[list[str], list[str]]:
    """Lines of what was predicted, and of what was not: a request fails as a whole."""
    body = json.dumps({"instances": [row.instance for row in batch]}).encode()
    answer = container.ask("POST", container.predict, body, "application/json")
    if answer.status == 200:
        predictions = json.loads(answer.body)["predictions"]
        pairs = zip(batch, predictions, strict=True)
        return [json.dumps({**row.named, "prediction": found}) for row, found in pairs], []
    message = f"Post request fails. Cannot get predictions. Error: {answer.body.decode(errors='replace')}"
    error = {"code": 3, "message": message}
    return [], [json.dumps({**row.named, "error": error}) for row in batch]


def _rows(storage: Any, job: Any) -> Iterator[_Row]:
    key = job.instance_config.key_field
    for uri in job.input_config.gcs_source.uris:
        bucket, _, name = uri.removeprefix("gs://").partition("/")
        blob = storage.bucket(bucket).blob(name)
        if not blob.exists():
            raise RpcError("NOT_FOUND", f"{uri} is not found.")
        text = blob.download_as_bytes().decode()
        for sent in _lines(text, job.input_config.instances_format):
            if key and key not in sent:
                raise RpcError("INVALID_ARGUMENT", f"The key field {key} is missing.")
            named = {"key": sent.pop(key)} if key else {}
            instance = list(sent.values()) if job.input_config.instances_format == "csv" else sent
            yield _Row(instance, named or {"instance": instance})


def _lines(text: str, kind: str) -> Iterator[Any]:
    """JSON lines as they are; rows of CSV by their header, where what has no quotes is a number."""
    if kind == "jsonl":
        yield from map(json.loads, text.splitlines())
        return
    header = next(csv.reader(text.splitlines()))
    try:
        for row in csv.reader(text.splitlines()[1:], quoting=csv.QUOTE_NONNUMERIC):
            yield dict(zip(header, row, strict=True))
    except ValueError as error:
        raise RpcError("INVALID_ARGUMENT", f"Invalid CSV: {error}.") from None


def _check(job: Any, model: Any) -> None:
    demand(0 < len(job.display_name) <= 128, "display_name must have 1 to 128 characters.")
    check_labels(job.labels)
    given, asked = job.input_config, job.output_config
    demand(given.gcs_source.uris, "input_config.gcs_source.uris must be set.")
    supported = model.supported_input_storage_formats
    demand(given.instances_format in supported, f"instances_format must be one of {', '.join(supported)}.")
    supported = model.supported_output_storage_formats
    demand(
        asked.predictions_format in supported, f"predictions_format must be one of {', '.join(supported)}."
    )
    prefix = asked.gcs_destination.output_uri_prefix
    demand(prefix.startswith("gs://"), "output_uri_prefix must begin with gs://.")
    resources = job.dedicated_resources
    demand(resources.machine_spec.machine_type, "dedicated_resources.machine_spec.machine_type must be set.")
