"""Files on their way between Redshift and us: Parquet parts below an S3 prefix of their own, gone after.

A stream becomes parts, each written when it is full, and a manifest that names every part with its size;
parts that were unloaded are fetched one at a time.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_assets.artifacts import ArtifactUri
from mlops_assets.errors import ArtifactError, StorageError
from mlops_assets.platforms.parquet_parts import Parts, parts_of, write_parts
from mlops_assets.runtime.parquet_file import open_parquet

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

_BLOCK = 1 << 20


class Staging:
    """The prefix that Redshift and this process both reach."""

    def __init__(self, root: ArtifactUri, clients: Callable[[str], Any]) -> None:
        """`clients`: service name -> boto3 client."""
        self.root = root
        self._clients = clients

    @contextmanager
    def folder(self, purpose: str) -> Iterator[ArtifactUri]:
        """A prefix of nobody else's; what is below it is deleted at the end, also where the work failed."""
        uri = self.root.join(purpose, uuid.uuid4().hex)
        try:
            yield uri
        finally:
            self.delete(uri)

    # --- in -----------------------------------------------------------------------------------------------

    def write(self, folder: ArtifactUri, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Parts:
        """Write batches of one schema as parts, and then their manifest."""

        def put(number: int, data: bytes) -> None:
            self._put_bytes(folder.join(_name(number)), data)

        rows, sizes = write_parts(schema, batches, put)
        entries = [
            {
                "url": str(folder.join(_name(number))),
                "mandatory": True,
                "meta": {"content_length": size},
            }
            for number, size in enumerate(sizes)
        ]
        manifest = folder.join("manifest")
        self._put_bytes(manifest, json.dumps({"entries": entries}).encode())
        return Parts(manifest, rows)

    def write_one(self, uri: ArtifactUri, schema: pa.Schema) -> ArtifactUri:
        """Write a part without rows."""
        ((_, data),) = parts_of(schema, ())
        self._put_bytes(uri, data)
        return uri

    def _put_bytes(self, uri: ArtifactUri, data: bytes) -> None:
        with _explained(uri):
            self._s3.put_object(Bucket=uri.bucket, Key=uri.key, Body=data)

    # --- out ----------------------------------------------------------------------------------------------

    def parts(self, folder: ArtifactUri) -> list[ArtifactUri]:
        """The parts that an UNLOAD's manifest names, in its order."""
        manifest = ArtifactUri(f"{folder}/manifest")
        with _explained(manifest):
            body = self._s3.get_object(Bucket=manifest.bucket, Key=manifest.key)["Body"].read()
        found = [ArtifactUri(entry["url"]) for entry in json.loads(body)["entries"]]
        for uri in found:
            folder.relative(uri)  # a manifest may name nothing outside its own folder
        return found

    @contextmanager
    def fetched(self, part: ArtifactUri) -> Iterator[pq.ParquetFile]:
        """One part, on this machine's disk for as long as the block lasts: memory holds a batch of it."""
        with tempfile.NamedTemporaryFile(prefix="mlops-unloaded-") as local:
            with _explained(part):
                body = self._s3.get_object(Bucket=part.bucket, Key=part.key)["Body"]
                shutil.copyfileobj(body, local, _BLOCK)
            local.flush()
            with open_parquet(Path(local.name)) as file:
                yield file

    def copy(self, source: ArtifactUri, target: ArtifactUri) -> None:
        """Copy one object within S3; the bytes do not come here."""
        with _explained(target):
            self._s3.copy({"Bucket": source.bucket, "Key": source.key}, target.bucket, target.key)

    def download(self, uri: ArtifactUri, path: Path) -> None:
        """Fetch one object into a file."""
        with _explained(uri):
            self._s3.download_file(uri.bucket, uri.key, str(path))

    def delete(self, folder: ArtifactUri) -> None:
        """Remove everything below a prefix."""
        with _explained(folder):
            pages = self._s3.get_paginator("list_objects_v2").paginate(
                Bucket=folder.bucket, Prefix=f"{folder.key}/"
            )
            for page in pages:
                keys = [{"Key": item["Key"]} for item in page.get("Contents", [])]
                if keys:
                    self._s3.delete_objects(Bucket=folder.bucket, Delete={"Objects": keys, "Quiet": True})

    @property
    def _s3(self) -> Any:
        return self._clients("s3")


def _name(number: int) -> str:
    return f"{number:05d}.parquet"


@contextmanager
def _explained(uri: ArtifactUri) -> Iterator[None]:
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        if code in ("404", "NoSuchKey"):
            raise ArtifactError(
                "The object is not there.", where=str(uri), mend="Deliver it again."
            ) from None
        raise StorageError(
            f"S3 refuses: {error}", where=str(uri), mend="Check the bucket, the region and the permissions."
        ) from None
    except (BotoCoreError, Boto3Error) as error:
        raise StorageError(
            f"S3 cannot be reached: {error}", where=str(uri), mend="Check network and credentials."
        ) from None
