"""The job's side of Pipes over Cloud Storage: the stock classes want permission on the bucket, these do not.

Needs dagster-pipes and google-cloud-storage alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

from dagster_pipes import PipesBlobStoreMessageWriter, PipesBlobStoreMessageWriterChannel, PipesContextLoader

if TYPE_CHECKING:
    from dagster_pipes import PipesContextData, PipesParams


class GcsContextLoader(PipesContextLoader):
    """Reads the context that `StoredContextInjector` wrote.

    Args:
        client: of google-cloud-storage.
    """

    def __init__(self, client: Any) -> None:
        self._client = client

    @contextmanager
    def load_context(self, params: PipesParams) -> Iterator[PipesContextData]:
        """Yields the context."""
        yield json.loads(self._client.bucket(params["bucket"]).blob(params["key"]).download_as_bytes())


class GcsMessageWriter(PipesBlobStoreMessageWriter):
    """Writes the chunks that `StoredMessageReader` reads.

    Args:
        client: of google-cloud-storage.
        interval: seconds between two chunks.
    """

    def __init__(self, client: Any, *, interval: float) -> None:
        super().__init__(interval=interval)
        self._client = client

    def make_channel(self, params: PipesParams) -> GcsMessageChannel:
        """The channel of one session."""
        return GcsMessageChannel(
            self._client.bucket(params["bucket"]), params["key_prefix"], interval=self.interval
        )


class GcsMessageChannel(PipesBlobStoreMessageWriterChannel):
    """Chunks below one prefix of a bucket."""

    def __init__(self, bucket: Any, prefix: str, *, interval: float) -> None:
        super().__init__(interval=interval)
        self._bucket, self._prefix = bucket, prefix

    def upload_messages_chunk(self, payload: IO[str], index: int) -> None:
        """Write `<prefix>/<index>.json`."""
        self._bucket.blob(f"{self._prefix}/{index}.json").upload_from_string(payload.read())
