"""What a platform must offer: five ports, and the Platform that holds one adapter of each.

`pipeline` speaks to these and never to a platform's own module. One contract suite per port runs against
every platform's adapter (mlops_assets_tests/platforms/contracts).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, Protocol

from mlops_assets.artifacts import (
    ArtifactUri,
    Column,
    Deployment,
    ModelVersion,
    TableRef,
)
from mlops_assets.platforms.costs import Account
from mlops_assets.platforms.health import Checks
from mlops_assets.platforms.model_registry import ModelRegistry

if TYPE_CHECKING:
    import pyarrow as pa

    from mlops_assets.settings import Settings

# --- object store -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ObjectInfo:
    """An object as a listing sees it.

    Attributes:
        version: changes whenever the bytes under this key are written again (ETag, generation; locally
            inode, size and modification time).
        size: bytes.
        modified: time of the last write, UTC.
    """

    uri: ArtifactUri
    version: str
    size: int
    modified: datetime


class ObjectStore(Protocol):
    """Artifacts by URI below one root. Writes are atomic: old bytes or new ones, never part."""

    @property
    def root(self) -> ArtifactUri:
        """Every URI this store reads or writes lies below it; others raise PathEscapeError."""
        ...

    def list(
        self, prefix: ArtifactUri, *, after: str | None = None, limit: int | None = None
    ) -> Iterator[ObjectInfo]:
        """Objects below `prefix` whose key relative to it is greater than `after`, in byte order of it."""
        ...

    def head(self, uri: ArtifactUri) -> ObjectInfo | None:
        """The object's info, or None where there is none."""
        ...

    def digest(self, uri: ArtifactUri) -> str:
        """Digest of an object's bytes (the store's own checksum, if any). ArtifactError if missing."""
        ...

    def read(self, uri: ArtifactUri) -> bytes:
        """All bytes of a small object. ArtifactError where it is missing."""
        ...

    def open(self, uri: ArtifactUri) -> BinaryIO:
        """A readable stream; whoever seeks fetches only what is read. ArtifactError where it is missing."""
        ...

    def write(
        self, uri: ArtifactUri, data: bytes, *, if_absent: bool = False, if_version: str | None = None
    ) -> ObjectInfo:
        """Write `data`. ConflictError where it exists and `if_absent`, or its version is not `if_version`."""
        ...

    def upload(self, path: Path, uri: ArtifactUri) -> ObjectInfo:
        """Write a local file's bytes without holding them in memory."""
        ...

    def download(self, uri: ArtifactUri, path: Path) -> None:
        """Copy an object to a local file, written aside and renamed."""
        ...

    def publish(self, source: Path | ArtifactUri, uri: ArtifactUri) -> bool:
        """Make a folder's files visible below `uri`, all at once or not at all; the folder is consumed.

        `source` is a local folder, or one of this store, whose bytes then need not leave it.

        Returns False where `uri` was already published (content-named artifacts: the first one stays).
        A folder is published exactly when its `_complete` marker, JSON of file name -> SHA-256, is there.
        """
        ...

    def published(self, uri: ArtifactUri) -> Mapping[str, str] | None:
        """File name -> SHA-256 of a published folder; None where it is not (wholly) there."""
        ...

    def delete(self, uri: ArtifactUri) -> None:
        """Remove one object, or everything below `uri`; nothing happens where there is none."""
        ...

    def local(self, uri: ArtifactUri) -> Path:
        """A local path to read an object or folder from: itself on a local store, else a cached copy."""
        ...


@dataclass(frozen=True)
class Announcement:
    """An object that an event says was written, and the event's receipt."""

    uri: ArtifactUri
    receipt: str


class ArrivalEvents(Protocol):
    """A store's own events of objects written below one prefix: hints, beside listing, that may be lost."""

    def receive(self, limit: int) -> Sequence[Announcement]:
        """Announced objects, at most about `limit`; they come again until they are acknowledged."""
        ...

    def acknowledge(self, announcements: Sequence[Announcement]) -> None:
        """Let the events of what was dealt with go."""
        ...


# --- warehouse --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LoadRequest:
    """One arriving object to be loaded.

    Attributes:
        relation: `schema.table` of the arrivals; created on first use with `columns` and three more:
            `_object` (string: the object's key), `_row` (int: record number in it, from 1) and
            `_loaded_at` (timestamp).
        quarantine: `schema.table` of rejected rows: `_object`, `_line` (int, physical line, from 1),
            `reason` (string), `raw` (string), `_loaded_at`.
        ledger: `schema.table` with one row per object: `_object`, `version`, `content`, `rows_in`, `loaded`,
            `quarantined`, `loaded_at`. Rows, quarantine and ledger change in one transaction.
        key: the object's key below the prefix.
        version: the object's version, as listed (cheap to see, may change without the bytes changing).
        content: digest of the bytes and of how they are read (columns, conditions): what `state` is made of.
        columns: declared name -> logical type.
        sources: declared name -> column name in the file, where they differ.
        conditions: reason -> SQL condition (DuckDB dialect) over declared columns; a row for which it is not
            true goes to quarantine with that reason.
    """

    relation: str
    quarantine: str
    ledger: str
    uri: ArtifactUri
    key: str
    version: str
    content: str
    format: Literal["csv", "parquet", "json"]
    columns: Mapping[str, str]
    sources: Mapping[str, str] = field(default_factory=dict)
    conditions: Mapping[str, str] = field(default_factory=dict)
    delimiter: str = ","
    null_values: Sequence[str] = ("",)


@dataclass(frozen=True)
class LoadResult:
    """rows_in = loaded + quarantined, counted independently of each other."""

    rows_in: int
    loaded: int
    quarantined: int
    reasons: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class LedgerEntry:
    """What the ledger knows of one loaded object."""

    version: str
    content: str
    rows_in: int
    loaded: int
    quarantined: int


@dataclass(frozen=True)
class TableBuild:
    """A relation to build from a SELECT in DuckDB's dialect, whose relations are schema-qualified.

    Attributes:
        materialization: `incremental` replaces rows of equal `unique_key` (all, where there is none yet).
            `materialized_view` keeps its rows until it is built again; it is a table where there are none.
        options: the platform's own table attributes from the SQL header (distribution, sort, clustering).
    """

    relation: str
    select: str
    materialization: Literal["table", "view", "materialized_view", "incremental"] = "table"
    unique_key: tuple[str, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)


class TemporaryTable(Protocol):
    """The rows of one SELECT, computed once and there until a block ends."""

    @property
    def relation(self) -> str:
        """What `query` and `export` know it by; nobody else does."""
        ...

    def query(self, select: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """As `Warehouse.query`; the warehouse's other relations are there, too."""
        ...

    def export(self, select: str, path_or_uri: ArtifactUri) -> int:
        """As `Warehouse.export`."""
        ...


class Warehouse(Protocol):
    """SQL where the data lies. SQL arrives in DuckDB's dialect and is transpiled by the adapter."""

    @property
    def dialect(self) -> str:
        """The dialect spoken here, by its name in sqlglot."""
        ...

    def prepare(self, arriving: int) -> None:
        """Get ready to load so many bytes; a hint that costs nothing to ignore and nothing to repeat."""
        ...

    def load(self, request: LoadRequest) -> LoadResult:
        """Load one object; loading the same key again leaves exactly the rows of its latest version."""
        ...

    def loaded(self, ledger: str, keys: Sequence[str] | None = None) -> Mapping[str, LedgerEntry]:
        """Object key -> ledger entry, for those of `keys` (default: all) that are in the ledger."""
        ...

    def state(self, ledger: str) -> str:
        """Digest of the whole ledger (every key with its content): the data version of the arrivals."""
        ...

    def build(self, build: TableBuild) -> TableRef:
        """Build into a staging relation and swap it in one transaction; the old one serves until then.

        The returned ref has columns and rows (None for a view); `version` is empty: versions are the
        pipeline's.
        """
        ...

    def temporary(self, relation: str, select: str) -> AbstractContextManager[TemporaryTable]:
        """A SELECT's rows for the length of a block.

        Args:
            relation: a free name, which a warehouse without temporary tables gives it; what a process that
                dies leaves under it is `drop`ped.
            select: is run once, when the block begins; in it, ask the temporary table, not the warehouse.
        """
        ...

    def columns(self, relation: str) -> tuple[Column, ...] | None:
        """The relation's columns with logical types, or None where it does not exist."""
        ...

    def export(self, select: str, path_or_uri: ArtifactUri) -> int:
        """Write the rows of a SELECT as one Parquet file, ordered as the SELECT says."""
        ...

    def query(self, select: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """Rows of a small result. `?` marks parameters."""
        ...

    def read(self, select: str) -> pa.RecordBatchReader:
        """Rows of a SELECT as Arrow batches, streamed."""
        ...

    def write(
        self, relation: str, batches: pa.RecordBatchReader, *, unique_key: Sequence[str] = ()
    ) -> TableRef:
        """Replace a relation with the batches, or upsert by `unique_key`, through a staging table."""
        ...

    def drop(self, relation: str) -> None:
        """Drop a table or view if it exists."""
        ...

    def costs(self, account: Account) -> Mapping[str, float]:
        """What was asked under a closed account cost: `queries`, `query_seconds`, and what is billed here.

        What a figure counts is the warehouse's own matter; those that it does not know are not there.
        """
        ...


# --- jobs -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class JobRequest:
    """Work for the runtime's program, the same on every platform.

    Attributes:
        program: `train` or `evaluate`: module `mlops_assets.runtime.<program>`.
        name: model name, for the job's own name.
        arguments: JSON-like; reaches the program in `request.json`.
        inputs: channel -> URI of a folder; the program sees local folders.
        output: URI that the program's output folder is published to.
        digest: identity of the request: the same request re-attaches to its job or finds its output.
        code: user files (train.py) -> content, placed beside the request.
        timeout: seconds; None is no limit.
        force: run even where the output is published already. It is compared and stays as it was: artifacts
            are immutable. Not part of the request's identity.
    """

    program: Literal["train", "evaluate"]
    name: str
    arguments: Mapping[str, Any]
    inputs: Mapping[str, ArtifactUri]
    output: ArtifactUri
    digest: str
    code: Mapping[str, str] = field(default_factory=dict)
    timeout: float | None = None
    force: bool = False


@dataclass(frozen=True)
class JobResult:
    """What a finished job left.

    Attributes:
        files: file name -> SHA-256, as published.
        metadata: for people: `reused` (found, not run), `seconds`, a link to a console; of a forced job also
            what `platforms.repetition.repeated` says.
    """

    output: ArtifactUri
    files: Mapping[str, str]
    result: Mapping[str, Any]
    metadata: Mapping[str, Any] = field(default_factory=dict)


class Trainer(Protocol):
    """Runs the runtime's programs. Logs, progress and metrics stream to `context` through Dagster Pipes."""

    def prepare(self) -> None:
        """Get ready while earlier stages run; a hint that costs nothing to ignore and nothing to repeat."""
        ...

    def run(self, context: Any, request: JobRequest) -> JobResult:
        """Run to the end. Cancelling the Dagster run ends the job; JobFailedError names the reason."""
        ...


# --- endpoint ---------------------------------------------------------------------------------------------


class Endpoint(Protocol):
    """Serves one version per model; a new one takes over only after its smoke test."""

    def deploy(self, version: ModelVersion, *, samples: ArtifactUri, expected: ArtifactUri) -> Deployment:
        """Start `version` beside the old one, smoke-test it, let it take over, stop the old one.

        `samples` holds rows as JSON records and `expected` the offline predictions for them. The same version
        again does nothing where it is healthy. DeploymentError where it fails; the old one goes on serving.
        What a person stopped is left as it is: the answer is its status, with `stopped_by`.
        """
        ...

    def status(self, model: str) -> Deployment:
        """What serves, as it answers now."""
        ...

    def list(self) -> Sequence[Deployment]:
        """Every deployment, stopped ones included."""
        ...

    def stop(self, model: str, *, by: str | None = None) -> Deployment:
        """End the server; what was deployed stays known.

        `by` names the person who wants it: then only `restart` starts it again, no deployment does. A stop
        without a name ends the server and leaves such a wish as it was.
        """
        ...

    def restart(self, model: str) -> Deployment:
        """Serve the version that was deployed last again, whoever stopped it."""
        ...


class BatchScorer(Protocol):
    """Scores objects of the store where they lie, for platforms whose store is not this machine."""

    def score(self, version: ModelVersion, data: ArtifactUri, out: ArtifactUri) -> None:
        """Score `data` to `out`, CSV or JSON lines at least; `out` is there when it is complete.

        DataError for formats that are not scored there, JobFailedError with what the server said.
        """
        ...


# --- the platform -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Adapters:
    """How to make each port's adapter; a factory runs once, when its port is first used."""

    store: Callable[[Settings], ObjectStore]
    warehouse: Callable[[Settings], Warehouse]
    trainer: Callable[[Settings, ObjectStore], Trainer]
    registry: Callable[[Settings, ObjectStore], ModelRegistry]
    endpoint: Callable[[Settings, ObjectStore], Endpoint]
    events: Callable[[ArtifactUri], ArrivalEvents | None] = lambda _: None
    checks: Callable[[Platform], Checks] = lambda _: {}
    batch: Callable[[Settings, ObjectStore], BatchScorer | None] = lambda *_: None


class Platform:
    """One adapter of each port, made when first used."""

    def __init__(self, settings: Settings, adapters: Adapters) -> None:
        self.settings = settings
        self._adapters = adapters

    @cached_property
    def store(self) -> ObjectStore:
        """Where artifacts and arriving objects lie."""
        return self._adapters.store(self.settings)

    def events(self, prefix: ArtifactUri) -> ArrivalEvents | None:
        """Events of what arrives below `prefix`; None where there are none, and listing is all."""
        return self._adapters.events(prefix)

    def checks(self) -> Checks:
        """What `mlops-assets doctor` looks at on this platform."""
        return self._adapters.checks(self)

    @cached_property
    def warehouse(self) -> Warehouse:
        """Where tables lie."""
        return self._adapters.warehouse(self.settings)

    @cached_property
    def trainer(self) -> Trainer:
        """Where training and evaluation run."""
        return self._adapters.trainer(self.settings, self.store)

    @cached_property
    def registry(self) -> ModelRegistry:
        """Where versions are kept."""
        return self._adapters.registry(self.settings, self.store)

    @cached_property
    def endpoint(self) -> Endpoint:
        """Where versions serve."""
        return self._adapters.endpoint(self.settings, self.store)

    @cached_property
    def batch(self) -> BatchScorer | None:
        """What scores objects of the store; None where files of this machine are all there is."""
        return self._adapters.batch(self.settings, self.store)
