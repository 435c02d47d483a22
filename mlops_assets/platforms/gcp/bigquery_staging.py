"""Files on their way between BigQuery and us: Parquet parts below a prefix of their own, gone after."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_assets.artifacts import ArtifactUri
from mlops_assets.platforms.parquet_parts import Parts, write_parts
from mlops_assets.platforms.ports import ObjectStore

if TYPE_CHECKING:
    import pyarrow as pa


class Staging:
    """The prefix below `MLOPS_GCP_ROOT` that BigQuery and this process both reach."""

    def __init__(self, store: ObjectStore) -> None:
        self._store, self._root = store, store.root.join("staging", "bigquery")

    @contextmanager
    def folder(self, purpose: str) -> Iterator[ArtifactUri]:
        """A prefix of nobody else's; what is below it is deleted at the end, also where the work failed."""
        uri = self._root.join(purpose, uuid.uuid4().hex)
        try:
            yield uri
        finally:
            self._store.delete(uri)

    def write(self, folder: ArtifactUri, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Parts:
        """Write batches of one schema as parts."""

        def put(number: int, data: bytes) -> None:
            self._store.write(folder.join(f"{number:05d}.parquet"), data)

        rows, _ = write_parts(schema, batches, put)
        return Parts(folder.join("*.parquet"), rows)

    def download(self, uri: ArtifactUri, path: Path) -> None:
        """Fetch one object into a file."""
        self._store.download(uri, path)

    def parts(self, folder: ArtifactUri) -> list[ArtifactUri]:
        """The parts that were extracted into a folder."""
        return [info.uri for info in self._store.list(folder)]

    def upload(self, path: Path, uri: ArtifactUri) -> None:
        """Write a local file as an object."""
        self._store.upload(path, uri)
