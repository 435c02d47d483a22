"""As much of an object store on S3 as the warehouse's tests need."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from mlops_assets.artifacts import ArtifactUri


class PlainStore:
    """Objects below one prefix, by boto3."""

    def __init__(self, root: ArtifactUri, s3: Any, copies: Path) -> None:
        self.root, self._s3, self._copies = root, s3, copies

    def write(self, uri: ArtifactUri, data: bytes) -> None:
        self._s3.put_object(Bucket=uri.bucket, Key=uri.key, Body=data)

    def read(self, uri: ArtifactUri) -> bytes:
        return self._s3.get_object(Bucket=uri.bucket, Key=uri.key)["Body"].read()

    def digest(self, uri: ArtifactUri) -> str:
        return hashlib.sha256(self.read(uri)).hexdigest()

    def listed(self) -> list[str]:
        """Every key below the root, relative to it."""
        pages = self._s3.get_paginator("list_objects_v2").paginate(
            Bucket=self.root.bucket, Prefix=f"{self.root.key}/"
        )
        found = [item["Key"] for page in pages for item in page.get("Contents", [])]
        return [key.removeprefix(f"{self.root.key}/") for key in found]

    def local(self, uri: ArtifactUri) -> Path:
        self._copies.mkdir(parents=True, exist_ok=True)
        path = self._copies / hashlib.sha256(uri.encode()).hexdigest()
        path.write_bytes(self.read(uri))
        return path
