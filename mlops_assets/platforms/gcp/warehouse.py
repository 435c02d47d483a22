"""The warehouse on Google Cloud: BigQuery, with Cloud Storage as the way in and out."""

# ruff: noqa: S608 - identifiers are quoted, values are parameters or quoted literals

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import TYPE_CHECKING, Any

from mlops_assets.artifacts import ArtifactUri, Column, TableRef
from mlops_assets.errors import DataError
from mlops_assets.platforms.arriving import ledger as ledgers
from mlops_assets.platforms.arriving.staged import judge
from mlops_assets.platforms.costs import Account
from mlops_assets.platforms.dialect_bigquery import decoded
from mlops_assets.platforms.embedded import EmbeddedEngine
from mlops_assets.platforms.gcp.bigquery import BigQuery
from mlops_assets.platforms.gcp.bigquery_load import LIMITS, ArrivalLoad
from mlops_assets.platforms.gcp.bigquery_relations import Relations, columns_of
from mlops_assets.platforms.gcp.bigquery_results import Results
from mlops_assets.platforms.gcp.bigquery_sql import DIALECT, quote, quote_relation, transpiled
from mlops_assets.platforms.gcp.bigquery_staging import Staging
from mlops_assets.platforms.gcp.bigquery_tables import TableWork, merge, reference, refuse_nested
from mlops_assets.platforms.gcp.bigquery_write import NUMBER, column_type, staged_batches
from mlops_assets.platforms.ports import LedgerEntry, LoadRequest, LoadResult, TableBuild, TemporaryTable
from mlops_assets.platforms.temporary import built

if TYPE_CHECKING:
    import pyarrow as pa

_BATCH = 1 << 17
_KEYS = 10_000


class BigQueryWarehouse:
    """The Warehouse of Google Cloud. Rows go by load and extract jobs; only small results by the API."""

    def __init__(self, bigquery: BigQuery, staging: Staging, engine: EmbeddedEngine) -> None:
        """Nothing is connected yet.

        Args:
            bigquery: the jobs.
            staging: the prefix in Cloud Storage that BigQuery reads and writes.
            engine: reads and judges arriving objects, writes exported ones.
        """
        self._bigquery, self._staging, self._engine = bigquery, staging, engine
        self._relations = Relations(bigquery)
        self._results = Results(bigquery, self._relations, staging, engine)

    @property
    def dialect(self) -> str:
        """`bigquery`."""
        return DIALECT

    # --- arrivals -----------------------------------------------------------------------------------------

    def prepare(self, arriving: int) -> None:
        """Nothing: BigQuery is there."""

    def load(self, request: LoadRequest) -> LoadResult:
        """Load one object; loading the same key again leaves exactly the rows of its latest version."""
        with self._staging.folder("loads") as folder:
            judged = judge(request, self._staging, folder, self._engine, LIMITS)
            return ArrivalLoad(self._bigquery, self._relations, request, judged).run()

    def loaded(self, ledger: str, keys: Sequence[str] | None = None) -> Mapping[str, LedgerEntry]:
        """Object key -> ledger entry, for those of `keys` (default: all) that are in the ledger."""
        if keys == [] or self._relations.find(ledger) is None:
            return {}
        label, select = f"read {ledger}", f"SELECT {ledgers.ENTRY} FROM {quote_relation(ledger)}"
        if keys is None:
            return ledgers.entries(self._bigquery.run(label, select))
        found: dict[str, LedgerEntry] = {}
        for start in range(0, len(keys), _KEYS):
            some = {"keys": list(keys[start : start + _KEYS])}
            rows = self._bigquery.run(label, f"{select} WHERE _object IN UNNEST(@keys)", some)
            found |= ledgers.entries(rows)
        return found

    def state(self, ledger: str) -> str:
        """SHA-256 over every key with its content, ordered by key; the order of loading leaves no trace."""
        if self._relations.find(ledger) is None:
            return ledgers.state(())
        select = f"SELECT _object, content FROM {quote_relation(ledger)} ORDER BY _object"
        return ledgers.state(tuple(row) for row in self._bigquery.run(f"read {ledger}", select))

    # --- relations ----------------------------------------------------------------------------------------

    def build(self, build: TableBuild) -> TableRef:
        """Build by one statement that puts the new table in the old one's place.

        `incremental` deletes the rows whose key is among the new ones and inserts those, in one MERGE; new
        columns are added, types widened before.
        """
        return TableWork(self._bigquery, self._relations, build).run()

    def temporary(self, relation: str, select: str) -> AbstractContextManager[TemporaryTable]:
        """A SELECT's rows for the length of a block: a table of that name."""
        return built(self, relation, select)

    def columns(self, relation: str) -> tuple[Column, ...] | None:
        """The relation's columns with logical types, or None where it does not exist."""
        table = self._relations.find(relation)
        return None if table is None else columns_of(table)

    def write(
        self, relation: str, batches: pa.RecordBatchReader, *, unique_key: Sequence[str] = ()
    ) -> TableRef:
        """Replace a relation with the batches, or upsert by `unique_key`: of equal keys the last row wins."""
        lacking = [key for key in unique_key if key not in batches.schema.names]
        if lacking:
            raise DataError(
                f"The rows have no column {lacking[0]!r}.", where=relation, mend="Correct `unique_key`."
            )
        label = f"write {relation}"
        types = {field.name: column_type(field.type, field.name) for field in batches.schema}
        refuse_nested(types, unique_key, relation)
        staging = self._relations.beside(relation)
        with self._staging.folder("writes") as folder:
            schema, stream = staged_batches(batches, numbered=bool(unique_key))
            parts = self._staging.write(folder, schema, stream)
            made = {**types, NUMBER: "INT64"} if unique_key else types
            table = self._relations.create(staging, made, passing=True)
            try:
                self._bigquery.load(label, parts.source, table)
                self._put(relation, staging, tuple(types), unique_key)
            finally:
                self._relations.drop(staging)
        return reference(self._relations, relation)

    def _put(self, relation: str, staging: str, columns: Sequence[str], unique_key: Sequence[str]) -> None:
        """Let the staged rows replace the relation, or those of equal key."""
        names = ", ".join(quote(name) for name in columns)
        select = f"SELECT {names} FROM {quote_relation(staging)}"
        present = self._relations.find(relation)
        is_table = present is not None and present.table_type == "TABLE"
        if unique_key:
            keys = ", ".join(quote(key) for key in unique_key)
            rank = f"ROW_NUMBER() OVER (PARTITION BY {keys} ORDER BY {quote(NUMBER)} DESC)"
            select += f" QUALIFY {rank} = 1"
        if unique_key and is_table:
            merge(
                self._bigquery,
                self._relations,
                relation,
                select=select,
                key=unique_key,
                label=f"write {relation}",
            )
            return
        if present is not None and not is_table:
            self._relations.drop(relation)
        sql = f"CREATE OR REPLACE TABLE {quote_relation(relation)} AS {select}"
        self._bigquery.run(f"write {relation}", sql)

    def drop(self, relation: str) -> None:
        """Drop a table or view if it exists."""
        self._relations.drop(relation)

    def costs(self, account: Account) -> Mapping[str, float]:
        """Jobs and their seconds, `bytes_billed` and `slot_seconds`, as each job said at its end."""
        return dict(account.figures)

    # --- results ------------------------------------------------------------------------------------------

    def query(self, select: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """Rows of a small result. `?` marks parameters."""
        values = {f"p{number}": value for number, value in enumerate(parameters, start=1)}
        found = self._bigquery.run("query", transpiled(select, self._bigquery.location), values)
        names = [decoded(field.name) for field in found.schema]
        return [dict(zip(names, map(_named, row.values()), strict=True)) for row in found]

    def export(self, select: str, path_or_uri: ArtifactUri) -> int:
        """Write the rows of a SELECT as one Parquet file, in the order the SELECT says.

        The same rows in the same order give the same bytes, those that the local platform writes.
        """
        return self._results.export(transpiled(select, self._bigquery.location), path_or_uri)

    def read(self, select: str) -> pa.RecordBatchReader:
        """Rows of a SELECT as Arrow batches of 131,072, through Cloud Storage and this machine's disk."""
        import pyarrow as pa

        sql = transpiled(select, self._bigquery.location)
        with ExitStack() as opening:
            passing = opening.enter_context(self._results.passing("read", sql))
            connection, ordered = opening.enter_context(self._results.selected("read", passing))
            reader = connection.sql(ordered).to_arrow_reader(_BATCH)
            kept_until_read = opening.pop_all()

        def batches() -> Iterator[pa.RecordBatch]:
            with kept_until_read:
                yield from reader

        return pa.RecordBatchReader.from_batches(reader.schema, batches())


def _named(value: Any) -> Any:
    """A value with the fields of its STRUCTs under the names that we gave them."""
    if isinstance(value, dict):
        return {decoded(name): _named(item) for name, item in value.items()}
    return [_named(item) for item in value] if isinstance(value, list) else value
