"""What every API of the stand-in is made of: routes by Google's method ids, answers, errors in its shape."""

from __future__ import annotations

import gzip
import json
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import unquote

from werkzeug import Request, Response
from werkzeug.exceptions import HTTPException
from werkzeug.routing import Map, Rule

# Canonical names of google.rpc, by HTTP status.
_STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ALREADY_EXISTS",
    412: "FAILED_PRECONDITION",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
}
_BLOCK = 1 << 20


class ApiError(Exception):
    """A refusal, as a Google API answers it.

    Attributes:
        status: HTTP status.
        reason: Google's word for it, such as `notFound`, `conditionNotMet`.
    """

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status, self.reason = status, reason

    def answer(self) -> Response:
        """The response."""
        if self.status == 304:
            return Response(status=304)
        message = str(self)
        errors = [{"message": message, "domain": "global", "reason": self.reason}]
        error = {"code": self.status, "message": message, "errors": errors}
        return json_answer({"error": {**error, "status": _STATUS.get(self.status, "UNKNOWN")}}, self.status)


def json_answer(value: Mapping[str, Any], status: int = 200) -> Response:
    """A response of JSON."""
    return Response(json.dumps(value), status, content_type="application/json; charset=UTF-8")


@dataclass(frozen=True)
class Route:
    """One method of an API.

    Attributes:
        id: Google's name, such as `storage.objects.get`.
        path: as werkzeug writes it, `/storage/v1/b/<bucket>`; a value holds no slash, %2F is decoded in it.
        answer: called with the request and the path's values; a mapping is answered as JSON.
    """

    id: str
    method: str
    path: str
    answer: Callable[..., Response | Mapping[str, Any]]


class Surface(Protocol):
    """An API with a table of routes of its own."""

    def name(self, method: str, path: str) -> str | None:
        """The name of a call; None where it is not one of this API."""
        ...

    def answer(self, request: Request) -> Response:
        """The answer to a call that has a name."""
        ...


class Api:
    """A WSGI application of routes, and the name of each call.

    Attributes:
        admitted: whether a bearer token is good; a call without any always is.
    """

    admitted: Callable[[str], bool]

    def __init__(self, routes: Iterable[Route] = ()) -> None:
        self._routes: dict[str, Route] = {}
        self._map = Map(strict_slashes=False, merge_slashes=False)
        self._surfaces: list[Surface] = []
        self.add(routes)

    def add(self, routes: Iterable[Route]) -> None:
        """Serve more."""
        for number, route in enumerate(routes, len(self._routes)):
            endpoint = f"{number}:{route.id}"
            self._routes[endpoint] = route
            self._map.add(Rule(route.path, endpoint=endpoint, methods=[route.method]))

    def mount(self, surface: Surface) -> None:
        """Serve what `surface` has a name for."""
        self._surfaces.append(surface)

    def name(self, environ: dict[str, Any]) -> str:
        """Google's id of the method that is called, or `unknown`."""
        for surface in self._surfaces:
            if found := surface.name(environ["REQUEST_METHOD"], environ["PATH_INFO"]):
                return found
        try:
            return self._match(environ)[0].id
        except HTTPException:
            return "unknown"

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        request = Request(environ)
        try:
            response = self._answer(request)
        except ApiError as error:
            response = error.answer()
        except Exception as error:  # the clients see no more than they would of a fault of the service
            traceback.print_exc()
            response = ApiError(500, "backendError", f"{type(error).__name__}: {error}").answer()
        drain(request)
        return response(environ, start_response)

    def _answer(self, request: Request) -> Response:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme == "Bearer" and not self.admitted(token):
            raise ApiError(401, "authError", "Invalid Credentials")
        for surface in self._surfaces:
            if surface.name(request.method, request.path):
                return surface.answer(request)
        try:
            route, values = self._match(request.environ)
        except HTTPException:
            raise ApiError(
                501, "notImplemented", f"{request.method} {request.path} is not served by the stand-in."
            ) from None
        answer = route.answer(request, **{name: unquote(value) for name, value in values.items()})
        return answer if isinstance(answer, Response) else json_answer(answer)

    def _match(self, environ: dict[str, Any]) -> tuple[Route, Mapping[str, str]]:
        # Decoded, a slash in an object's name would look like one between the path's parts.
        path = environ.get("RAW_URI", environ["PATH_INFO"]).partition("?")[0]
        adapter = self._map.bind("", path_info=path, default_method=environ["REQUEST_METHOD"])
        endpoint, values = adapter.match()
        return self._routes[endpoint], values


def drain(request: Request) -> None:
    """Read what is left of a body: a client that is still sending would not see the answer."""
    while request.stream.read(_BLOCK):
        pass


def json_body(request: Request) -> dict[str, Any]:
    """The body as JSON, also where it is compressed; empty where there is none."""
    body = request.get_data(cache=True)
    if request.headers.get("Content-Encoding") == "gzip":
        body = gzip.decompress(body)
    return json.loads(body) if body.strip() else {}
