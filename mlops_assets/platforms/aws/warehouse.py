"""The warehouse on AWS: Redshift, with S3 as the way in and out."""

# ruff: noqa: S608 - identifiers are quoted, values are parameters or quoted literals

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from mlops_assets.artifacts import ArtifactUri, Column, TableRef
from mlops_assets.errors import DataError
from mlops_assets.platforms.arriving import ledger as ledgers
from mlops_assets.platforms.arriving.staged import judge
from mlops_assets.platforms.aws import redshift_relations as relations
from mlops_assets.platforms.aws.redshift import Redshift
from mlops_assets.platforms.aws.redshift_connection import Connection
from mlops_assets.platforms.aws.redshift_load import LIMITS, ArrivalLoad
from mlops_assets.platforms.aws.redshift_sql import DIALECT, literal, quote_relation
from mlops_assets.platforms.aws.redshift_staging import Staging
from mlops_assets.platforms.aws.redshift_tables import TableWork
from mlops_assets.platforms.aws.redshift_write import TableWrite, staged_batches
from mlops_assets.platforms.costs import Account
from mlops_assets.platforms.embedded import EmbeddedEngine
from mlops_assets.platforms.ports import LedgerEntry, LoadRequest, LoadResult, TableBuild, TemporaryTable
from mlops_assets.platforms.sql import transpile
from mlops_assets.platforms.temporary import built

if TYPE_CHECKING:
    import pyarrow as pa

_FEW = 2_000
_FETCH = 20_000
_KEYS = 1_000
_PART_MB = 64
_ROWS = 1 << 17  # of a batch


class RedshiftWarehouse:
    """The Warehouse of AWS. Rows go by COPY and UNLOAD; only small results come over a connection."""

    def __init__(
        self,
        redshift: Redshift,
        staging: Staging,
        engine: EmbeddedEngine,
        *,
        iam_role: str = "default",
        unload_above: int = 50_000,
    ) -> None:
        """Nothing is connected yet.

        Args:
            redshift: the sessions.
            staging: the prefix in S3 that Redshift reads and writes by `iam_role`.
            engine: reads and judges arriving objects.
            iam_role: ARN, or `default`.
            unload_above: rows above which `read` goes through S3.
        """
        self._redshift, self._staging, self._engine = redshift, staging, engine
        self._iam_role, self._unload_above = iam_role, unload_above

    @property
    def dialect(self) -> str:
        """`redshift`."""
        return DIALECT

    # --- arrivals -----------------------------------------------------------------------------------------

    def prepare(self, arriving: int) -> None:
        """Nothing: Redshift is there."""

    def load(self, request: LoadRequest) -> LoadResult:
        """Load one object; loading the same key again leaves exactly the rows of its latest version."""
        with self._staging.folder("loads") as folder:
            judged = judge(request, self._staging, folder, self._engine, LIMITS)
            load = ArrivalLoad(request, judged, self._iam_role)
            return self._redshift.run(f"load {request.relation}", load.run, done=load.done)

    def loaded(self, ledger: str, keys: Sequence[str] | None = None) -> Mapping[str, LedgerEntry]:
        """Object key -> ledger entry, for those of `keys` (default: all) that are in the ledger."""
        select = f"SELECT {ledgers.ENTRY} FROM {quote_relation(ledger)}"

        def work(connection: Connection) -> Mapping[str, LedgerEntry]:
            if relations.kind_of(connection, ledger) is None:
                return {}
            if keys is None:
                return ledgers.entries(connection.execute(select).rows)
            found: dict[str, LedgerEntry] = {}
            for start in range(0, len(keys), _KEYS):
                values = {f"p{at}": key for at, key in enumerate(keys[start : start + _KEYS])}
                marks = ", ".join(f":{name}" for name in values)
                found |= ledgers.entries(
                    connection.execute(f"{select} WHERE _object IN ({marks})", values).rows
                )
            return found

        return self._redshift.run(f"read {ledger}", work)

    def state(self, ledger: str) -> str:
        """SHA-256 over every key with its content, ordered by key; the order of loading leaves no trace."""

        def work(connection: Connection) -> list[Sequence[Any]]:
            if relations.kind_of(connection, ledger) is None:
                return []
            select = f"SELECT _object, content FROM {quote_relation(ledger)} ORDER BY _object"
            return list(connection.execute(select).rows)

        # LISTAGG would end at 65,535 bytes, some 500 objects.
        return ledgers.state(self._redshift.run(f"read {ledger}", work))

    # --- relations ----------------------------------------------------------------------------------------

    def build(self, build: TableBuild) -> TableRef:
        """Build beside the old relation and swap in one transaction.

        A view binds late, so that it follows its tables when they are replaced. `incremental` deletes the
        rows whose key is among the new ones and inserts those; new columns are added, types widened.
        """
        work = TableWork(build)
        return self._redshift.run(f"build {build.relation}", work.run, done=work.done)

    def temporary(self, relation: str, select: str) -> AbstractContextManager[TemporaryTable]:
        """A SELECT's rows for the length of a block: a table of that name."""
        return built(self, relation, select)

    def columns(self, relation: str) -> tuple[Column, ...] | None:
        """The relation's columns with logical types, or None where it does not exist."""
        relations.split_relation(relation)
        found = self._redshift.run(
            f"describe {relation}", lambda connection: relations.columns_of(connection, relation)
        )
        return found or None

    def write(
        self, relation: str, batches: pa.RecordBatchReader, *, unique_key: Sequence[str] = ()
    ) -> TableRef:
        """Replace a relation with the batches, or upsert by `unique_key`: of equal keys the last row wins."""
        lacking = [key for key in unique_key if key not in batches.schema.names]
        if lacking:
            raise DataError(
                f"The rows have no column {lacking[0]!r}.", where=relation, mend="Correct `unique_key`."
            )
        with self._staging.folder("writes") as folder:
            schema, stream = staged_batches(batches, numbered=bool(unique_key))
            parts = self._staging.write(folder, schema, stream)
            work = TableWrite(relation, batches.schema, unique_key, parts.source, self._iam_role)
            return self._redshift.run(f"write {relation}", work.run, done=work.done)

    def drop(self, relation: str) -> None:
        """Drop a table or view if it exists."""
        self._redshift.run(f"drop {relation}", lambda connection: relations.drop(connection, relation))

    def costs(self, account: Account) -> Mapping[str, float]:
        """Statements and their seconds as seen from here, and `bytes_returned` by the service's own history.

        Redshift keeps its history for seven days. It may show a statement some seconds after its end, so the
        bytes are at least those.
        """
        label = f"{account.label}:"
        found = self._redshift.query(
            "costs",
            "SELECT coalesce(sum(returned_bytes), 0) FROM sys_query_history "
            f"WHERE left(query_label, {len(label)}) = :label",
            {"label": label},
        )
        return {**account.figures, "bytes_returned": int(found.one())}

    # --- results ------------------------------------------------------------------------------------------

    def query(self, select: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """Rows of a small result. `?` marks parameters."""
        values = {f"p{number}": value for number, value in enumerate(parameters, start=1)}
        found = self._redshift.query("query", transpile(select, DIALECT), values)
        return [
            {name: _plain(value) for name, value in zip(found.columns, row, strict=True)}
            for row in found.rows
        ]

    def export(self, select: str, path_or_uri: ArtifactUri) -> int:
        """Write the rows of a SELECT as one Parquet file, in the order the SELECT says.

        Raises:
            DataError: where they are more than Redshift's largest file holds, 6.2 GB (UNLOAD's MAXFILESIZE).
        """
        with self._staging.folder("exports") as folder:
            sql = transpile(select, DIALECT)
            rows = self._unload("export", sql, folder, "PARALLEL OFF")
            parts = self._staging.parts(folder) if rows else [self._empty(sql, folder)]
            if len(parts) > 1:
                raise DataError(
                    f"{rows:,} rows are more than the 6.2 GB of Parquet that Redshift writes as one file.",
                    where=str(path_or_uri),
                    mend="Select fewer columns or rows in the SQL that the dataset is made from.",
                )
            self._staging.copy(parts[0], path_or_uri)
        return rows

    def read(self, select: str) -> pa.RecordBatchReader:
        """Rows of a SELECT as Arrow batches: by one statement where they are few, by a cursor, or by UNLOAD.

        Which it is to be is known from what comes of a few rows more than the least, and where there are more
        of these, from a count that ends at `unload_above`. The driver by itself would hold the whole result,
        and a cursor of the service's own holds it in the leader node, which has room for so much only.
        """
        import pyarrow as pa

        from mlops_assets.platforms.aws.redshift_arrow import batch_of, schema_of

        sql = transpile(select, DIALECT)
        with ExitStack() as opening:
            connection = opening.enter_context(self._redshift.session("read"))
            first = connection.execute(f"{sql} LIMIT {_FEW + 1}") if not _may_be_limited(sql) else None
            if first is not None and len(first.rows) <= _FEW:
                schema = schema_of(first)
                return pa.RecordBatchReader.from_batches(schema, iter([batch_of(first.rows, schema)]))
            if self._are_many(connection, sql):
                opening.close()
                return self._unloaded(sql)
            connection.execute(f"DECLARE reading CURSOR FOR {sql}")
            found = connection.execute(f"FETCH FORWARD {_FETCH} FROM reading")
            open_until_read = opening.pop_all()
        schema = schema_of(found)

        def batches() -> Iterator[pa.RecordBatch]:
            rows = found.rows
            with open_until_read:
                while rows:
                    yield batch_of(rows, schema)
                    if len(rows) < _FETCH:
                        return
                    rows = connection.execute(f"FETCH FORWARD {_FETCH} FROM reading").rows

        return pa.RecordBatchReader.from_batches(schema, batches())

    def _are_many(self, connection: Connection, sql: str) -> bool:
        most = self._unload_above
        few = f"SELECT count(*) FROM (SELECT 1 FROM ({sql}) AS rows LIMIT {most + 1}) AS few"
        return int(connection.execute(few).one()) > most

    def _unloaded(self, sql: str) -> pa.RecordBatchReader:
        import pyarrow as pa

        with ExitStack() as opening:
            folder = opening.enter_context(self._staging.folder("reads"))
            ordered = "PARALLEL OFF" if _is_ordered(sql) else "PARALLEL ON"
            self._unload("read", sql, folder, f"{ordered} MAXFILESIZE {_PART_MB} MB")
            first, *others = self._staging.parts(folder)
            opened = opening.enter_context(self._staging.fetched(first))
            kept_until_read = opening.pop_all()

        def batches() -> Iterator[pa.RecordBatch]:
            with kept_until_read:
                yield from opened.iter_batches(_ROWS)
                for part in others:
                    with self._staging.fetched(part) as file:
                        yield from file.iter_batches(_ROWS)

        return pa.RecordBatchReader.from_batches(opened.schema_arrow, batches())

    def _empty(self, sql: str, folder: ArtifactUri) -> ArtifactUri:
        """A part without rows: whether UNLOAD writes one is not said anywhere."""
        from mlops_assets.platforms.aws.redshift_arrow import schema_of

        described = self._redshift.query("export", f"SELECT * FROM ({sql}) AS rows LIMIT 0")
        return self._staging.write_one(folder.join("empty.parquet"), schema_of(described))

    def _unload(self, label: str, sql: str, folder: ArtifactUri, options: str) -> int:
        """Unload a SELECT; a repetition writes over what the lost one left."""
        role = "default" if self._iam_role == "default" else literal(self._iam_role)
        statement = (
            f"UNLOAD ({literal(_without_limit(sql))}) TO {literal(f'{folder}/')} IAM_ROLE {role} "
            f"FORMAT AS PARQUET MANIFEST CLEANPATH {options}"
        )

        def work(connection: Connection) -> int:
            connection.execute(statement)
            return int(connection.execute("SELECT pg_last_unload_count()").one())

        return self._redshift.run(label, work)


def _plain(value: Any) -> Any:
    """Sums of whole numbers are decimals without digits behind the point: whole numbers again."""
    if isinstance(value, Decimal) and value.is_finite() and value.as_tuple().exponent == 0:
        return int(value)
    return value


def _is_ordered(sql: str) -> bool:
    import sqlglot

    return sqlglot.parse_one(sql, read=DIALECT).args.get("order") is not None


def _may_be_limited(sql: str) -> bool:
    """Whether the words are anywhere in the statement; without them it takes a LIMIT at its end."""
    return "LIMIT" in sql or "OFFSET" in sql


def _without_limit(sql: str) -> str:
    """UNLOAD takes no LIMIT of the statement's own; around it, the order is said again by position."""
    import sqlglot
    from sqlglot import exp

    if not _may_be_limited(sql):
        return sql
    tree = sqlglot.parse_one(sql, read=DIALECT)
    assert isinstance(tree, exp.Query)
    if tree.args.get("limit") is None and tree.args.get("offset") is None:
        return sql
    names = [item.alias_or_name for item in tree.selects]
    outer = exp.select("*").from_(tree.subquery("limited"))
    order = tree.args.get("order")
    for item in order.expressions if order is not None else ():
        if not isinstance(item.this, exp.Column) or item.this.name not in names:
            raise DataError(
                "An ordered SELECT with LIMIT is to be ordered by its own columns.",
                mend="Select what it is ordered by.",
            )
        again = item.copy()
        again.set("this", exp.column(item.this.name, quoted=True))
        outer = outer.order_by(again)
    return outer.sql(DIALECT, identify=True)
