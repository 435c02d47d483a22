"""Vertex AI's endpoints: deploy with a traffic split, undeploy, predict through the real containers."""

from __future__ import annotations

import base64
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from google.cloud import aiplatform_v1 as v1
from google.protobuf import json_format
from werkzeug import Response

from mlops_assets_tests.standins.gcp.vertex_errors import RpcError
from mlops_assets_tests.standins.gcp.vertex_jobs import check_labels, demand
from mlops_assets_tests.standins.gcp.vertex_logs import Logs
from mlops_assets_tests.standins.gcp.vertex_models import Models
from mlops_assets_tests.standins.gcp.vertex_operations import Operations
from mlops_assets_tests.standins.gcp.vertex_resources import Resources, location_of, new_id, now
from mlops_assets_tests.standins.gcp.vertex_routes import raw
from mlops_assets_tests.standins.gcp.vertex_serving import Served, ServingContainer, environment_of

_STARTERS = 8
_DRAIN = 30.0
_CHANGEABLE = {"display_name", "description", "labels", "traffic_split"}


class Endpoints:
    """The operations, one method each, by their names in the SDK.

    Args:
        images: what may be pulled.
        environment: what every container gets.
        folder: for the containers' files.
    """

    def __init__(
        self,
        resources: Resources,
        operations: Operations,
        models: Models,
        logs: Logs,
        images: Callable[[str], bool],
        environment: Mapping[str, str],
        folder: Path,
    ) -> None:
        self._resources, self._operations, self._models, self._logs = resources, operations, models, logs
        self._images, self._environment, self._folder = images, environment, folder
        self.containers: dict[str, ServingContainer] = {}
        self._busy: Counter[str] = Counter()
        # A container ends with the thread that started it: these threads stay.
        self._starters = ThreadPoolExecutor(_STARTERS, thread_name_prefix="vertex-serving")

    def create_endpoint(self, request: Any) -> Any:
        """CreateEndpoint."""
        endpoint = request.endpoint
        demand(endpoint.display_name, "endpoint.display_name must be set.")
        check_labels(endpoint.labels)
        made = self._resources.create(f"{request.parent}/endpoints", endpoint, request.endpoint_id)
        return self._operations.start(made.name, lambda: made)

    def get_endpoint(self, request: Any) -> Any:
        """GetEndpoint."""
        return self._resources.get(request.name)

    def list_endpoints(self, request: Any) -> Any:
        """ListEndpoints."""
        found, token = self._resources.listed(request, self._resources.of(f"{request.parent}/endpoints"))
        return v1.ListEndpointsResponse(endpoints=found, next_page_token=token)

    def update_endpoint(self, request: Any) -> Any:
        """UpdateEndpoint: the traffic split and what people read."""
        paths = set(request.update_mask.paths)
        demand(paths and paths <= _CHANGEABLE, f"update_mask may hold {', '.join(sorted(_CHANGEABLE))}.")
        check_labels(request.endpoint.labels)

        def change(endpoint: Any) -> None:
            if "traffic_split" in paths:
                _check_split(
                    dict(request.endpoint.traffic_split), {item.id for item in endpoint.deployed_models}
                )
            for path in paths:
                setattr(endpoint, path, getattr(request.endpoint, path))

        return self._resources.update(request.endpoint.name, change)

    def delete_endpoint(self, request: Any) -> Any:
        """DeleteEndpoint."""
        if self._resources.get(request.name).deployed_models:
            raise RpcError("FAILED_PRECONDITION", "The endpoint has deployed models: undeploy them first.")
        return self._operations.start(location_of(request.name), lambda: self._resources.delete(request.name))

    def deploy_model(self, request: Any) -> Any:
        """DeployModel: start its container; once it is healthy, give it its share of the traffic."""
        deployed, split = request.deployed_model, dict(request.traffic_split)
        model = self._models.version(deployed.model)
        machine = deployed.dedicated_resources.machine_spec.machine_type
        demand(machine, "deployed_model.dedicated_resources.machine_spec.machine_type must be set.")
        demand(deployed.dedicated_resources.min_replica_count >= 1, "min_replica_count must be 1 or more.")
        deployed.id = deployed.id or new_id()
        there = {item.id for item in self._resources.get(request.endpoint).deployed_models}
        demand(deployed.id not in there, f"DeployedModel {deployed.id} is deployed already.")
        split = {deployed.id if key == "0" else key: share for key, share in split.items()}
        if split:
            _check_split(split, there | {deployed.id})
        deployed.model, deployed.model_version_id = model.name, model.version_id
        deployed.create_time = now()
        return self._operations.start(
            request.endpoint, lambda: self._deployed(request.endpoint, deployed, model, split)
        )

    def undeploy_model(self, request: Any) -> Any:
        """UndeployModel: end its container."""
        wanted, split = request.deployed_model_id, dict(request.traffic_split)

        def change(endpoint: Any) -> None:
            left = [item for item in endpoint.deployed_models if item.id != wanted]
            if len(left) == len(endpoint.deployed_models):
                raise RpcError("NOT_FOUND", f"DeployedModel {wanted} is not deployed.")
            before = {key: share for key, share in dict(endpoint.traffic_split).items() if key != wanted}
            if left and not split and sum(before.values()) not in (0, 100):
                raise RpcError("FAILED_PRECONDITION", "Traffic is left: give traffic_split.")
            endpoint.deployed_models, endpoint.traffic_split = left, split or before

        self._resources.update(request.endpoint, change)
        return self._operations.start(request.endpoint, lambda: self._undeployed(wanted))

    # --- asking -------------------------------------------------------------------------------------------

    def predict(self, request: Any) -> Any:
        """Predict: instances and parameters as protobuf has them, whose numbers are all floats."""
        sent = json_format.MessageToDict(raw(request))
        body = json.dumps({key: sent[key] for key in ("instances", "parameters") if key in sent})
        deployed, answer = self._ask(request.endpoint, body.encode(), "application/json")
        if answer.status != 200:
            raise RpcError("INVALID_ARGUMENT", answer.body.decode(errors="replace")[:1_000])
        response = v1.PredictResponse(
            deployed_model_id=deployed.id, model=deployed.model, model_version_id=deployed.model_version_id
        )
        json_format.ParseDict({"predictions": json.loads(answer.body)["predictions"]}, raw(response))
        return response

    def raw_predict(self, name: str, body: bytes, content_type: str) -> Response:
        """RawPredict: the body as it is, or inside an HttpBody as gapic sends it."""
        wrapped = _http_body(body)
        if wrapped is not None:
            body, content_type = wrapped
        deployed, answer = self._ask(name, body, content_type)
        content = answer.body
        if wrapped is not None and answer.status == 200:
            data = base64.b64encode(content).decode()
            content = json.dumps({"contentType": answer.content_type, "data": data}).encode()
        response = Response(content, answer.status, content_type=answer.content_type)
        response.headers["X-Vertex-AI-Endpoint-Id"] = name.rpartition("/")[2]
        response.headers["X-Vertex-AI-Deployed-Model-Id"] = deployed.id
        return response

    def close(self) -> None:
        """End every container."""
        for number in list(self.containers):
            self._undeployed(number)

    def _ask(self, name: str, body: bytes, content_type: str) -> tuple[Any, Served]:
        with self._resources.lock:
            endpoint = self._resources.get(name)
            split = {key: share for key, share in dict(endpoint.traffic_split).items() if share}
            if not split:
                raise RpcError("FAILED_PRECONDITION", f"Endpoint {name} has no deployed model with traffic.")
            (chosen,) = random.choices(list(split), weights=list(split.values()))
            container = self.containers[chosen]
            self._busy[chosen] += 1
        try:
            deployed = next(item for item in endpoint.deployed_models if item.id == chosen)
            return deployed, container.ask("POST", container.predict, body, content_type)
        finally:
            with self._resources.lock:
                self._busy[chosen] -= 1

    def _deployed(self, name: str, deployed: Any, model: Any, split: dict[str, int]) -> Any:
        if not self._images(model.container_spec.image_uri):
            image = model.container_spec.image_uri
            raise RpcError("NOT_FOUND", f"Image {image!r} not found, or it may not be pulled.")
        _, project, *_, number = name.split("/")
        labels = {"endpoint_id": number, "task_name": "aiplatform.googleapis.com%2Fprediction_container"}
        starting = self._starters.submit(
            ServingContainer,
            model,
            self._folder / deployed.id,
            self._environment,
            environment_of(name, deployed.id),
            lambda line: self._logs.write(project, labels, line, kind="aiplatform.googleapis.com/Endpoint"),
        )
        self.containers[deployed.id] = starting.result()

        def change(endpoint: Any) -> None:
            endpoint.deployed_models = [*endpoint.deployed_models, deployed]
            if split:
                endpoint.traffic_split = split

        self._resources.update(name, change)
        return v1.DeployModelResponse(deployed_model=deployed)

    def _undeployed(self, deployed: str) -> Any:
        until = time.monotonic() + _DRAIN
        while self._busy[deployed] and time.monotonic() < until:  # requests under way are answered first
            time.sleep(0.01)
        container = self.containers.pop(deployed, None)
        if container is not None:
            container.close()
        return v1.UndeployModelResponse()


def _check_split(split: Mapping[str, int], deployed: set[str]) -> None:
    demand(set(split) <= deployed, "traffic_split names models that are not deployed.")
    demand(sum(split.values()) == 100 or not split, "traffic_split must add up to 100.")


def _http_body(body: bytes) -> tuple[bytes, str] | None:
    """What gapic wrapped, as it cannot send a body as it is over REST."""
    try:
        inner = json.loads(body)["httpBody"]
        return base64.b64decode(inner["data"]), inner.get("contentType", "application/json")
    except (ValueError, KeyError, TypeError):
        return None
