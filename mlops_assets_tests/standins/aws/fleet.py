"""The instances of one endpoint config: a container per variant, whatever its number of instances."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Condition
from typing import Any

from mlops_assets_tests.standins.aws.log_stream import LogStream
from mlops_assets_tests.standins.aws.model_server import DEFAULT_SERVE, ModelServer

_LEAVING = 10.0  # seconds that requests under way may take when a fleet ends


class Fleet:
    """Started containers, by variant.

    Args:
        config: as DescribeEndpointConfig answers.
        servers: variant -> its container.
        close: ends what belongs to them.
    """

    def __init__(
        self, config: Mapping[str, Any], servers: Mapping[str, ModelServer], close: Callable[[], None]
    ) -> None:
        self.config = config
        self._servers, self._close = dict(servers), close
        self._asked, self._over = 0, False
        self._changed = Condition()

    @property
    def variants(self) -> list[dict[str, Any]]:
        """ProductionVariantSummary of each."""
        return [
            {
                "VariantName": variant["VariantName"],
                "CurrentWeight": variant.get("InitialVariantWeight", 1.0),
                "DesiredWeight": variant.get("InitialVariantWeight", 1.0),
                "CurrentInstanceCount": variant["InitialInstanceCount"],
                "DesiredInstanceCount": variant["InitialInstanceCount"],
            }
            for variant in self.config["ProductionVariants"]
        ]

    def unhealthy(self, longest: float | None, over: Callable[[], bool]) -> str | None:
        """The first variant that is not healthy in its time (at most `longest` seconds)."""
        for variant in self.config["ProductionVariants"]:
            seconds = variant.get("ContainerStartupHealthCheckTimeoutInSeconds", 600)
            server = self._servers[variant["VariantName"]]
            if not server.wait_until_healthy(min(seconds, longest or seconds), over):
                return variant["VariantName"]
        return None

    @contextmanager
    def variant(self, target: str | None) -> Iterator[tuple[str, ModelServer]]:
        """The variant that a request goes to, by weight or as named (KeyError for an unknown one).

        A fleet does not end while it is used.
        """
        weights = {item["VariantName"]: item["CurrentWeight"] for item in self.variants}
        name = target or random.choices(list(weights), list(weights.values()))[0]
        server = self._servers[name]
        with self._changed:
            self._asked += 1
        try:
            yield name, server
        finally:
            with self._changed:
                self._asked -= 1
                self._changed.notify_all()

    def close(self) -> None:
        """End the containers, once what they were asked is answered."""
        with self._changed:
            self._changed.wait_for(lambda: self._asked == 0, _LEAVING)
            if self._over:
                return
            self._over = True
        self._close()


class FleetStarter:
    """Starts fleets.

    Attributes:
        images: what an image runs, where it is not this environment's model server.
    """

    def __init__(self, folder: Path, client: Callable[[str], Any], environment: Mapping[str, str]) -> None:
        self._folder, self._client, self._environment = folder, client, environment
        self.images: dict[str, Sequence[str]] = {}
        # A container ends with the thread that started it: this one lives as long as the server.
        self._starting = ThreadPoolExecutor(1)

    def close(self) -> None:
        """Nothing is started any more; every container ends."""
        self._starting.shutdown()

    def server(
        self, container: Mapping[str, Any], group: str, stream: str, extra: Mapping[str, str] | None = None
    ) -> tuple[ModelServer, LogStream]:
        """One model's container, and the log that it writes to.

        Raises:
            DownloadError: where the model's files are not there.
        """
        logs = LogStream(self._client("logs"), group, stream)
        folder = self._folder / "hosting" / uuid.uuid4().hex
        command = tuple(self.images.get(container["Image"], DEFAULT_SERVE))
        environment = {**self._environment, **(extra or {})}
        try:
            made = self._starting.submit(
                ModelServer, container, command, folder, self._client("s3"), logs, environment
            )
            return made.result(), logs
        except BaseException:
            logs.close()
            raise

    def start(self, endpoint: str, config: Mapping[str, Any], models: Mapping[str, Any]) -> Fleet:
        """A fleet of one config; `models` are the variants' models as DescribeModel answers.

        Raises:
            DownloadError: where a model's files are not there.
        """
        started: dict[str, tuple[ModelServer, LogStream]] = {}

        def close() -> None:
            for server, logs in started.values():
                server.close()
                logs.close()

        try:
            for variant in config["ProductionVariants"]:
                name = variant["VariantName"]
                container = models[variant["ModelName"]]["PrimaryContainer"]
                group, stream = f"/aws/sagemaker/Endpoints/{endpoint}", f"{name}/i-{uuid.uuid4().hex[:17]}"
                started[name] = self.server(container, group, stream)
        except BaseException:
            close()
            raise
        return Fleet(config, {name: server for name, (server, _) in started.items()}, close)
