"""In front of the APIs: who called what, and calls that fail on demand before or after they took effect."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from werkzeug import Request

from mlops_assets_tests.standins.faults import Fault, FaultPlan
from mlops_assets_tests.standins.gcp.identity import ServiceAccount, caller
from mlops_assets_tests.standins.gcp.web import Api, ApiError, drain

__all__ = ["Fault", "Faults"]


class Faults(FaultPlan):
    """WSGI middleware; a call is named as in `storage.objects.insert`, a fault's code is Google's reason.

    Attributes:
        asked: who called which method, each once.
        accounts: who may call.
    """

    def __init__(self, api: Api) -> None:
        super().__init__()
        self.asked: set[tuple[str, str]] = set()
        self.accounts: Sequence[ServiceAccount] = ()
        self._api = api

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        call = self._api.name(environ)
        self.asked.add((caller(environ, self.accounts), call))
        fault = self.next(call, environ["PATH_INFO"])
        if fault is None:
            return self._api(environ, start_response)
        if fault.afterwards:
            for _ in self._api(environ, lambda *_: None):
                pass
        else:
            drain(Request(environ))
        if fault.status == 0:
            connection: socket.socket = environ["werkzeug.socket"]
            connection.shutdown(socket.SHUT_RDWR)
            raise ConnectionResetError(fault.code)
        answer = ApiError(fault.status, fault.code, f"{fault.code}: {call}.").answer()
        return answer(environ, start_response)
