"""A stream of batches as Parquet parts of some 32 MiB, a few of them in memory at a time."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlops_assets.artifacts import ArtifactUri
from mlops_assets.platforms.parquet import parquet_writer

if TYPE_CHECKING:
    import pyarrow as pa

_PART = 32 << 20
_ROW_GROUP = 1 << 17
_AT_ONCE = 2


@dataclass(frozen=True)
class Parts:
    """Parts in the object store that the warehouse can load.

    Attributes:
        source: URI that names them all: of a manifest, or with a wildcard in its last segment.
        rows: how many there are in all of them.
    """

    source: ArtifactUri
    rows: int


def write_parts(
    schema: pa.Schema, batches: Iterable[pa.RecordBatch], put: Callable[[int, bytes], object]
) -> tuple[int, list[int]]:
    """Rows in all, and the bytes of each part, after `put` has taken every part with its number.

    Parts are put while the next is made; no more than `_AT_ONCE` of them wait in memory.
    """
    rows, sizes, sent = 0, [], deque[Future[object]]()
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for number, (added, data) in enumerate(parts_of(schema, batches)):
            rows += added
            sizes.append(len(data))
            sent.append(pool.submit(put, number, data))
            if len(sent) > _AT_ONCE:
                sent.popleft().result()
        while sent:
            sent.popleft().result()
    return rows, sizes


def parts_of(schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[int, bytes]]:
    """Rows and bytes of each part; one without rows where there is no batch."""
    part, given = _Part(schema), 0
    for batch in batches:
        part.add(batch)
        if part.size >= _PART:
            yield part.rows, part.finish()
            part, given = _Part(schema), given + 1
    if part.rows or not given:
        yield part.rows, part.finish()


class _Part:
    """One Parquet file in the making, in memory."""

    def __init__(self, schema: pa.Schema) -> None:
        self.rows = 0
        self._buffer = io.BytesIO()
        self._waiting: list[pa.RecordBatch] = []
        self._schema = schema
        # Every warehouse takes snappy from all writers.
        self._writer = parquet_writer(self._buffer, schema, compression="snappy")

    @property
    def size(self) -> int:
        """Bytes written, and those that wait for a whole row group."""
        return self._buffer.tell() + sum(batch.nbytes for batch in self._waiting)

    def add(self, batch: pa.RecordBatch) -> None:
        self.rows += batch.num_rows
        self._waiting.append(batch)
        if sum(item.num_rows for item in self._waiting) >= _ROW_GROUP:
            self._write()

    def finish(self) -> bytes:
        self._write()
        self._writer.close()
        return self._buffer.getvalue()

    def _write(self) -> None:
        import pyarrow as pa

        if self._waiting:
            self._writer.write_table(pa.Table.from_batches(self._waiting, self._schema))
            self._waiting = []
