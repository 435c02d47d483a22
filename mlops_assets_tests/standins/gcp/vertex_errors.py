"""Errors of Google's APIs as they travel over REST: google.rpc codes."""

from __future__ import annotations

from google.rpc import code_pb2

_HTTP = {
    "CANCELLED": 499,
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "ABORTED": 409,
    "RESOURCE_EXHAUSTED": 429,
    "INTERNAL": 500,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}


class RpcError(Exception):
    """A call that the service refuses.

    Args:
        code: name of a google.rpc.Code.
        message: what a person reads.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message

    @property
    def http(self) -> int:
        """The HTTP status."""
        return _HTTP[self.code]

    @property
    def number(self) -> int:
        """Its number in a google.rpc.Status."""
        return code_pb2.Code.Value(self.code)

    @property
    def body(self) -> dict[str, object]:
        """The answer's JSON."""
        return {"error": {"code": self.http, "message": self.message, "status": self.code}}
