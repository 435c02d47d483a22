"""Artifacts as S3 objects below one prefix: checksummed writes, conditional where the port says so."""

from __future__ import annotations

import base64
import hashlib
import io
import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from mlops_assets.artifacts import ArtifactUri
from mlops_assets.platforms.aws.client import client, code_of, is_missing, speaking
from mlops_assets.platforms.aws.object_info import object_info
from mlops_assets.platforms.aws.object_reader import ObjectReader
from mlops_assets.platforms.local_copies import LocalCopies, downloaded
from mlops_assets.platforms.objects import demand_below, key_below, listed_uri, lost_write, no_object
from mlops_assets.platforms.ports import ObjectInfo
from mlops_assets.platforms.publication import Publication

if TYPE_CHECKING:
    from mlops_assets.platforms.aws.settings import AwsSettings
    from mlops_assets.settings import Settings

_BLOCK = 1 << 20
# Files above this are uploaded in parts, several at a time.
_PART = 64 << 20
_LARGEST_COPY = 5 << 30
_LOST = ("PreconditionFailed", "412")
_BUSY = ("ConditionalRequestConflict", "409", "OperationAborted")
_PAGE = 1_000
_TRIES = 10


class S3ObjectStore:
    """The ObjectStore below `MLOPS_AWS_ROOT`.

    A version is `<ETag>-<seconds of LastModified>`: the same bytes written again within one second keep it.
    Every write carries its SHA-256, which S3 checks and keeps; throttled calls are tried again.
    """

    def __init__(self, settings: Settings, aws: AwsSettings) -> None:
        self._root = aws.root
        self._s3 = client("s3", aws.region)
        self._encryption: dict[str, Any] = (
            {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": aws.kms_key} if aws.kms_key else {}
        )
        self._copies = LocalCopies(
            settings.root / "cache" / "s3", self._download, megabytes=aws.cache_megabytes
        )
        self._publication = Publication(self)

    @property
    def root(self) -> ArtifactUri:
        """`MLOPS_AWS_ROOT`."""
        return self._root

    def list(
        self, prefix: ArtifactUri, *, after: str | None = None, limit: int | None = None
    ) -> Iterator[ObjectInfo]:
        """Objects below `prefix` in byte order of their key; a page of 1,000 costs one call.

        Folder markers of the console (empty, with a trailing slash) are left out, and keys that no URI can
        hold, with a warning.
        """
        folder = self._key(prefix) + "/"
        start = {"StartAfter": folder + after} if after else {}
        left = limit
        pages = self._s3.get_paginator("list_objects_v2").paginate(
            Bucket=self._root.bucket,
            Prefix=folder,
            PaginationConfig={"PageSize": min(limit or _PAGE, _PAGE)},
            **start,
        )
        with speaking(prefix):
            for page in pages:
                for item in page.get("Contents", []):
                    uri = listed_uri(prefix, item["Key"].removeprefix(folder))
                    if left == 0:
                        return
                    if uri is not None:
                        yield object_info(uri, item, item["Size"])
                        left = left and left - 1
                if left == 0:
                    return

    def head(self, uri: ArtifactUri) -> ObjectInfo | None:
        """The object's info, or None where there is none."""
        found = self._head(uri)
        return None if found is None else object_info(uri, found, found["ContentLength"])

    def digest(self, uri: ArtifactUri) -> str:
        """SHA-256 as S3 computed it at the write; of objects in parts or without one, of their bytes."""
        found = self._head(uri)
        if found is None:
            raise no_object(uri)
        checksum = found.get("ChecksumSHA256", "")
        if checksum and "-" not in checksum + found["ETag"]:  # else it is a checksum of parts' checksums
            return base64.b64decode(checksum).hex()
        sha = hashlib.sha256()
        with self._opened(uri, found) as stream:
            while block := stream.read(_BLOCK):
                sha.update(block)
        return sha.hexdigest()

    def read(self, uri: ArtifactUri) -> bytes:
        """All bytes of a small object."""
        from botocore.exceptions import ClientError

        with speaking(uri):
            try:
                return self._s3.get_object(**self._place(uri))["Body"].read()
            except ClientError as error:
                if is_missing(error):
                    raise no_object(uri) from None
                raise

    def open(self, uri: ArtifactUri) -> BinaryIO:
        """A seekable stream of the object as it is now; see ObjectReader for what it asks for."""
        found = self._head(uri)
        if found is None:
            raise no_object(uri)
        return self._opened(uri, found)

    def _opened(self, uri: ArtifactUri, head: Mapping[str, Any]) -> BinaryIO:
        return io.BufferedReader(ObjectReader(self._s3, uri, head), _BLOCK)

    def write(
        self, uri: ArtifactUri, data: bytes, *, if_absent: bool = False, if_version: str | None = None
    ) -> ObjectInfo:
        """Write `data`, at most one of several conditional writers of the same state winning."""
        condition: dict[str, str] = {}
        if if_absent:
            condition = {"IfNoneMatch": "*"}
        elif if_version is not None:
            condition = {"IfMatch": if_version.rpartition("-")[0] or if_version}
            self._demand(uri, if_version)
        return self._put(uri, data, len(data), condition)

    def upload(self, path: Path, uri: ArtifactUri) -> ObjectInfo:
        """Write a local file's bytes; above 64 MiB in parts, several at a time."""
        return self._upload(path, uri, {})

    def add(self, path: Path, uri: ArtifactUri) -> ObjectInfo:
        """Write a local file's bytes where there is no object; ConflictError where there is one.

        Above 64 MiB the last of several such writers wins instead.
        """
        return self._upload(path, uri, {"IfNoneMatch": "*"})

    def _upload(self, path: Path, uri: ArtifactUri, condition: Mapping[str, str]) -> ObjectInfo:
        size = path.stat().st_size
        if size <= _PART:
            with path.open("rb") as file:
                return self._put(uri, file, size, condition)
        from boto3.s3.transfer import TransferConfig

        extra = {"ChecksumAlgorithm": "SHA256", **self._encryption}
        config = TransferConfig(multipart_threshold=_PART, multipart_chunksize=_PART)
        with speaking(uri):
            self._s3.upload_file(str(path), **self._place(uri), ExtraArgs=extra, Config=config)
        return self._known(uri)

    def copy(self, source: ArtifactUri, target: ArtifactUri) -> None:
        """Copy an object inside the store; its bytes do not pass through this process."""
        from boto3.s3.transfer import TransferConfig
        from botocore.exceptions import ClientError

        extra = {"ChecksumAlgorithm": "SHA256", **self._encryption}
        # In one call S3 computes the checksum of the whole object, in parts it does not.
        config = TransferConfig(multipart_threshold=_LARGEST_COPY)
        with speaking(source):
            try:
                self._s3.copy(self._place(source), **self._place(target), ExtraArgs=extra, Config=config)
            except ClientError as error:
                if is_missing(error):
                    raise no_object(source) from None
                raise

    def download(self, uri: ArtifactUri, path: Path) -> None:
        """Copy an object to a local file, written aside and renamed."""
        downloaded(uri, path, self._download)

    def publish(self, source: Path | ArtifactUri, uri: ArtifactUri) -> bool:
        """Upload a local folder, or copy one of this store, its marker last; `source` is consumed."""
        self._key(uri)
        return self._publication.publish(source, uri)

    def published(self, uri: ArtifactUri) -> Mapping[str, str] | None:
        """File name -> SHA-256 of a published folder; None where it, or one of its files, is not there."""
        return self._publication.published(uri)

    def delete(self, uri: ArtifactUri) -> None:
        """Remove one object and everything below `uri`; a published folder's marker first.

        Raises:
            PathEscapeError: for the root itself.
        """
        demand_below(self._root, uri, deleting=True)
        with speaking(uri):
            for place in (uri.join("_complete"), uri):
                self._s3.delete_object(**self._place(place))
            keys = [{"Key": item.uri.key} for item in self.list(uri)]
            for start in range(0, len(keys), _PAGE):
                self._s3.delete_objects(
                    Bucket=self._root.bucket, Delete={"Objects": keys[start : start + _PAGE], "Quiet": True}
                )

    def local(self, uri: ArtifactUri) -> Path:
        """A copy on this machine, in `settings.root`/cache, made once per version."""
        return self._copies.path(self, uri)

    def _put(self, uri: ArtifactUri, body: Any, size: int, condition: Mapping[str, str]) -> ObjectInfo:
        demand_below(self._root, uri)
        with speaking(uri):
            etag = self._sent(uri, body, condition)
        # Only a look tells when it was written; another writer's version would not match this one's ETag.
        seen = self._head(uri) or {}
        modified = seen["LastModified"] if seen.get("ETag") == etag else datetime.now(UTC)
        return object_info(uri, {"ETag": etag, "LastModified": modified}, size)

    def _sent(self, uri: ArtifactUri, body: Any, condition: Mapping[str, str]) -> str:
        """The ETag of one PutObject; where a conditional one's answer was lost, its mark tells who won."""
        from botocore.exceptions import ClientError

        writer = uuid.uuid4().hex
        for left in reversed(range(_TRIES)):
            if hasattr(body, "seek"):
                body.seek(0)
            try:
                return self._s3.put_object(
                    **self._place(uri),
                    Body=body,
                    ChecksumAlgorithm="SHA256",
                    Metadata={"writer": writer},
                    **self._encryption,
                    **condition,
                )["ETag"]
            except ClientError as error:
                code = code_of(error)
                if not condition or not (code in (*_LOST, *_BUSY) or is_missing(error)):
                    raise
                if code in _BUSY and left:
                    continue
                found = self._head(uri) or {}
                if found.get("Metadata", {}).get("writer") == writer:
                    return found["ETag"]
                break
        raise lost_write(uri, first="IfNoneMatch" in condition)

    def _demand(self, uri: ArtifactUri, version: str) -> None:
        """The part of a version that S3's own condition does not see."""
        head = self.head(uri)
        if head is None or head.version != version:
            raise lost_write(uri, first=False)

    def _known(self, uri: ArtifactUri) -> ObjectInfo:
        info = self.head(uri)
        if info is None:
            raise no_object(uri)
        return info

    def _head(self, uri: ArtifactUri) -> dict[str, Any] | None:
        from botocore.exceptions import ClientError

        place = self._place(uri)
        with speaking(uri):
            try:
                return self._s3.head_object(**place, ChecksumMode="ENABLED")
            except ClientError as error:
                if is_missing(error):
                    return None
                raise

    def _download(self, uri: ArtifactUri, path: Path) -> None:
        from botocore.exceptions import ClientError

        with speaking(uri):
            try:
                self._s3.download_file(**self._place(uri), Filename=str(path))
            except ClientError as error:
                if is_missing(error):
                    raise no_object(uri) from None
                raise

    def _place(self, uri: ArtifactUri) -> dict[str, str]:
        return {"Bucket": self._root.bucket, "Key": self._key(uri)}

    def _key(self, uri: ArtifactUri) -> str:
        return key_below(self._root, uri)
