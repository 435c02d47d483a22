"""What SageMaker moves between S3 and /opt/ml: prefixes, manifests, archives."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError


class DownloadError(Exception):
    """There is nothing to download, or it may not be read."""


def split(uri: str) -> tuple[str, str]:
    """Bucket and key of `s3://bucket/key`."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


def download(s3: Any, uri: str, folder: Path, kind: str = "S3Prefix") -> None:
    """Copy what `uri` names into `folder`: every key that starts with it, or what a manifest lists."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        pairs = _listed(s3, uri) if kind == "ManifestFile" else _prefixed(s3, uri)
        for source, name in pairs:
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            s3.download_file(*source, str(target))
    except ClientError as error:
        raise DownloadError(f'{error.response["Error"]["Code"]} for S3 URL "{uri}"') from error


def _prefixed(s3: Any, uri: str) -> list[tuple[tuple[str, str], str]]:
    """Keys that start with the prefix, named from its last slash on, or below it where it is a folder."""
    bucket, prefix = split(uri)
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    keys = [item["Key"] for page in pages for item in page.get("Contents", [])]
    keys = [key for key in keys if not key.endswith("/")]
    if not keys:
        raise DownloadError(f'No S3 objects found under S3 URL "{uri}" given in input data source.')
    folder = prefix.rstrip("/") + "/"
    above = prefix.rpartition("/")[0] + "/" if "/" in prefix else ""
    return [
        ((bucket, key), key.removeprefix(folder) if key.startswith(folder) else key.removeprefix(above))
        for key in keys
    ]


def _listed(s3: Any, uri: str) -> list[tuple[tuple[str, str], str]]:
    bucket, key = split(uri)
    manifest = json.loads(s3.get_object(Bucket=bucket, Key=key)["Body"].read())
    return [(split(manifest[0]["prefix"] + name), name) for name in manifest[1:]]


def upload(s3: Any, folder: Path, uri: str) -> None:
    """Copy every file below `folder` to the prefix `uri`."""
    bucket, prefix = split(uri.rstrip("/"))
    for path in sorted(item for item in folder.rglob("*") if item.is_file()):
        s3.upload_file(str(path), bucket, f"{prefix}/{path.relative_to(folder).as_posix()}")


def upload_archive(s3: Any, folder: Path, uri: str) -> None:
    """Write `folder` as one .tar.gz object."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for path in sorted(folder.iterdir()):
            archive.add(path, arcname=path.name)
    bucket, key = split(uri)
    s3.put_object(Bucket=bucket, Key=key, Body=buffer.getvalue())
