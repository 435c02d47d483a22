"""How bytes come in: in one piece, with their description (multipart), or in chunks that can be resumed.

Google's APIs take them in the same three ways; what becomes of them is the API's affair.
"""

from __future__ import annotations

import json
import re
import shutil
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from werkzeug import Request, Response

from mlops_assets_tests.standins.gcp.web import ApiError, json_answer, json_body

# All chunks but the last are multiples of this.
_QUANTUM = 256 << 10
_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")
_HASHES = {"crc32c": "crc32c", "md5": "md5Hash"}


@dataclass(frozen=True)
class Upload:
    """What came in.

    Attributes:
        owner: whose it is to be: the value in the path, a bucket or a project.
        described: the description that came with it, with the checksums that the client sent.
        conditions: parameters of the request.
        path: the bytes, the receiver's to keep.
        host: the URL of this server.
    """

    owner: str
    described: dict[str, Any]
    conditions: Mapping[str, str]
    path: Path
    host: str


@dataclass
class _Session:
    """A resumable upload: what has come so far, and in the end the answer."""

    upload: Upload
    answer: Mapping[str, Any] | None = None
    ended: bool = field(default=False)


class Uploads:
    """Serves one path of uploads.

    `path` is the URL's with `{owner}` in it, `scratch` names a new file, `find` raises where an owner is not
    there, `receive` answers a whole upload with the resource that it became.
    """

    def __init__(
        self,
        path: str,
        scratch: Callable[[], Path],
        find: Callable[[str], object],
        receive: Callable[[Upload], Mapping[str, Any]],
    ) -> None:
        self._path, self._scratch, self._find, self._receive = path, scratch, find, receive
        self._sessions: dict[str, _Session] = {}

    def insert(self, request: Request, owner: str) -> Response:
        """POST: everything at once, or the start of a resumable upload (gcsfs posts its chunks too)."""
        if "upload_id" in request.args:
            return self.proceed(request, owner)
        self._find(owner)
        kind = request.args.get("uploadType")
        if kind == "media":
            described = {"name": request.args["name"], "contentType": request.headers.get("Content-Type")}
            return self._put(request, owner, described, self._received(request))
        if kind == "multipart":
            return self._put(request, owner, *self._parts(request))
        if kind == "resumable":
            return self._start(request, owner)
        raise ApiError(400, "invalid", f"Unknown uploadType: {kind}.")

    def proceed(self, request: Request, owner: str) -> Response:
        """PUT: a chunk, or the question how much has come."""
        session = self._sessions.get(request.args["upload_id"])
        if session is None or session.upload.owner != owner:
            raise ApiError(404, "notFound", "There is no such upload.")
        if session.ended:
            return Response(status=499)
        if session.answer is not None:  # the answer to the last chunk was lost
            return json_answer(session.answer)
        have = session.upload.path.stat().st_size
        match = _RANGE.fullmatch(request.headers.get("Content-Range", f"bytes 0-0/{request.content_length}"))
        if match is None:
            raise ApiError(400, "invalid", "Failed to parse Content-Range header.")
        start, _, total = match.groups()
        if start is not None:
            if int(start) > have:
                raise ApiError(503, "backendError", f"Got bytes from {start}, expected {have}.")
            have = self._chunk(request, session, int(start), last=total != "*")
        if total != "*" and have == int(total):
            return self._finish(request, session)
        return Response(status=308, headers={"Range": f"bytes=0-{have - 1}"} if have else {})

    def cancel(self, request: Request, owner: str) -> Response:
        """DELETE: forget what has come."""
        session = self._sessions.get(request.args["upload_id"])
        if session is not None and session.upload.owner == owner and session.answer is None:
            session.ended = True
            session.upload.path.unlink(missing_ok=True)
        return Response(status=499)

    def _start(self, request: Request, owner: str) -> Response:
        described = json_body(request)
        described.setdefault("name", request.args.get("name"))
        if described.get("contentType") is None:
            described["contentType"] = request.headers.get("X-Upload-Content-Type")
        upload = Upload(owner, described, request.args.to_dict(), self._scratch(), request.host_url)
        upload.path.touch()
        key = uuid.uuid4().hex
        self._sessions[key] = _Session(upload)
        path = self._path.format(owner=owner)
        place = f"{request.host_url.rstrip('/')}{path}?uploadType=resumable&upload_id={key}"
        return Response(status=200, headers={"Location": place, "X-GUploader-UploadID": key})

    def _chunk(self, request: Request, session: _Session, start: int, *, last: bool) -> int:
        with session.upload.path.open("r+b") as file:
            file.seek(start)
            shutil.copyfileobj(request.stream, file)
            file.truncate()
            have = file.tell()
        if not last and have % _QUANTUM:
            raise ApiError(400, "invalid", f"Chunks must be multiples of {_QUANTUM} bytes.")
        return have

    def _finish(self, request: Request, session: _Session) -> Response:
        for item in filter(None, request.headers.get("X-Goog-Hash", "").split(",")):
            name, _, value = item.strip().partition("=")
            session.upload.described[_HASHES[name]] = value
        session.answer = self._receive(session.upload)
        return json_answer(session.answer)

    def _put(self, request: Request, owner: str, described: dict[str, Any], path: Path) -> Response:
        upload = Upload(owner, described, request.args.to_dict(), path, request.host_url)
        return json_answer(self._receive(upload))

    def _received(self, request: Request) -> Path:
        path = self._scratch()
        with path.open("wb") as file:
            shutil.copyfileobj(request.stream, file)
        return path

    def _parts(self, request: Request) -> tuple[dict[str, Any], Path]:
        """Description and bytes of a body in two parts, which may be small enough for memory."""
        boundary = request.mimetype_params.get("boundary", "").strip("'")
        _, first, second, *_ = request.get_data().split(b"--" + boundary.encode())
        described = json.loads(_split(first)[1])
        head, content = _split(second)
        described.setdefault("name", request.args.get("name"))
        if kind := re.search(rb"content-type: *([^\r\n]+)", head, re.IGNORECASE):
            described.setdefault("contentType", kind[1].decode())
        path = self._scratch()
        path.write_bytes(content[:-2] if content.endswith(b"\r\n") else content[:-1])
        return described, path


def _split(part: bytes) -> tuple[bytes, bytes]:
    """Head and content."""
    head, content = re.split(rb"\r?\n\r?\n", part, maxsplit=1)
    return head, content
