"""Buckets and objects: bytes in files, generations, preconditions, checksums, listings."""

from __future__ import annotations

import base64
import hashlib
import time
import uuid
from bisect import bisect_left, insort
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from threading import RLock
from typing import Any, BinaryIO
from urllib.parse import quote

import google_crc32c

from mlops_assets_tests.standins.gcp.web import ApiError

_BLOCK = 1 << 20
# What a writer may say of an object.
_WRITABLE = (
    "contentType",
    "metadata",
    "cacheControl",
    "contentEncoding",
    "contentDisposition",
    "contentLanguage",
    "customTime",
    "storageClass",
)


@dataclass(frozen=True)
class Stored:
    """One generation of an object; its bytes lie in `path` and never change."""

    bucket: str
    name: str
    generation: int
    path: Path
    size: int
    crc32c: str
    md5: str | None
    described: Mapping[str, Any]
    kms_key: str | None = None
    components: int | None = None
    metageneration: int = 1
    created: datetime = field(default_factory=lambda: datetime.now(UTC))
    updated: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def etag(self) -> str:
        """Differs between generations and metagenerations."""
        return base64.b64encode(f"{self.generation}/{self.metageneration}".encode()).decode()

    def resource(self, host: str) -> dict[str, Any]:
        """As the JSON API shows it."""
        path = f"b/{self.bucket}/o/{quote(self.name, '')}"
        media = f"{host}download/storage/v1/{path}?generation={self.generation}&alt=media"
        shown = {
            "kind": "storage#object",
            "id": f"{self.bucket}/{self.name}/{self.generation}",
            "selfLink": f"{host}storage/v1/{path}",
            "mediaLink": media,
            "name": self.name,
            "bucket": self.bucket,
            "generation": str(self.generation),
            "metageneration": str(self.metageneration),
            "storageClass": "STANDARD",
            "size": str(self.size),
            "crc32c": self.crc32c,
            "md5Hash": self.md5,
            "etag": self.etag,
            "timeCreated": _written(self.created),
            "updated": _written(self.updated),
            "kmsKeyName": self.kms_key and f"{self.kms_key}/cryptoKeyVersions/1",
            "componentCount": self.components,
            **self.described,
        }
        return {name: value for name, value in shown.items() if value is not None}


@dataclass
class Bucket:
    """A bucket; `names` are its objects' in byte order."""

    resource: dict[str, Any]
    objects: dict[str, Stored] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Page:
    """Part of a listing."""

    items: list[Stored]
    prefixes: list[str]
    token: str | None


class Objects:
    """All buckets; of two conditional writes of the same state one wins.

    Attributes:
        changed: called with `OBJECT_FINALIZE` for what was written, `OBJECT_DELETE` for what was deleted or
            written over.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._lock, self._clock = folder, RLock(), 0
        self._buckets: dict[str, Bucket] = {}
        self.changed: list[Callable[[str, Stored], None]] = []

    def scratch(self) -> Path:
        """A new file's path, for bytes on their way in."""
        return self._folder / uuid.uuid4().hex

    def create_bucket(self, name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
        """A new bucket; its resource."""
        now = _written(datetime.now(UTC))
        kind = "region" if "-" in str(settings.get("location", "US")) else "multi-region"
        with self._lock:
            if name in self._buckets:
                raise ApiError(409, "conflict", "Your previous request to create the named bucket succeeded.")
            resource = {
                **{"kind": "storage#bucket", "id": name, "projectNumber": "1234", "metageneration": "1"},
                **{
                    "location": "US",
                    "locationType": kind,
                    "storageClass": "STANDARD",
                    "timeCreated": now,
                    "updated": now,
                },
                **{"etag": "CAE=", **settings, "name": name},
            }
            self._buckets[name] = Bucket(resource)
        return resource

    def bucket(self, name: str) -> Bucket:
        """A bucket that is there."""
        found = self._buckets.get(name)
        if found is None:
            raise ApiError(404, "notFound", "The specified bucket does not exist.")
        return found

    def buckets(self) -> list[dict[str, Any]]:
        """Every bucket's resource."""
        return [self._buckets[name].resource for name in sorted(self._buckets)]

    def delete_bucket(self, name: str) -> None:
        """Remove an empty bucket."""
        with self._lock:
            if self.bucket(name).objects:
                raise ApiError(409, "conflict", "The bucket you tried to delete is not empty.")
            del self._buckets[name]

    def get(self, bucket: str, name: str, conditions: Mapping[str, str], *, source: bool = False) -> Stored:
        """The object, where the preconditions hold; `source`: those that are named `ifSource…`."""
        with self._lock:
            found = self.bucket(bucket).objects.get(name)
            generation = conditions.get("sourceGeneration" if source else "generation")
            if found is None or (generation and int(generation) != found.generation):
                raise ApiError(404, "notFound", f"No such object: {bucket}/{name}")
            check(found, conditions, source=source)
            return found

    def open(
        self, bucket: str, name: str, conditions: Mapping[str, str], *, source: bool = False
    ) -> tuple[Stored, BinaryIO]:
        """The object and a stream of its bytes, whatever becomes of it meanwhile."""
        with self._lock:
            found = self.get(bucket, name, conditions, source=source)
            return found, found.path.open("rb")

    def put(
        self,
        bucket: str,
        name: str,
        path: Path,
        described: Mapping[str, Any],
        conditions: Mapping[str, str],
        *,
        components: int | None = None,
    ) -> Stored:
        """Make the bytes of `path` the object's next generation; `path` is consumed.

        Args:
            described: what the writer says of it; checksums among it are compared.
            conditions: the request's parameters.
            components: how many objects it was composed of.
        """
        size, crc32c, md5 = _checksums(path)
        if described.get("crc32c") not in (None, crc32c) or described.get("md5Hash") not in (None, md5):
            raise ApiError(400, "invalid", "Provided hash doesn't match calculated value.")
        with self._lock:
            home = self.bucket(bucket)
            before = home.objects.get(name)
            check(before, conditions)
            default = home.resource.get("encryption", {}).get("defaultKmsKeyName")
            stored = Stored(
                *(bucket, name, self._next_generation(), path, size, crc32c),
                md5=None if components else md5,
                described={key: described[key] for key in _WRITABLE if described.get(key) is not None},
                kms_key=conditions.get("kmsKeyName") or conditions.get("destinationKmsKeyName") or default,
                components=components,
            )
            home.objects[name] = stored
            if before is None:
                insort(home.names, name)
            else:
                before.path.unlink()
        self._tell("OBJECT_FINALIZE", stored)
        if before is not None:
            self._tell("OBJECT_DELETE", before)
        return stored

    def describe(self, bucket: str, name: str, changed: Mapping[str, Any], conditions: Any) -> Stored:
        """Change what is said of an object; None takes a value away."""
        with self._lock:
            before = self.get(bucket, name, conditions)
            described = dict(before.described)
            for key in _WRITABLE:
                if isinstance(changed.get(key), dict):
                    merged = {**described.get(key, {}), **changed[key]}
                    described[key] = {inner: value for inner, value in merged.items() if value is not None}
                elif key in changed:
                    described[key] = changed[key]
            after = replace(
                before,
                described=described,
                metageneration=before.metageneration + 1,
                updated=datetime.now(UTC),
            )
            self.bucket(bucket).objects[name] = after
        return after

    def delete(self, bucket: str, name: str, conditions: Mapping[str, str]) -> None:
        """Remove an object."""
        with self._lock:
            found = self.get(bucket, name, conditions)
            home = self.bucket(bucket)
            del home.objects[name]
            del home.names[bisect_left(home.names, name)]
            found.path.unlink()
        self._tell("OBJECT_DELETE", found)

    def list(self, bucket: str, query: Mapping[str, str]) -> Page:
        """A page of a listing, by prefix, delimiter, startOffset, endOffset, maxResults and pageToken."""
        with self._lock:
            home = self.bucket(bucket)
            prefix, delimiter = query.get("prefix", ""), query.get("delimiter")
            token = base64.b64decode(query.get("pageToken", "")).decode()
            start = bisect_left(home.names, max(prefix, query.get("startOffset", ""), token))
            end, most = query.get("endOffset"), min(int(query.get("maxResults") or 1_000), 1_000)
            items: list[Stored] = []
            prefixes: list[str] = []
            for name in home.names[start:]:
                if not name.startswith(prefix) or (end and name >= end):
                    break
                inner, mark, _ = name[len(prefix) :].partition(delimiter or "\0")
                folder = prefix + inner + (delimiter or "") if delimiter and mark else None
                if folder and prefixes[-1:] == [folder]:
                    continue
                if len(items) + len(prefixes) == most:
                    return Page(items, prefixes, base64.b64encode(name.encode()).decode())
                if folder:
                    prefixes.append(folder)
                else:
                    items.append(home.objects[name])
            return Page(items, prefixes, None)

    def _tell(self, event: str, stored: Stored) -> None:
        for hear in self.changed:
            hear(event, stored)

    def _next_generation(self) -> int:
        self._clock = max(self._clock + 1, time.time_ns() // 1_000)
        return self._clock


def check(found: Stored | None, conditions: Mapping[str, str], *, source: bool = False) -> None:
    """Demand the preconditions among a request's parameters.

    Raises:
        ApiError: 412, or 304 for a reader's `…NotMatch`.
    """
    prefix = "ifSource" if source else "if"
    for name, value in (
        ("Generation", found.generation if found else 0),
        ("Metageneration", found.metageneration if found else 0),
    ):
        wanted, unwanted = conditions.get(f"{prefix}{name}Match"), conditions.get(f"{prefix}{name}NotMatch")
        if (wanted is not None and int(wanted) != value) or (unwanted is not None and int(unwanted) == value):
            raise ApiError(
                304 if wanted is None else 412,
                "conditionNotMet",
                "At least one of the pre-conditions you specified did not hold.",
            )


def _checksums(path: Path) -> tuple[int, str, str]:
    crc, md5, size = google_crc32c.Checksum(), hashlib.md5(usedforsecurity=False), 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            crc.update(block)
            md5.update(block)
            size += len(block)
    return size, base64.b64encode(crc.digest()).decode(), base64.b64encode(md5.digest()).decode()


def _written(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
