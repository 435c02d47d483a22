"""A bucket of S3 for Pipes."""

from __future__ import annotations

from typing import Any


class S3Bucket:
    """One bucket.

    Args:
        client: boto3's S3 client.
        name: the bucket's.
    """

    def __init__(self, client: Any, name: str) -> None:
        self.name = name
        self._client = client

    def write(self, key: str, data: bytes) -> None:
        """Write an object."""
        self._client.put_object(Bucket=self.name, Key=key, Body=data)

    def read(self, key: str) -> bytes | None:
        """An object's bytes; None where it is not there, or throttled: the next look tells."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return self._client.get_object(Bucket=self.name, Key=key)["Body"].read()
        except (ClientError, BotoCoreError):
            return None
