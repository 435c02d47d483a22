"""The warehouse of one machine: a DuckDB file below the root."""

# ruff: noqa: S608 - identifiers are quoted, values are parameters or quoted literals

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_assets.artifacts import ArtifactUri, Column, TableRef
from mlops_assets.errors import DataError, StorageError
from mlops_assets.platforms.costs import Account
from mlops_assets.platforms.embedded import exporting
from mlops_assets.platforms.local import relations
from mlops_assets.platforms.local.arrival_load import ArrivalLoad
from mlops_assets.platforms.local.database import Database
from mlops_assets.platforms.local.object_store import LocalObjectStore
from mlops_assets.platforms.local.scratch import scratch_path, sync_file, sync_folder
from mlops_assets.platforms.ports import LedgerEntry, LoadRequest, LoadResult, TableBuild, TemporaryTable
from mlops_assets.platforms.sql import DIALECT, quote, quote_relation, split_relation, transpile

if TYPE_CHECKING:
    import pyarrow as pa
    from duckdb import DuckDBPyConnection

    from mlops_assets.settings import Settings

_BATCH = 1 << 17
_STAGED = "__staged"
_INCOMING = "__incoming"


class DuckDBWarehouse:
    """The Warehouse of one machine, in `settings.root`/warehouse.duckdb.

    Each operation opens the file and closes it again, so that several processes can take turns; a reader from
    `read` keeps it until it is exhausted or closed.
    """

    def __init__(self, settings: Settings) -> None:
        self._database = Database(settings)
        self._store = LocalObjectStore(settings)

    @property
    def dialect(self) -> str:
        """`duckdb`."""
        return DIALECT

    def prepare(self, arriving: int) -> None:
        """Nothing: the file is opened when it is needed."""

    def load(self, request: LoadRequest) -> LoadResult:
        """Load one object; loading the same key again leaves exactly the rows of its latest version."""
        return self._database.run(ArrivalLoad(request, self._store.local(request.uri)).run)

    def loaded(self, ledger: str, keys: Sequence[str] | None = None) -> Mapping[str, LedgerEntry]:
        """Object key -> ledger entry, for those of `keys` (default: all) that are in the ledger."""

        def work(connection: DuckDBPyConnection) -> Mapping[str, LedgerEntry]:
            if relations.kind_of(connection, ledger) is None:
                return {}
            columns = "_object, version, content, rows_in, loaded, quarantined"
            sql = f"SELECT {columns} FROM {quote_relation(ledger)}"
            if keys is not None:
                sql += " WHERE _object IN (SELECT unnest(CAST(? AS VARCHAR[])))"
            rows = connection.execute(sql, [] if keys is None else [list(keys)]).fetchall()
            return {key: LedgerEntry(*entry) for key, *entry in rows}

        return self._database.run(work)

    def state(self, ledger: str) -> str:
        """SHA-256 over every key with its content, ordered by key; the order of loading leaves no trace."""
        pairs = "string_agg(sha256(_object) || sha256(content), '' ORDER BY _object)"

        def work(connection: DuckDBPyConnection) -> str:
            if relations.kind_of(connection, ledger) is None:
                return str(connection.execute("SELECT sha256('')").fetchall()[0][0])
            sql = f"SELECT sha256(coalesce({pairs}, '')) FROM {quote_relation(ledger)}"
            return str(connection.execute(sql).fetchall()[0][0])

        return self._database.run(work)

    def build(self, build: TableBuild) -> TableRef:
        """Build beside the old relation and swap in one transaction.

        `incremental` deletes the rows whose key is among the new ones and inserts those; columns that are new
        are added, types widened. Without a table yet, or without a key, everything is replaced. DuckDB has no
        materialized views: they are tables.
        """
        select = transpile(build.select, DIALECT)

        def work(connection: DuckDBPyConnection) -> TableRef:
            relations.make_schema(connection, build.relation)
            if build.materialization == "view":
                return self._build_view(connection, build.relation, select)
            staging = f"{build.relation}__staging_{uuid.uuid4().hex[:8]}"
            connection.execute(f"CREATE TABLE {quote_relation(staging)} AS {select}")
            keeps = build.materialization == "incremental" and build.unique_key
            self._merge(connection, staging, build.relation, build.unique_key if keeps else ())
            return self._ref(connection, build.relation)

        return self._database.run(work)

    @contextmanager
    def temporary(self, relation: str, select: str) -> Iterator[TemporaryTable]:
        """A SELECT's rows for the length of a block: in memory, and what that cannot hold beside the file.

        It is written in half the time of a table, and nothing stays of it however the block ends. The block
        keeps the warehouse's file.
        """
        name = f"temp.{split_relation(relation)[1]}"
        with self._database.connect() as connection:
            connection.execute(f"CREATE TEMP TABLE {quote_relation(name)} AS {transpile(select, DIALECT)}")
            yield DuckDBTemporaryTable(name, connection, self._database)

    def columns(self, relation: str) -> tuple[Column, ...] | None:
        """The relation's columns with logical types, or None where it does not exist."""
        return self._database.run(lambda connection: relations.columns_of(connection, relation) or None)

    def export(self, select: str, path_or_uri: ArtifactUri) -> int:
        """Write the rows of a SELECT as one Parquet file, in the order the SELECT says.

        Row groups of 122,880 rows, zstd, level 1: the same rows in the same order give the same bytes.
        """
        with self._database.connect() as connection:
            return _export(connection, select, path_or_uri.path, self._database.scratch)

    def query(self, select: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """Rows of a small result. `?` marks parameters."""
        with self._database.connect() as connection:
            return _query(connection, select, parameters)

    def read(self, select: str) -> pa.RecordBatchReader:
        """Rows of a SELECT as Arrow batches of 131,072 rows; the file stays taken until they are read."""
        import pyarrow as pa

        with ExitStack() as opening:
            connection = opening.enter_context(self._database.connect())
            reader = connection.sql(transpile(select, DIALECT)).to_arrow_reader(_BATCH)
            open_until_read = opening.pop_all()

        def batches() -> Iterator[pa.RecordBatch]:
            with open_until_read:
                yield from reader

        return pa.RecordBatchReader.from_batches(reader.schema, batches())

    def write(
        self, relation: str, batches: pa.RecordBatchReader, *, unique_key: Sequence[str] = ()
    ) -> TableRef:
        """Replace a relation with the batches, or upsert by `unique_key`: of equal keys the last row wins."""
        lacking = [key for key in unique_key if key not in batches.schema.names]
        if lacking:
            raise DataError(
                f"The rows have no column {lacking[0]!r}.", where=relation, mend="Correct `unique_key`."
            )
        last = ""
        if unique_key:
            keys = ", ".join(quote(key) for key in unique_key)
            # DuckDB 2.0.0 mixes up the columns of QUALIFY row_number() OVER (… ORDER BY rowid …) = 1.
            last = f" WHERE rowid IN (SELECT max(rowid) FROM {_STAGED} GROUP BY {keys})"
        staging = f"{relation}__staging_{uuid.uuid4().hex[:8]}"

        def work(connection: DuckDBPyConnection) -> TableRef:
            relations.make_schema(connection, relation)
            source = f"SELECT * FROM {_STAGED}{last} ORDER BY rowid"
            connection.execute(f"CREATE TABLE {quote_relation(staging)} AS {source}")
            self._merge(connection, staging, relation, unique_key)
            return self._ref(connection, relation)

        with self._database.connect() as connection:
            connection.register(_INCOMING, batches)
            connection.execute(
                f"CREATE TEMP TABLE {_STAGED} AS SELECT * FROM {_INCOMING}"
            )  # a stream is read once
            return self._database.transact(connection, work)

    def drop(self, relation: str) -> None:
        """Drop a table or view if it exists."""
        self._database.run(lambda connection: relations.drop(connection, relation))

    def costs(self, account: Account) -> Mapping[str, float]:
        """Operations, and the seconds that they took; nothing else is spent on one machine."""
        return dict(account.figures)

    def _build_view(self, connection: DuckDBPyConnection, relation: str, select: str) -> TableRef:
        if relations.kind_of(connection, relation) == "TABLE":
            relations.drop(connection, relation)
        connection.execute(f"CREATE OR REPLACE VIEW {quote_relation(relation)} AS {select}")
        return TableRef(relation=relation, version="", columns=relations.columns_of(connection, relation))

    def _merge(
        self, connection: DuckDBPyConnection, staging: str, relation: str, unique_key: Sequence[str]
    ) -> None:
        if unique_key and relations.kind_of(connection, relation) == "TABLE":
            relations.widen(connection, relation, quote_relation(staging))
            relations.replace_keys(connection, relation, quote_relation(staging), unique_key)
            relations.drop(connection, staging)
        else:
            relations.swap(connection, staging, relation)

    def _ref(self, connection: DuckDBPyConnection, relation: str) -> TableRef:
        rows = int(connection.execute(f"SELECT count(*) FROM {quote_relation(relation)}").fetchall()[0][0])
        return TableRef(
            relation=relation, version="", columns=relations.columns_of(connection, relation), rows=rows
        )


@dataclass(frozen=True)
class DuckDBTemporaryTable:
    """A temporary table of one connection, as long as that is open."""

    relation: str
    connection: DuckDBPyConnection
    database: Database

    def query(self, select: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """As `DuckDBWarehouse.query`."""
        with self.database.explaining():
            return _query(self.connection, select, parameters)

    def export(self, select: str, path_or_uri: ArtifactUri) -> int:
        """As `DuckDBWarehouse.export`."""
        with self.database.explaining():
            return _export(self.connection, select, path_or_uri.path, self.database.scratch)


def _query(connection: DuckDBPyConnection, select: str, parameters: Sequence[Any]) -> list[dict[str, Any]]:
    result = connection.execute(transpile(select, DIALECT), list(parameters))
    names = [str(item[0]) for item in result.description or ()]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def _export(connection: DuckDBPyConnection, select: str, target: Path, scratch: Path) -> int:
    written = scratch / f"export-{uuid.uuid4().hex}.parquet"
    try:
        copied = connection.execute(exporting(transpile(select, DIALECT), written)).fetchall()
        _place(written, target)
    finally:
        written.unlink(missing_ok=True)
    return int(copied[0][0])


def _place(written: Path, target: Path) -> None:
    """Move a finished file to its target, by way of a name beside it."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        sync_file(written)
        with scratch_path(target) as beside:
            shutil.move(written, beside)
            os.replace(beside, target)  # noqa: PTH105
        sync_folder(target.parent)
    except OSError as error:
        raise StorageError(
            f"The file cannot be written: {error.strerror}.",
            where=str(target),
            mend="Free space on the disk.",
        ) from error
