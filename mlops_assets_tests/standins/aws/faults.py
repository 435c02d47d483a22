"""In front of the services: every call recorded, calls that fail on demand, nothing half-served."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import astuple
from threading import Lock
from typing import Any

from mlops_assets_tests.standins.aws.permissions import Asked, asked
from mlops_assets_tests.standins.faults import Application, Fault, FaultPlan

__all__ = ["ASKED", "SERVED", "Fault", "Faults"]

# By the names that requests are signed with.
SERVED = {
    "s3",
    "sqs",
    "sts",
    "iam",
    "logs",
    "monitoring",
    "secretsmanager",
    "kms",
    "sagemaker",
    "servicequotas",
    "redshift",
    "redshift-data",
}
# Where the stand-in itself tells who asked for what.
ASKED = "/_standin/asked"
_SERVICE = re.compile(r"Credential=[^/]+/\d+/[^/]+/([^/]+)/")
_ACTION = re.compile(rb"(?:^|&)Action=(\w+)")


class Faults(FaultPlan):
    """WSGI middleware.

    Attributes:
        calls: how many there were, by `service:Operation`.
        sent: bytes of their answers.
    """

    def __init__(self, application: Application) -> None:
        super().__init__()
        self.asked: set[Asked] = set()
        self.sent: Counter[str] = Counter()
        self._application, self._one_writer = application, Lock()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        service, operation = _named(environ)
        call = f"{service}:{operation}"
        if environ["PATH_INFO"] == ASKED:
            return self._tell(start_response)
        self.asked.add(asked(environ, service, operation))
        fault = self.next(call, environ["PATH_INFO"])
        answer: list[Any] = []
        body: Iterable[bytes] = ()
        try:
            if service in SERVED and (fault is None or fault.afterwards):
                # S3 promises that of two conditional writes one wins; moto checks first and writes then.
                writing = service == "s3" and environ["REQUEST_METHOD"] not in ("GET", "HEAD")
                with self._one_writer if writing else nullcontext():
                    body = self._application(environ, lambda *args: answer.extend(args[:2]))
            else:  # a client that is still sending its body would not see the answer
                environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
                fault = fault or Fault(call, 501, "UnknownOperationException")
        except NotImplementedError:
            fault = Fault(call, 501, "UnknownOperationException")
        except Exception as error:  # moto's own: the service's clients would see no more than this
            fault = Fault(call, 500, f"InternalFailure ({type(error).__name__}: {error})")
        if fault is not None:
            return _error(environ, start_response, fault, call)
        size = int(dict(answer[1]).get("Content-Length", 0))
        with self._lock:
            self.sent[call] += size
        start_response(*answer)
        return body

    def _tell(self, start_response: Callable[..., Any]) -> list[bytes]:
        """Who asked for what so far."""
        body = json.dumps(sorted([*astuple(call)] for call in tuple(self.asked))).encode()
        start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
        return [body]


def _named(environ: dict[str, Any]) -> tuple[str, str]:
    """Service and operation; of REST services the HTTP method."""
    signed = _SERVICE.search(environ.get("HTTP_AUTHORIZATION", "") or environ.get("QUERY_STRING", ""))
    service = signed[1] if signed else "s3"  # moto answers unsigned requests as S3 does
    target = environ.get("HTTP_X_AMZ_TARGET")
    if target:
        return service, target.rpartition(".")[2]
    if environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded"):
        action = _ACTION.search(_peeked(environ))
        if action:
            return service, action[1].decode()
    return service, environ["REQUEST_METHOD"]


def _peeked(environ: dict[str, Any]) -> bytes:
    """The body, left there for the application."""
    from io import BytesIO

    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    environ["wsgi.input"] = BytesIO(body)
    return body


def _error(
    environ: dict[str, Any], start_response: Callable[..., Any], fault: Fault, call: str
) -> list[bytes]:
    """The answer that a client of the service understands."""
    status, code = fault.status, fault.code
    message = f"{call} is not served by the stand-in." if status == 501 else f"{code}: {call}."
    if "HTTP_X_AMZ_TARGET" in environ:
        text = json.dumps({"__type": code, "message": message})
        kind = "application/x-amz-json-1.1"
    else:
        text = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
        if not call.startswith("s3:"):
            text = f"<ErrorResponse>{text}</ErrorResponse>"
        kind = "application/xml"
    body = text.encode()
    headers = [("Content-Type", kind), ("Content-Length", str(len(body))), ("x-amzn-errortype", code)]
    start_response(f"{status} {code}", headers)
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]
