"""An arriving object judged on its way to a cloud's warehouse, which loads what comes out as Parquet parts.

No warehouse's own loading keeps line numbers and malformed records, so the object passes through here once,
as a stream: DuckDB reads and judges it by the same rules as on one machine. Memory stays flat.
"""

# ruff: noqa: S608 - identifiers are quoted, values are parameters or quoted literals

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from mlops_assets.artifacts import ArtifactUri
from mlops_assets.platforms.arriving.judging import QUARANTINE, check_names, judged
from mlops_assets.platforms.arriving.source import open_sources
from mlops_assets.platforms.embedded import EmbeddedEngine
from mlops_assets.platforms.parquet_parts import Parts
from mlops_assets.platforms.ports import LoadRequest
from mlops_assets.platforms.sql import literal, quote

if TYPE_CHECKING:
    import pyarrow as pa

_BATCH = 1 << 16


class StagingArea(Protocol):
    """A prefix that the warehouse and this process both reach."""

    def download(self, uri: ArtifactUri, path: Path) -> None:
        """Fetch one object into a file."""
        ...

    def write(self, folder: ArtifactUri, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Parts:
        """Write batches of one schema as parts."""
        ...


@dataclass(frozen=True)
class Limits:
    """What one warehouse can hold, and how.

    Attributes:
        schema: logical types by column -> schema of parts that hold them.
        beyond: declared columns -> reason -> condition that a record must meet for the warehouse to hold it.
        raw: expression of a rejected record's text, over `__raw`, cut to what the warehouse holds.
    """

    schema: Callable[[Mapping[str, str]], pa.Schema]
    beyond: Callable[[Mapping[str, str]], Mapping[str, str]]
    raw: str = "__raw"


@dataclass(frozen=True)
class Judged:
    """An object as parts: those of its good records, those of the others (None without any)."""

    rows_in: int
    good: Parts
    rejected: Parts | None
    at: datetime


def judge(
    request: LoadRequest, staging: StagingArea, folder: ArtifactUri, engine: EmbeddedEngine, limits: Limits
) -> Judged:
    """Read an object and write what becomes of it below `folder`.

    Raises:
        DataError: where the object cannot be what was declared at all.
    """
    check_names(request)
    engine.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="arriving-", dir=engine.folder) as local:
        path = Path(local) / "object"
        staging.download(request.uri, path)
        reading = _Reading(request, path, staging, engine, limits)
        rows_in, good = reading.stage(folder.join("good"))
        rejected = None
        if good.rows < rows_in:
            _, rejected = reading.stage(folder.join("rejected"), rejected=True)
    return Judged(rows_in, good, rejected, reading.at)


@dataclass(frozen=True)
class _Reading:
    """Passes over one object; a clean one takes one pass, as on one machine."""

    request: LoadRequest
    path: Path
    staging: StagingArea
    engine: EmbeddedEngine
    limits: Limits
    at: datetime = field(default_factory=lambda: datetime.now(UTC).replace(tzinfo=None))

    def stage(self, folder: ArtifactUri, *, rejected: bool = False) -> tuple[int, Parts]:
        """The number of records, and the parts of the good or of the rejected ones."""
        counted: list[int] = []
        logical = QUARANTINE if rejected else self._columns()
        schema = self.limits.schema(logical)
        names = ", ".join(quote(name) for name in logical)
        added = f"{literal(self.request.key)} AS _object, TIMESTAMP '{self.at}' AS _loaded_at"
        problem = f"__line AS _line, __reason AS reason, {self.limits.raw} AS raw"

        def batches() -> Iterator[pa.RecordBatch]:
            with self.engine.connect() as connection:
                for source in open_sources(connection, self.request, self.path):
                    select = judged(self.request, source, self.limits.beyond(self.request.columns))
                    columns = f"{problem if rejected else '*, __row AS _row'}, {added}"
                    found = f"SELECT {columns} FROM ({select}) WHERE __reason IS {'NOT ' * rejected}NULL"
                    rows = connection.sql(f"SELECT {names} FROM ({found})").to_arrow_reader(_BATCH)
                    yield from (batch.rename_columns(schema.names).cast(schema) for batch in rows)
                    counted.append(source.records())

        parts = self.staging.write(folder, schema, batches())
        return (counted[-1] if counted else 0), parts

    def _columns(self) -> dict[str, str]:
        return {"_object": "string", "_row": "int", **self.request.columns, "_loaded_at": "timestamp"}
