"""Cloud Storage's JSON API over `objects` and `uploads`; of its XML API, reading."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from email.utils import format_datetime
from pathlib import Path
from typing import Any, BinaryIO

from werkzeug import Request, Response

from mlops_assets_tests.standins.gcp.objects import Objects, Stored
from mlops_assets_tests.standins.gcp.uploads import Upload, Uploads
from mlops_assets_tests.standins.gcp.web import ApiError, Route, json_body

_BUCKET = "/storage/v1/b/<bucket>"
_OBJECT = f"{_BUCKET}/o/<name>"
_UPLOADS = "/upload/storage/v1/b/{owner}/o"
_UPLOAD = _UPLOADS.format(owner="<owner>")
_TARGET = "b/<to_bucket>/o/<to_name>"
_MOST_SOURCES = 32
_BLOCK = 1 << 20


class Storage:
    """The service.

    Attributes:
        objects: what it holds.
        rewritten_at_once: bytes that one call of `rewrite` copies; larger objects need several calls.
    """

    def __init__(self, folder: Path) -> None:
        self.objects = Objects(folder)
        self.rewritten_at_once = 1 << 30
        self._uploads = Uploads(_UPLOADS, self.objects.scratch, self.objects.bucket, self._uploaded)

    def routes(self) -> list[Route]:
        """Every method that is served."""
        uploads = self._uploads
        return [
            Route("storage.buckets.insert", "POST", "/storage/v1/b", self._create_bucket),
            Route("storage.buckets.list", "GET", "/storage/v1/b", self._list_buckets),
            Route("storage.buckets.get", "GET", _BUCKET, self._get_bucket),
            Route("storage.buckets.patch", "PATCH", _BUCKET, self._patch_bucket),
            Route("storage.buckets.delete", "DELETE", _BUCKET, self._delete_bucket),
            Route("storage.buckets.getStorageLayout", "GET", f"{_BUCKET}/storageLayout", self._layout),
            Route("storage.objects.list", "GET", f"{_BUCKET}/o", self._list),
            Route("storage.objects.insert", "POST", _UPLOAD, uploads.insert),
            Route("storage.objects.insert", "POST", f"/resumable{_UPLOAD}", uploads.insert),
            Route("storage.objects.insertChunk", "PUT", _UPLOAD, uploads.proceed),
            Route("storage.objects.insertChunk", "PUT", f"/resumable{_UPLOAD}", uploads.proceed),
            Route("storage.objects.cancelInsert", "DELETE", _UPLOAD, uploads.cancel),
            Route("storage.objects.get", "GET", _OBJECT, self._get),
            Route("storage.objects.get", "GET", f"/download{_OBJECT}", self._media),
            Route("storage.objects.patch", "PATCH", _OBJECT, self._patch),
            Route("storage.objects.delete", "DELETE", _OBJECT, self._delete),
            Route("storage.objects.compose", "POST", f"{_OBJECT}/compose", self._compose),
            Route("storage.objects.rewrite", "POST", f"{_OBJECT}/rewriteTo/{_TARGET}", self._rewrite),
            Route("storage.objects.copy", "POST", f"{_OBJECT}/copyTo/{_TARGET}", self._copy),
            Route("storage.objects.move", "POST", f"{_OBJECT}/moveTo/o/<to_name>", self._move),
        ]

    def _create_bucket(self, request: Request) -> Mapping[str, Any]:
        settings = json_body(request)
        return self.objects.create_bucket(settings["name"], settings)

    def _list_buckets(self, _request: Request) -> Mapping[str, Any]:
        return {"kind": "storage#buckets", "items": self.objects.buckets()}

    def _get_bucket(self, _request: Request, bucket: str) -> Mapping[str, Any]:
        return self.objects.bucket(bucket).resource

    def _patch_bucket(self, request: Request, bucket: str) -> Mapping[str, Any]:
        resource = self.objects.bucket(bucket).resource
        resource.update(json_body(request), metageneration=str(int(resource["metageneration"]) + 1))
        return resource

    def _delete_bucket(self, _request: Request, bucket: str) -> Response:
        self.objects.delete_bucket(bucket)
        return Response(status=204)

    def _layout(self, _request: Request, bucket: str) -> Mapping[str, Any]:
        location = self.objects.bucket(bucket).resource["location"]
        space = {"hierarchicalNamespace": {"enabled": False}}
        return {"kind": "storage#storageLayout", "bucket": bucket, "location": location, **space}

    def _list(self, request: Request, bucket: str) -> Mapping[str, Any]:
        unknown = request.args.keys() & {"matchGlob", "versions", "softDeleted", "filter"}
        if any(request.args[name] != "false" for name in unknown):
            raise ApiError(501, "notImplemented", f"Listing by {', '.join(unknown)} is not served.")
        page = self.objects.list(bucket, request.args)
        items = [stored.resource(request.host_url) for stored in page.items]
        answer = {"kind": "storage#objects", "items": items, "prefixes": page.prefixes}
        return {**answer, "nextPageToken": page.token} if page.token else answer

    def _get(self, request: Request, bucket: str, name: str) -> Response | Mapping[str, Any]:
        if request.args.get("alt") == "media":
            return self._media(request, bucket, name)
        return self.objects.get(bucket, name, request.args).resource(request.host_url)

    def _uploaded(self, upload: Upload) -> Mapping[str, Any]:
        name = str(upload.described["name"])
        stored = self.objects.put(upload.owner, name, upload.path, upload.described, upload.conditions)
        return stored.resource(upload.host)

    def _patch(self, request: Request, bucket: str, name: str) -> Mapping[str, Any]:
        changed = json_body(request)
        return self.objects.describe(bucket, name, changed, request.args).resource(request.host_url)

    def _delete(self, request: Request, bucket: str, name: str) -> Response:
        self.objects.delete(bucket, name, request.args)
        return Response(status=204)

    def _compose(self, request: Request, bucket: str, name: str) -> Mapping[str, Any]:
        asked = json_body(request)
        sources = asked["sourceObjects"]
        if not 1 <= len(sources) <= _MOST_SOURCES:
            raise ApiError(400, "invalid", f"The number of source components must be 1 to {_MOST_SOURCES}.")
        path = self.objects.scratch()
        with path.open("wb") as out, ExitStack() as streams:
            for source in sources:
                conditions = {**source.get("objectPreconditions", {})}
                if "generation" in source:
                    conditions["generation"] = source["generation"]
                _, stream = self.objects.open(bucket, source["name"], conditions)
                shutil.copyfileobj(streams.enter_context(stream), out)
        described = asked.get("destination") or {}
        stored = self.objects.put(bucket, name, path, described, request.args, components=len(sources))
        return stored.resource(request.host_url)

    def _copy(
        self, request: Request, bucket: str, name: str, to_bucket: str, to_name: str
    ) -> Mapping[str, Any]:
        return self._copied(request, (bucket, name), (to_bucket, to_name)).resource(request.host_url)

    def _rewrite(
        self, request: Request, bucket: str, name: str, to_bucket: str, to_name: str
    ) -> Mapping[str, Any]:
        source = self.objects.get(bucket, name, request.args, source=True)
        done = int(request.args.get("rewriteToken", "0")) + self.rewritten_at_once
        sizes = {"kind": "storage#rewriteResponse", "objectSize": str(source.size)}
        if done < source.size:
            return {**sizes, "done": False, "totalBytesRewritten": str(done), "rewriteToken": str(done)}
        stored = self._copied(request, (bucket, name), (to_bucket, to_name))
        resource = stored.resource(request.host_url)
        return {**sizes, "done": True, "totalBytesRewritten": str(source.size), "resource": resource}

    def _move(self, request: Request, bucket: str, name: str, to_name: str) -> Mapping[str, Any]:
        stored = self._copied(request, (bucket, name), (bucket, to_name))
        self.objects.delete(bucket, name, {})
        return stored.resource(request.host_url)

    def _copied(self, request: Request, source: tuple[str, str], target: tuple[str, str]) -> Stored:
        """A copy; its description is the request's, or where there is none the source's."""
        found, stream = self.objects.open(*source, request.args, source=True)
        path = self.objects.scratch()
        with stream, path.open("wb") as out:
            shutil.copyfileobj(stream, out)
        conditions = {key: value for key, value in request.args.items() if key != "generation"}
        return self.objects.put(*target, path, json_body(request) or found.described, conditions)

    def _media(self, request: Request, bucket: str, name: str) -> Response:
        """The bytes, or those of one range."""
        stored, stream = self.objects.open(bucket, name, request.args)
        hashes = f"crc32c={stored.crc32c}" + (f",md5={stored.md5}" if stored.md5 else "")
        headers = {
            "X-Goog-Hash": hashes,
            "X-Goog-Generation": str(stored.generation),
            "X-Goog-Metageneration": str(stored.metageneration),
            "X-Goog-Stored-Content-Length": str(stored.size),
            "ETag": f'"{stored.etag}"',
            "Last-Modified": format_datetime(stored.updated, usegmt=True),
            "Accept-Ranges": "bytes",
        }
        start, end, status = 0, stored.size, 200
        if (wanted := request.range) is not None and stored.size:
            found = wanted.range_for_length(stored.size)
            if found is None:
                stream.close()
                return Response(status=416, headers={"Content-Range": f"bytes */{stored.size}"})
            (start, end), status = found, 206
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{stored.size}"
        stream.seek(start)
        response = Response(
            _blocks(stream, end - start),
            status,
            headers,
            content_type=stored.described.get("contentType") or "application/octet-stream",
            direct_passthrough=True,
        )
        response.call_on_close(stream.close)
        response.content_length = end - start
        return response


def _blocks(stream: BinaryIO, size: int) -> Iterator[bytes]:
    while size and (block := stream.read(min(size, _BLOCK))):
        size -= len(block)
        yield block
