"""Long-running operations: started, kept, polled, listed, waited for."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Thread
from typing import Any

from google.longrunning import operations_pb2
from google.protobuf import empty_pb2

from mlops_assets_tests.standins.gcp.vertex_errors import RpcError
from mlops_assets_tests.standins.gcp.vertex_resources import Resources, new_id
from mlops_assets_tests.standins.gcp.vertex_routes import raw

_PROMPT = 0.05
_LONGEST_WAIT = 30.0


class Operations:
    """Operations of every resource."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._threads: list[Thread] = []

    def start(self, above: str, work: Callable[[], Any], metadata: Any = None) -> Any:
        """Begin `work`, whose message is the response; what is done at once is answered as done.

        Args:
            above: resource that the operation's name begins with.
            work: raises RpcError where it fails.
            metadata: of the operation.
        """
        operation: Any = operations_pb2.Operation(name=f"{above}/operations/{new_id()}")
        if metadata is not None:
            operation.metadata.Pack(raw(metadata))
        self._resources.put(operation.name, operation)
        thread = Thread(target=self._run, args=(operation.name, work), daemon=True)
        self._threads.append(thread)
        thread.start()
        thread.join(_PROMPT)
        return self._resources.get(operation.name)

    def get_operation(self, request: Any) -> Any:
        """GetOperation."""
        return self._resources.get(request.name)

    def list_operations(self, request: Any) -> Any:
        """ListOperations."""
        found, token = self._resources.listed(request, self._resources.of(f"{request.name}/operations"))
        return operations_pb2.ListOperationsResponse(operations=found, next_page_token=token)

    def wait_operation(self, request: Any) -> Any:
        """WaitOperation."""
        until = time.monotonic() + min(request.timeout.seconds or _LONGEST_WAIT, _LONGEST_WAIT)
        while not (found := self._resources.get(request.name)).done and time.monotonic() < until:
            time.sleep(0.02)
        return found

    def delete_operation(self, request: Any) -> Any:
        """DeleteOperation."""
        self._resources.delete(request.name)
        return empty_pb2.Empty()

    def close(self) -> None:
        """Wait for what runs."""
        for thread in self._threads:
            thread.join()

    def _run(self, name: str, work: Callable[[], Any]) -> None:
        def failed(operation: Any, error: RpcError) -> None:
            operation.error.code, operation.error.message = error.number, error.message

        try:
            response = work()
        except RpcError as error:
            refused = error
            self._resources.update(name, lambda operation: failed(operation, refused))
        except Exception as error:  # the stand-in's own fault must not look like the service's success
            broken = RpcError("INTERNAL", f"{type(error).__name__}: {error}")
            self._resources.update(name, lambda operation: failed(operation, broken))
        else:
            packed = raw(response if response is not None else empty_pb2.Empty())
            self._resources.update(name, lambda operation: operation.response.Pack(packed))
        self._resources.update(name, lambda operation: setattr(operation, "done", True))
