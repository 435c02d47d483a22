"""How bytes come in: in one piece, with their description (multipart), or in chunks that can be resumed."""

from __future__ import annotations

import json
import re
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from werkzeug import Request, Response

from mlops_assets_tests.standins.gcp.objects import Objects, Stored
from mlops_assets_tests.standins.gcp.web import ApiError, json_answer, json_body

# All chunks but the last are multiples of this.
_QUANTUM = 256 << 10
_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")
_HASHES = {"crc32c": "crc32c", "md5": "md5Hash"}


@dataclass
class _Session:
    """A resumable upload: what has come so far, and in the end the object."""

    bucket: str
    described: dict[str, Any]
    conditions: Mapping[str, str]
    path: Path
    stored: Stored | None = None
    ended: bool = field(default=False)

    @property
    def name(self) -> str:
        return str(self.described["name"])


class Uploads:
    """Serves `/upload/storage/v1/b/<bucket>/o`."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._sessions: dict[str, _Session] = {}

    def insert(self, request: Request, bucket: str) -> Response:
        """POST: everything at once, or the start of a resumable upload (gcsfs posts its chunks too)."""
        if "upload_id" in request.args:
            return self.proceed(request, bucket)
        self._objects.bucket(bucket)
        kind = request.args.get("uploadType")
        if kind == "media":
            described = {"name": request.args["name"], "contentType": request.headers.get("Content-Type")}
            return self._put(request, bucket, described, self._received(request))
        if kind == "multipart":
            return self._put(request, bucket, *self._parts(request))
        if kind == "resumable":
            return self._start(request, bucket)
        raise ApiError(400, "invalid", f"Unknown uploadType: {kind}.")

    def proceed(self, request: Request, bucket: str) -> Response:
        """PUT: a chunk, or the question how much has come."""
        session = self._sessions.get(request.args["upload_id"])
        if session is None or session.bucket != bucket:
            raise ApiError(404, "notFound", "There is no such upload.")
        if session.ended:
            return Response(status=499)
        if session.stored is not None:  # the answer to the last chunk was lost
            return json_answer(session.stored.resource(request.host_url))
        have = session.path.stat().st_size
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

    def cancel(self, request: Request, bucket: str) -> Response:
        """DELETE: forget what has come."""
        session = self._sessions.get(request.args["upload_id"])
        if session is not None and session.bucket == bucket and session.stored is None:
            session.ended = True
            session.path.unlink(missing_ok=True)
        return Response(status=499)

    def _start(self, request: Request, bucket: str) -> Response:
        described = json_body(request)
        described.setdefault("name", request.args.get("name"))
        if described.get("contentType") is None:
            described["contentType"] = request.headers.get("X-Upload-Content-Type")
        session = _Session(bucket, described, request.args.to_dict(), self._objects.scratch())
        session.path.touch()
        key = uuid.uuid4().hex
        self._sessions[key] = session
        place = f"{request.host_url}upload/storage/v1/b/{bucket}/o?uploadType=resumable&upload_id={key}"
        return Response(status=200, headers={"Location": place, "X-GUploader-UploadID": key})

    def _chunk(self, request: Request, session: _Session, start: int, *, last: bool) -> int:
        with session.path.open("r+b") as file:
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
            session.described[_HASHES[name]] = value
        session.stored = self._objects.put(
            session.bucket, session.name, session.path, session.described, session.conditions
        )
        return json_answer(session.stored.resource(request.host_url))

    def _put(self, request: Request, bucket: str, described: Mapping[str, Any], path: Path) -> Response:
        stored = self._objects.put(bucket, described["name"], path, described, request.args)
        return json_answer(stored.resource(request.host_url))

    def _received(self, request: Request) -> Path:
        path = self._objects.scratch()
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
        path = self._objects.scratch()
        path.write_bytes(content[:-2] if content.endswith(b"\r\n") else content[:-1])
        return described, path


def _split(part: bytes) -> tuple[bytes, bytes]:
    """Head and content."""
    head, content = re.split(rb"\r?\n\r?\n", part, maxsplit=1)
    return head, content
