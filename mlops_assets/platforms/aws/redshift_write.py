"""Writing Arrow batches as a table of Redshift: COPY of staged parts, then in place of the old rows."""

# ruff: noqa: S608 - identifiers are quoted, values are parameters or quoted literals

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from mlops_assets.artifacts import ArtifactUri, TableRef
from mlops_assets.errors import DataError
from mlops_assets.platforms.aws import redshift_relations as relations
from mlops_assets.platforms.aws.redshift_arrow import as_staged, column_type, staged_type
from mlops_assets.platforms.aws.redshift_connection import Connection
from mlops_assets.platforms.aws.redshift_sql import beside, literal, quote, quote_relation
from mlops_assets.platforms.aws.redshift_tables import made, merge, reference

if TYPE_CHECKING:
    import pyarrow as pa

_NUMBER = "__number"


def staged_batches(
    batches: pa.RecordBatchReader, *, numbered: bool
) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """The batches in types that COPY takes, with the rows' numbers where asked.

    Raises:
        DataError: for a type or a value that Redshift does not hold, or a stream that breaks.
    """
    import pyarrow as pa

    fields = [(field.name, staged_type(field.type, field.name)) for field in batches.schema]
    plain = pa.schema(fields)
    schema = pa.schema([*fields, (_NUMBER, pa.int64())]) if numbered else plain

    def staged() -> Iterator[pa.RecordBatch]:
        seen = 0
        try:
            for batch in batches:
                found = as_staged(batch, plain)
                if numbered:
                    number = pa.array(range(seen, seen + batch.num_rows), pa.int64())
                    found = pa.RecordBatch.from_arrays([*found.columns, number], schema=schema)
                    seen += batch.num_rows
                yield found
        except OSError as error:
            raise DataError(f"The rows cannot be read: {error}", mend="Run it again.") from error

    return schema, staged()


class TableWrite:
    """The transaction of one write; `run` may be repeated."""

    def __init__(
        self,
        relation: str,
        schema: pa.Schema,
        unique_key: Sequence[str],
        manifest: ArtifactUri,
        iam_role: str,
    ) -> None:
        """`schema`: of the batches as they came, before they were staged."""
        self._relation, self._key, self._manifest = relation, tuple(unique_key), manifest
        self._types = {field.name: column_type(field.type, field.name) for field in schema}
        self._role = "default" if iam_role == "default" else literal(iam_role)
        self._token = beside(relation, "made")

    def run(self, connection: Connection) -> TableRef:
        """Copy into a staging table and put its rows in place."""
        relations.make_schema(connection, self._relation)
        staging = beside(self._relation)
        copied = {name: "timestamp" if kind == "timestamptz" else kind for name, kind in self._types.items()}
        if self._key:
            copied[_NUMBER] = "bigint"
        relations.create(connection, staging, copied)
        connection.execute(
            f"COPY {quote_relation(staging)} FROM {literal(self._manifest)} IAM_ROLE {self._role} "
            "FORMAT AS PARQUET MANIFEST"
        )
        rows = int(connection.execute("SELECT pg_last_copy_count()").one())
        if copied != self._types:
            staging = self._finished(connection, staging)
        merge(connection, staging, self._relation, self._key, self._token)
        if self._key:
            return reference(connection, self._relation)
        columns = relations.logical_columns(self._types)
        return TableRef(relation=self._relation, version="", columns=columns, rows=rows)

    def done(self, connection: Connection) -> TableRef | None:
        """What this very write made, where it was committed."""
        return made(connection, self._relation, self._token)

    def _finished(self, connection: Connection, staging: str) -> str:
        """The staged rows with their zones, which Parquet leaves out, and the last of equal keys alone."""
        finished = beside(self._relation)
        relations.create(connection, finished, self._types)
        names = ", ".join(quote(name) for name in self._types)
        values = ", ".join(
            f"{quote(name)} AT TIME ZONE 'UTC'" if kind == "timestamptz" else quote(name)
            for name, kind in self._types.items()
        )
        source, last = quote_relation(staging), ""
        if self._key:
            keys = ", ".join(quote(key) for key in self._key)
            rank = f"row_number() OVER (PARTITION BY {keys} ORDER BY {quote(_NUMBER)} DESC)"
            source, last = f"(SELECT *, {rank} AS __rank FROM {source}) AS ranked", " WHERE __rank = 1"
        connection.execute(
            f"INSERT INTO {quote_relation(finished)} ({names}) SELECT {values} FROM {source}{last}"
        )
        relations.drop(connection, staging)
        return finished
