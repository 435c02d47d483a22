"""Cloud Storage's batches: many calls in one, each answered in its part."""

from __future__ import annotations

import re
from collections.abc import Callable
from email import message_from_bytes
from email.message import Message
from typing import Any

from werkzeug import Request, Response
from werkzeug.test import EnvironBuilder, run_wsgi_app

from mlops_assets_tests.standins.gcp.web import Route

_BOUNDARY = "batch_stand_in"


class Batch:
    """Serves `/batch/storage/v1` by calling `application` for each part."""

    def __init__(self, application: Callable[..., Any]) -> None:
        self._application = application

    def routes(self) -> list[Route]:
        """The one method."""
        return [Route("storage.batch", "POST", "/batch/storage/v1", self._answer)]

    def _answer(self, request: Request) -> Response:
        head = f"Content-Type: {request.content_type}\r\n\r\n".encode()
        parts = message_from_bytes(head + request.get_data()).get_payload()
        assert isinstance(parts, list)
        body = b"".join(self._part(request, part) for part in parts if isinstance(part, Message))
        body += f"--{_BOUNDARY}--\r\n".encode()
        return Response(body, content_type=f"multipart/mixed; boundary={_BOUNDARY}")

    def _part(self, request: Request, part: Message) -> bytes:
        inner = part.get_payload(decode=True)
        assert isinstance(inner, bytes)
        head, _, content = inner.replace(b"\r\n", b"\n").partition(b"\n\n")
        line, *headers = head.decode().splitlines()
        method, place, *_ = line.split()
        path = re.sub(r"^https?://[^/]+", "", place)
        builder = EnvironBuilder(
            method=method,
            path=path.partition("?")[0],
            query_string=path.partition("?")[2],
            base_url=request.host_url,
            headers=[(name, value) for name, _, value in (line.partition(": ") for line in headers)],
            data=content,
        )
        environ = builder.get_environ()
        environ["RAW_URI"] = path
        environ["HTTP_AUTHORIZATION"] = request.headers.get("Authorization", "")
        answer, status, answered = run_wsgi_app(self._application, environ)
        body = b"".join(answer)
        identity = (part.get("Content-ID") or "").strip("<>")
        lines = [
            f"--{_BOUNDARY}",
            "Content-Type: application/http",
            f"Content-ID: <response-{identity}>",
            "",
            f"HTTP/1.1 {status}",
            f"Content-Type: {answered.get('Content-Type', 'application/json')}",
            f"Content-Length: {len(body)}",
            "",
            "",
        ]
        return "\r\n".join(lines).encode() + body + b"\r\n"
