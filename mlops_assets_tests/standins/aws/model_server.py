"""One model's container, as hosting and transform jobs start it: files in /opt/ml/model, asked over HTTP."""

from __future__ import annotations

import http.client
import shutil
import socket
import sys
import tarfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlops_assets_tests.standins.aws.container import Container, isolated
from mlops_assets_tests.standins.aws.transfers import download, split

# What an image runs for `docker run IMAGE serve`; a test may name other images.
DEFAULT_SERVE = (sys.executable, "-m", "mlops_assets.runtime.serve")
_PING_SECONDS = 2.0
_INTERVAL = 0.05


@dataclass(frozen=True)
class Answer:
    """A container's answer; status 0 where none came."""

    status: int
    body: bytes
    content_type: str


class ModelServer:
    """A container that serves one model.

    The service maps port 8080 of a container; here every container gets a free port and is told by
    SAGEMAKER_BIND_TO_PORT, as the service does for containers that share an instance.

    Args:
        container: ContainerDefinition of CreateModel.
        command: what the image runs.
        folder: becomes /opt/ml; removed at the end.
        environment: what every container gets.

    Raises:
        DownloadError: where the model's files are not there.
    """

    def __init__(
        self,
        container: Mapping[str, Any],
        command: tuple[str, ...],
        folder: Path,
        s3: Any,
        report: Callable[[str], None],
        environment: Mapping[str, str],
    ) -> None:
        self._folder = folder
        model = folder / "model"
        model.mkdir(parents=True)
        _fetch(s3, container, model)
        self._port = _free_port()
        given = {
            **environment,
            **(container.get("Environment") or {}),
            "SAGEMAKER_BIND_TO_PORT": str(self._port),
            **({} if isolated() else {"SM_MODEL_DIR": str(model)}),
        }
        self._container = Container(command, given, folder, report)

    @property
    def running(self) -> bool:
        """Whether the container has not ended."""
        return self._container.running

    def wait_until_healthy(self, seconds: float, over: Callable[[], bool]) -> bool:
        """Whether GET /ping answered 200 within `seconds`, before the container ended or `over` held.

        The service starts a container that ended again, until the time is over; here once is enough.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not over():
            if self.ask("GET", "/ping", timeout=_PING_SECONDS).status == 200:
                return True
            if not self.running:
                return False
            time.sleep(_INTERVAL)
        return False

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 60.0,
    ) -> Answer:
        """Ask the container; 60 seconds are the service's own limit of an invocation."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=timeout)
        try:
            connection.request(method, path, body=body, headers=dict(headers or {}))
            response = connection.getresponse()
            kind = response.getheader("Content-Type") or "application/octet-stream"
            return Answer(response.status, response.read(), kind)
        except (OSError, http.client.HTTPException):
            return Answer(0, b"", "")
        finally:
            connection.close()

    def close(self) -> None:
        """End the container."""
        self._container.stop()
        shutil.rmtree(self._folder, ignore_errors=True)


def _fetch(s3: Any, container: Mapping[str, Any], model: Path) -> None:
    """Put the model's files in place: a prefix as it is, an archive unpacked."""
    source = (container.get("ModelDataSource") or {}).get("S3DataSource")
    if source and source["CompressionType"] == "None":
        download(s3, source["S3Uri"], model)
        return
    uri = source["S3Uri"] if source else container.get("ModelDataUrl")
    if uri:
        archive = model.parent / "model.tar.gz"
        download(s3, uri, model.parent)
        (model.parent / split(uri)[1].rpartition("/")[2]).rename(archive)
        with tarfile.open(archive) as file:
            file.extractall(model, filter="data")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[1]
