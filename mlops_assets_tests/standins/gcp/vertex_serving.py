"""The container of a deployed model, asked over HTTP: routes and variables as Vertex AI has them."""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlops_assets_tests.standins.container import Container
from mlops_assets_tests.standins.gcp.vertex_errors import RpcError

_PING_SECONDS = 2.0
_INTERVAL = 0.05
# Seconds that a container has to become healthy; the service gives more.
_PATIENCE = 60.0
_ENTER = 'exec "$@"'


@dataclass(frozen=True)
class Served:
    """A container's answer."""

    status: int
    body: bytes
    content_type: str


class ServingContainer:
    """A container that serves one version.

    The service calls the port that the model names; here every container gets a free one, by AIP_HTTP_PORT.
    Vertex AI copies a model's artifacts when it is uploaded; here AIP_STORAGE_URI names those that were.

    Args:
        model: the version.
        folder: the container's.
        environment: what every container gets.
        given: variables of this deployment.
        report: gets each line.

    Raises:
        RpcError: where it does not become healthy.
    """

    def __init__(
        self,
        model: Any,
        folder: Path,
        environment: Mapping[str, str],
        given: Mapping[str, str],
        report: Callable[[str], None],
    ) -> None:
        spec = model.container_spec
        command: list[str] = [*spec.command, *spec.args]
        if not command:
            raise RpcError("UNIMPLEMENTED", "The stand-in runs images by their command alone.")
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._port = folder, _free_port()
        self.health, self.predict = spec.health_route or "/health", spec.predict_route or "/predict"
        program = sys.executable if command[0] in ("python", "python3") else command[0]
        variables = {
            **environment,
            **{item.name: item.value for item in spec.env},
            "AIP_MODE": "PREDICTION",
            "AIP_HTTP_PORT": str(self._port),
            "AIP_HEALTH_ROUTE": self.health,
            "AIP_PREDICT_ROUTE": self.predict,
            "AIP_STORAGE_URI": model.artifact_uri,
            "TMPDIR": str(folder),
            **given,
        }
        self._container = Container([program, *command[1:]], variables, folder, report, _ENTER)
        self._wait_until_healthy()

    def ask(self, method: str, path: str, body: bytes | None = None, content_type: str = "") -> Served:
        """Ask the container.

        Raises:
            RpcError: UNAVAILABLE where it does not answer.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60.0)
        try:
            headers = {"Content-Type": content_type} if content_type else {}
            connection.request(method, path, body=body, headers=headers)
            response = connection.getresponse()
            kind = response.getheader("Content-Type") or "application/octet-stream"
            return Served(response.status, response.read(), kind)
        except (OSError, http.client.HTTPException) as error:
            raise RpcError("UNAVAILABLE", f"The model server does not answer: {error}.") from None
        finally:
            connection.close()

    def close(self) -> None:
        """End the container."""
        self._container.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _wait_until_healthy(self) -> None:
        until = time.monotonic() + _PATIENCE
        while time.monotonic() < until and self._container.running:
            try:
                if self.ask("GET", self.health).status == 200:
                    return
            except RpcError:
                time.sleep(_INTERVAL)
        ended = not self._container.running
        self.close()
        what = "Model server exited unexpectedly." if ended else "Model server never became ready."
        raise RpcError("FAILED_PRECONDITION", f"{what} Please check the model server's logs.")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[1]


def environment_of(endpoint: str, deployed_model: str) -> dict[str, str]:
    """What the service tells a container of its deployment."""
    _, project, *_, number = endpoint.split("/")
    return {
        "AIP_PROJECT_NUMBER": project,
        "AIP_ENDPOINT_ID": number,
        "AIP_DEPLOYED_MODEL_ID": deployed_model,
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
    }
