"""What S3 says of an object, in our words."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC
from typing import Any

from mlops_assets.artifacts import ArtifactUri
from mlops_assets.platforms.ports import ObjectInfo


def object_info(uri: ArtifactUri, item: Mapping[str, Any], size: int) -> ObjectInfo:
    """The info of an object from its ETag and LastModified."""
    modified = item["LastModified"].astimezone(UTC)
    etag = item["ETag"].strip('"')
    return ObjectInfo(uri=uri, version=f"{etag}-{int(modified.timestamp())}", size=size, modified=modified)
