"""A bucket of Cloud Storage for Pipes: needs no permission on the bucket itself, only on its objects."""

from __future__ import annotations

from typing import Any


class GcsBucket:
    """One bucket.

    Args:
        client: of google-cloud-storage.
        name: the bucket's.
    """

    def __init__(self, client: Any, name: str) -> None:
        self.name = name
        self._bucket = client.bucket(name)

    def write(self, key: str, data: bytes) -> None:
        """Write an object."""
        self._bucket.blob(key).upload_from_string(data)

    def claim(self, key: str, owner: str) -> bool:
        """Write an object that names its owner where none is; False where it is another's."""
        from google.api_core.exceptions import PreconditionFailed

        try:
            self._bucket.blob(key).upload_from_string(owner, if_generation_match=0)
        except PreconditionFailed:  # also where the first answer was lost, and the client tried again
            return self.read(key) == owner.encode()
        return True

    def read(self, key: str) -> bytes | None:
        """An object's bytes; None where it is not there, or the service is away: the next look tells."""
        from google.api_core.exceptions import GoogleAPIError
        from requests.exceptions import RequestException

        try:
            return self._bucket.blob(key).download_as_bytes()
        except (GoogleAPIError, RequestException):
            return None
