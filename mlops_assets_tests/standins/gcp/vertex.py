"""Vertex AI of the stand-in: which operations are served, by which area, and how a request is answered.

A new area is a class with one method an operation, added in `Vertex`; any other operation of the SDK is
answered UNIMPLEMENTED, by its name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from werkzeug import Request, Response

from mlops_assets_tests.standins.gcp import vertex_logs
from mlops_assets_tests.standins.gcp.vertex_batch import BatchPredictionJobs, Predicting
from mlops_assets_tests.standins.gcp.vertex_endpoints import Endpoints
from mlops_assets_tests.standins.gcp.vertex_errors import RpcError
from mlops_assets_tests.standins.gcp.vertex_execution import Execution
from mlops_assets_tests.standins.gcp.vertex_jobs import CustomJobs
from mlops_assets_tests.standins.gcp.vertex_metadata import Metadata
from mlops_assets_tests.standins.gcp.vertex_models import Models
from mlops_assets_tests.standins.gcp.vertex_operations import Operations
from mlops_assets_tests.standins.gcp.vertex_resources import Resources
from mlops_assets_tests.standins.gcp.vertex_routes import answer, routed

REGION = "europe-west4"
# The image of every job and model.
IMAGE = f"{REGION}-docker.pkg.dev/testing/mlops/mlops-assets:latest"


class Vertex:
    """Vertex AI, and the log of its jobs.

    Args:
        folder: for the containers' files.
        storage: makes a client of Cloud Storage.
        environment: what every container gets: where Google Cloud is, and as whom.
    """

    def __init__(self, folder: Path, storage: Callable[[], Any], environment: Mapping[str, str]) -> None:
        self.resources, self.logs = Resources(), vertex_logs.Logs()
        self.operations = Operations(self.resources)
        execution = Execution(self.resources, self.logs, storage, environment, _pulled, folder / "jobs")
        self.jobs = CustomJobs(self.resources, self.operations, execution)
        self.models = Models(self.resources, self.operations)
        self.endpoints = Endpoints(
            self.resources,
            self.operations,
            self.models,
            self.logs,
            _pulled,
            environment,
            folder / "serving",
        )
        predicting = Predicting(
            self.resources, self.models, self.logs, storage, environment, _pulled, folder / "batch"
        )
        self.batches = BatchPredictionJobs(self.resources, self.operations, self.models, predicting)
        self.metadata = Metadata(self.resources, self.operations)
        self._areas = (
            self.operations,
            self.jobs,
            self.batches,
            self.models,
            self.endpoints,
            self.metadata,
        )

    def name(self, method: str, path: str) -> str | None:
        """`aiplatform.<operation>` or `logging.entries.list`; None for what is neither's."""
        if path == vertex_logs.PATH:
            return "logging.entries.list"
        route = routed(method, path)
        return f"aiplatform.{route.operation}" if route else None

    def answer(self, request: Request) -> Response:
        """Answer a request that `name` has a name for."""
        try:
            if request.path == vertex_logs.PATH:
                body = self.logs.list(request.get_data())
            elif self.name(request.method, request.path) == "aiplatform.RawPredict":
                endpoint = request.path.removeprefix("/v1/").removesuffix(":rawPredict")
                return self.endpoints.raw_predict(endpoint, request.get_data(), request.content_type or "")
            else:
                body = self._served(request)
        except RpcError as error:
            return Response(json.dumps(error.body), error.http, content_type="application/json")
        return Response(body, content_type="application/json")

    def close(self) -> None:
        """End every job."""
        self.jobs.close()
        self.batches.close()
        self.operations.close()
        self.endpoints.close()

    def _served(self, request: Request) -> bytes:
        route = routed(request.method, request.path)
        assert route is not None  # it has a name
        query = request.query_string.decode()
        for area in self._areas:
            serve = getattr(area, _snake(route.operation), None)
            if serve is not None:
                return answer(serve(route.message(request.path, query, request.get_data())), query)
        raise RpcError("UNIMPLEMENTED", f"{route.operation} is not served by the stand-in.")


def _pulled(image: str) -> bool:
    """Whether there is such an image: ours, and Google's own prebuilt ones."""
    return image == IMAGE or re.fullmatch(r"[a-z-]+-docker\.pkg\.dev/vertex-ai/.+", image) is not None


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
