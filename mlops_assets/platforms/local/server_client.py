"""Asking a model server over HTTP: is it healthy, who is it, does it answer as it should."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Sequence
from typing import Any

from mlops_assets.errors import DeploymentError
from mlops_assets.platforms.smoke import answered_rows, request_body, smoke_test


class ServerClient:
    """One server's address; `token` goes with requests for predictions."""

    def __init__(self, host: str, port: int, *, token: str | None = None) -> None:
        self._host = reachable(host)
        self._port = port
        self._token = token

    def ping(self, timeout: float = 5.0) -> dict[str, Any] | None:
        """What a healthy server says of itself (model, version, instance), or None."""
        try:
            status, body = self._ask("GET", "/ping", timeout=timeout)
            answer = json.loads(body) if status == 200 else None
        except (OSError, http.client.HTTPException, ValueError):
            return None
        return answer if isinstance(answer, dict) else None

    def wait_until_healthy(self, deadline: float, alive: Callable[[], None]) -> None:
        """Return once it answers /ping with 200.

        Args:
            deadline: `time.monotonic()` at which waiting ends.
            alive: raises where the process has ended.

        Raises:
            DeploymentError: where it is not healthy in time.
        """
        while self.ping(timeout=min(5.0, max(deadline - time.monotonic(), 0.1))) is None:
            alive()
            if time.monotonic() > deadline:
                raise DeploymentError("It was not healthy in time.", mend="Raise MLOPS_ENDPOINT_TIMEOUT.")
            time.sleep(0.05)

    def smoke(self, samples: Sequence[Any], expected: Sequence[Any], timeout: float) -> float:
        """Ask for the samples and compare; returns milliseconds per request, the mean.

        Raises:
            DeploymentError: where an answer is wrong or does not come.
        """
        return smoke_test(lambda rows: self._invoke(rows, timeout), samples, expected)

    def _invoke(self, rows: Sequence[Any], timeout: float) -> list[dict[str, Any]]:
        headers = {"Content-Type": "application/json", "Accept": "application/jsonlines"}
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token}"
        body = request_body(rows)
        try:
            status, answer = self._ask("POST", "/invocations", body=body, headers=headers, timeout=timeout)
        except (OSError, http.client.HTTPException) as error:
            raise DeploymentError(
                f"It did not answer ({type(error).__name__}).", where="smoke test"
            ) from None
        if status != 200:
            raise DeploymentError(
                f"It answered {status}: {answer[:500].decode(errors='replace')}", where="smoke test"
            )
        return answered_rows(answer)

    def _ask(
        self,
        method: str,
        path: str,
        *,
        timeout: float,
        body: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=timeout)
        try:
            connection.request(method, path, body=body, headers={"Connection": "close", **(headers or {})})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()


def reachable(host: str) -> str:
    """The address to reach a server that binds to `host`: a wildcard is reached by loopback."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104


def base_url(host: str, port: int) -> str:
    """`http://host:port` of a server that binds to `host`."""
    address = reachable(host)
    return f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}"
