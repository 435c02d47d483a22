"""The model server's HTTP application: the routes of SageMaker's and Vertex AI's containers, with limits."""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mlops_assets.errors import MlopsAssetsError, SignatureError
from mlops_assets.runtime import wire
from mlops_assets.runtime.bodies import TooLargeError
from mlops_assets.runtime.model import LoadedModel

logger = logging.getLogger("mlops_assets.serve")

_STATUS: tuple[tuple[type[SignatureError], int], ...] = (
    (wire.UnsupportedFormatError, 415),
    (wire.NotAcceptableError, 406),
    (TooLargeError, 413),
    (SignatureError, 400),
)
_MENDS = {
    404: "The routes are GET /ping, POST /invocations and GET /metadata.",
    405: "Use GET for /ping and /metadata, POST for /invocations.",
}


@dataclass(frozen=True)
class Limits:
    """What one server takes on.

    Attributes:
        body: bytes of a request body; the default is SageMaker's own limit, 6 MiB.
        concurrency: predictions at once, each in its own thread.
        queue: requests that may wait beside them; further ones get 503.
        seconds: time that a body may take to arrive, and that a prediction may take.
    """

    body: int = 6_291_456
    concurrency: int = 4
    queue: int = 64
    seconds: float = 60.0


@dataclass(frozen=True)
class Identity:
    """Who serves: reported by /ping and /metadata. `instance` tells two servers of one version apart."""

    version: int | None = None
    digest: str | None = None
    instance: str | None = None


@dataclass(frozen=True)
class Routes:
    """Paths beside /ping and /invocations (Vertex AI: AIP_HEALTH_ROUTE, AIP_PREDICT_ROUTE)."""

    health: tuple[str, ...] = ("/ping",)
    predict: tuple[str, ...] = ("/invocations",)


class RefusedError(Exception):
    """A request that is answered with an error of this status."""

    def __init__(
        self, status: int, error: MlopsAssetsError, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(status)
        self.status = status
        self.error = error
        self.headers = dict(headers or {})


@dataclass
class ModelApp:
    """One model behind HTTP.

    Attributes:
        model: None until it is loaded; /ping answers 503 until then.
        token: bearer token that /invocations and /metadata ask for, where there is one.
        draining: connections are closed after their next answer.
    """

    identity: Identity = field(default_factory=Identity)
    limits: Limits = field(default_factory=Limits)
    routes: Routes = field(default_factory=Routes)
    token: str | None = field(default=None, repr=False)
    model: LoadedModel | None = None
    draining: bool = False
    busy: int = field(default=0, init=False)
    _pool: ThreadPoolExecutor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._pool = ThreadPoolExecutor(self.limits.concurrency, thread_name_prefix="predict")

    def asgi(self) -> ASGIApp:
        """The application, with access log and error answers."""
        routes = [Route(path, self._ping, methods=["GET"]) for path in dict.fromkeys(self.routes.health)]
        routes += [Route(path, self._invoke, methods=["POST"]) for path in dict.fromkeys(self.routes.predict)]
        routes.append(Route("/metadata", self._metadata, methods=["GET"]))
        handlers: dict[Any, Callable[[Request, Any], Awaitable[Response]]] = {
            HTTPException: _answer_http,
            RefusedError: _answer_refused,
            SignatureError: _answer_signature,
            ClientDisconnect: _answer_gone,
            Exception: _answer_failed,
        }
        app = Starlette(routes=routes, exception_handlers=handlers)  # type: ignore[arg-type]
        app.router.redirect_slashes = False
        return self._logged(app)

    async def _ping(self, _: Request) -> Response:
        ready = self.model is not None
        body = {"status": "ready" if ready else "loading", "instance": self.identity.instance}
        if self.model is not None:
            body |= {"model": self.model.signature.model, "version": self.identity.version}
        return JSONResponse(body, status_code=200 if ready else 503)

    async def _metadata(self, request: Request) -> Response:
        self._authorise(request)
        signature = self._ready().signature.model_dump(mode="json")
        identity = {"version": self.identity.version, "digest": self.identity.digest}
        return JSONResponse({"model": signature["model"], **identity, "signature": signature})

    async def _invoke(self, request: Request) -> Response:
        self._authorise(request)
        model = self._ready()
        kind = wire.media_type(request.headers.get("content-type"))
        answer = wire.accepted(request.headers.get("accept"))
        if request.headers.get("content-encoding", "identity") != "identity":
            raise RefusedError(415, SignatureError("The body is compressed.", mend="Send it as it is."))
        if self.busy >= self.limits.concurrency + self.limits.queue:
            raise _busy("More requests are waiting than this server takes on.")
        self.busy += 1
        work: asyncio.Future[tuple[bytes, int]] | None = None
        try:
            body = await self._body(request)
            loop = asyncio.get_running_loop()
            work = loop.run_in_executor(self._pool, _predict, model, body, kind, answer)
            content, rows = await asyncio.wait_for(asyncio.shield(work), self.limits.seconds)
        except TimeoutError:
            raise _busy(f"The prediction took longer than {self.limits.seconds:g} seconds.", 504) from None
        finally:
            # A thread cannot be stopped: its place stays taken until it ends.
            if work is None or work.done():
                self._release()
            else:
                work.add_done_callback(self._release)
        request.scope["mlops.rows"] = rows
        return Response(content, media_type=answer.name)

    def _release(self, work: asyncio.Future[Any] | None = None) -> None:
        self.busy -= 1
        if work is not None and not work.cancelled():
            work.exception()

    def _ready(self) -> LoadedModel:
        if self.model is None:
            raise _busy("The model is still being loaded.")
        return self.model

    def _authorise(self, request: Request) -> None:
        if self.token is None:
            return
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), self.token.encode()):
            raise RefusedError(
                401,
                SignatureError(
                    "The bearer token is missing or wrong.",
                    where="Authorization",
                    mend="Send the header 'Authorization: Bearer <token>'.",
                ),
                {"WWW-Authenticate": "Bearer"},
            )

    async def _body(self, request: Request) -> bytes:
        limit = self.limits.body
        length = request.headers.get("content-length", "0")
        if length.isdecimal() and int(length) > limit:
            raise _too_large(limit)
        body = bytearray()
        try:
            async with asyncio.timeout(self.limits.seconds):
                async for chunk in request.stream():
                    body += chunk
                    if len(body) > limit:
                        raise _too_large(limit)
        except TimeoutError:
            late = SignatureError("The body did not arrive in time.", where="body", mend="Send it again.")
            raise RefusedError(408, late, {"Connection": "close"}) from None
        return bytes(body)

    def _logged(self, app: ASGIApp) -> ASGIApp:
        """`app` with one line of JSON per request; never a payload, a query or a header."""

        async def run(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                return
            started = time.perf_counter()
            record: dict[str, Any] = {
                "method": scope["method"],
                "path": scope["path"][:200],
                "status": 500,
                "bytes": 0,
            }

            async def sending(message: Message) -> None:
                if message["type"] == "http.response.start":
                    record["status"] = message["status"]
                    if self.draining:
                        message["headers"] = [*message["headers"], (b"connection", b"close")]
                else:
                    record["bytes"] += len(message.get("body", b""))
                await send(message)

            try:
                await app(scope, receive, sending)
            except Exception as error:
                # The message of an unforeseen error may quote the request: kind and place alone are logged.
                place = "".join(traceback.format_tb(error.__traceback__)[-3:])
                logger.error(json.dumps({"error": type(error).__name__, "at": place}))
            finally:
                if "mlops.rows" in scope:
                    record["rows"] = scope["mlops.rows"]
                record["ms"] = round((time.perf_counter() - started) * 1000, 2)
                if scope["path"] not in self.routes.health:  # asked every few seconds: it would bury the rest
                    logger.info(json.dumps(record))

        return run


def _predict(
    model: LoadedModel, body: bytes, kind: wire.MediaType, answer: wire.MediaType
) -> tuple[bytes, int]:
    request = wire.read(body, kind, model.signature)
    predictions = model.predict(request.table)
    return wire.write(predictions, answer, header=request.header), predictions.num_rows


def _busy(what: str, status: int = 503) -> RefusedError:
    return RefusedError(status, SignatureError(what, mend="Try again in a moment."), {"Retry-After": "1"})


def _too_large(limit: int) -> RefusedError:
    error = SignatureError(
        f"The body is larger than {limit:,} bytes.",
        where="body",
        mend="Send fewer rows per request, or score a file with `mlops-assets predict`.",
    )
    return RefusedError(413, error)


def _error(status: int, error: MlopsAssetsError, headers: Mapping[str, str] | None = None) -> Response:
    body = {"error": {"what": error.what, "where": error.where, "mend": error.mend}}
    return JSONResponse(body, status_code=status, headers=dict(headers or {}))


async def _answer_http(_: Request, error: HTTPException) -> Response:
    return _error(
        error.status_code, SignatureError(error.detail, mend=_MENDS.get(error.status_code)), error.headers
    )


async def _answer_refused(_: Request, error: RefusedError) -> Response:
    return _error(error.status, error.error, error.headers)


async def _answer_signature(_: Request, error: SignatureError) -> Response:
    return _error(next(status for kind, status in _STATUS if isinstance(error, kind)), error)


async def _answer_gone(_: Request, __: ClientDisconnect) -> Response:
    return _error(400, SignatureError("The client went away.", where="body"))


async def _answer_failed(_: Request, __: Exception) -> Response:
    return _error(
        500, SignatureError("The model could not answer.", mend="The server's log names the place.")
    )
