"""table_io_manager: frames as tables of the warehouse, replaced whole or partition by partition."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from mlops_assets.artifacts import TableRef
from mlops_assets.errors import ArtifactError, DataError, DeclarationError
from mlops_assets.io_managers import context as read
from mlops_assets.io_managers.frames import batches, kind_of, load
from mlops_assets.platforms.ports import Platform, TableBuild, Warehouse
from mlops_assets.platforms.sql import literal, quote, quote_relation

if TYPE_CHECKING:
    import pyarrow as pa

PARTITION_COLUMN = "partition_column"
_OWN_COLUMN = "_partition"
_SCHEMA = "assets"


class TableIOManager(dg.IOManager):
    """Frames as tables: asset key `a/b` is the relation `a.b`, and `b` alone is `assets.b`.

    Rows of a partitioned asset carry their partition key in the column that the asset's metadata names as
    `partition_column`: the frame has it, and its values as text are the keys of the run. Without that
    metadata the column is `_partition`, added when storing and left out when loading.
    """

    def __init__(self, platform: Platform) -> None:
        self._warehouse = platform.warehouse

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Replace the table, or the rows of the run's partitions; what was there stays until the end."""
        relation, name = _relation(context), read.name(context)
        partitions = read.partitions(context)
        with batches(obj, name) as reader:
            if partitions is None:
                ref = self._warehouse.write(relation, reader)
                counted = {"dagster/row_count": ref.rows}
            else:
                declared = (context.definition_metadata or {}).get(PARTITION_COLUMN)
                column = declared if declared is not None else _OWN_COLUMN
                rows = _Rows(reader, str(column), partitions, own=declared is None, where=name)
                ref = _replace(self._warehouse, relation, rows)
                counted = {"dagster/partition_row_count": rows.count}
        columns = [dg.TableColumn(item.name, item.type) for item in ref.columns]
        context.add_output_metadata(
            {**counted, "dagster/table_name": relation, "dagster/column_schema": dg.TableSchema(columns)}
        )

    def load_input(self, context: dg.InputContext) -> Any:
        """The table, or the rows of the partitions that are asked for, as the annotation asks."""
        relation, name = _relation(context), read.name(context)
        kind = kind_of(read.annotation(context), f"input {context.name} of {name}")
        upstream = context.upstream_output
        declared = (upstream.definition_metadata or {}).get(PARTITION_COLUMN) if upstream else None
        partitions, wanted = read.partitions(context), read.columns(context)
        hidden = _OWN_COLUMN if partitions is not None and declared is None else None
        source = _Relation(self._warehouse, relation, str(declared or _OWN_COLUMN), partitions, hidden)
        try:
            return load(kind, source, wanted)
        except DataError:
            # Only now is the catalogue asked: where all is well, that would take as long as a small table.
            source.check(name, wanted or ())
            raise


def _relation(context: dg.InputContext | dg.OutputContext) -> str:
    parts = read.path(context)
    schema, table = "_".join(parts[:-1]) or _SCHEMA, parts[-1]
    if "." in schema or "." in table:
        raise DeclarationError(
            "A table's name has a dot.", where="/".join(parts), mend="Name the asset without a dot."
        )
    return f"{schema}.{table}"


class _Relation:
    """Rows of a relation, of some partitions where they are given; `hidden` is a column that is ours."""

    def __init__(
        self,
        warehouse: Warehouse,
        relation: str,
        partition_column: str,
        partitions: Sequence[str] | None,
        hidden: str | None,
    ) -> None:
        self._warehouse, self._relation, self._hidden = warehouse, relation, hidden
        self._where = ""
        if partitions is not None:
            keys = ", ".join(literal(key) for key in partitions) or "NULL"
            self._where = f" WHERE CAST({quote(partition_column)} AS VARCHAR) IN ({keys})"

    def schema(self) -> pa.Schema:
        return self._select(None, " WHERE 1 = 0").read_all().schema

    def read(self, columns: Sequence[str] | None = None) -> pa.RecordBatchReader:
        return self._select(columns, self._where)

    def check(self, name: str, wanted: Sequence[str]) -> None:
        """Say what is wrong with the asset `name` as an input.

        Raises:
            ArtifactError: where there is no such relation.
            DataError: where it lacks one of the columns `wanted`.
        """
        there = self._columns()
        if not there:
            raise ArtifactError("It has not been materialised yet.", where=name, mend="Materialise it first.")
        unknown = [item for item in wanted if item not in there]
        if unknown:
            raise DataError(
                f"It has no column {unknown[0]!r}; it has {', '.join(there)}.",
                where=name,
                mend="Correct the input's metadata `columns`.",
            )

    def _columns(self) -> list[str]:
        found = self._warehouse.columns(self._relation) or ()
        return [column.name for column in found if column.name != self._hidden]

    def _select(self, columns: Sequence[str] | None, where: str) -> pa.RecordBatchReader:
        if columns is None and self._hidden is not None:
            columns = self._columns()
        listed = ", ".join(quote(column) for column in columns) if columns else "*"
        return self._warehouse.read(f"SELECT {listed} FROM {quote_relation(self._relation)}{where}")  # noqa: S608


class _Rows:
    """Batches of a partitioned frame on their way in: each row belongs to one of `partitions`."""

    def __init__(
        self, reader: pa.RecordBatchReader, column: str, partitions: Sequence[str], *, own: bool, where: str
    ) -> None:
        self.column, self.partitions, self.count = column, partitions, 0
        self._reader, self._own, self._where = reader, own, where
        self._check(reader.schema.names)
        if not own:
            self._check_key()

    def _check_key(self) -> None:
        import pyarrow.types as kinds

        if kinds.is_nested(kind := self._reader.schema.field(self.column).type):
            raise DataError(
                f"The column {self.column!r} is of type {kind}, which is no partition key.",
                where=self._where,
                mend="Name a column that holds the key as text or date.",
            )

    def _check(self, names: Sequence[str]) -> None:
        if self._own and self.column in names:
            raise DataError(
                f"The frame has a column {self.column!r}, which is ours.",
                where=self._where,
                mend=f'Rename it, or declare metadata={{"{PARTITION_COLUMN}": "{self.column}"}}.',
            )
        if self._own and len(self.partitions) != 1:
            raise DataError(
                f"One frame cannot be told apart into {len(self.partitions)} partitions.",
                where=self._where,
                mend=f'Declare metadata={{"{PARTITION_COLUMN}": <column with the partition key>}}, or run '
                "one partition at a time.",
            )
        if not self._own and self.column not in names:
            raise DataError(
                f"The frame has no column {self.column!r}, which its metadata names as {PARTITION_COLUMN}.",
                where=self._where,
                mend="Add the column, or correct the metadata.",
            )

    def reader(self) -> pa.RecordBatchReader:
        """The batches, checked as they pass, with our own column where there is no other."""
        import pyarrow as pa

        schema = self._reader.schema
        if self._own:
            schema = schema.append(pa.field(self.column, pa.string()))
        return pa.RecordBatchReader.from_batches(schema, self._batches(schema))

    def _batches(self, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        for batch in self._reader:
            self.count += batch.num_rows
            if self._own:
                key = pa.array([self.partitions[0]] * batch.num_rows, pa.string())
                yield pa.RecordBatch.from_arrays([*batch.columns, key], schema=schema)
            else:
                self._refuse_strangers(batch)
                yield batch

    def _refuse_strangers(self, batch: pa.RecordBatch) -> None:
        import pyarrow as pa

        values = batch.column(self.column).unique().cast(pa.string()).to_pylist()
        strangers = [value for value in values if value not in self.partitions]
        if strangers:
            raise DataError(
                f"The column {self.column!r} holds {strangers[0]!r}, which is no partition of this run "
                f"({', '.join(self.partitions[:3])}{', …' if len(self.partitions) > 3 else ''}).",
                where=self._where,
                mend="Return only rows of the run's partitions, their keys as text or dates in that column.",
            )


def _replace(warehouse: Warehouse, relation: str, rows: _Rows) -> TableRef:
    """Load the rows beside the table, then replace those of the partitions they hold in one transaction.

    A partition that has no rows any more is emptied in a transaction of its own.
    """
    staging = f"{relation}__partitions_{uuid.uuid4().hex[:8]}"
    column = quote(rows.column)
    try:
        warehouse.write(staging, rows.reader())
        select = f"SELECT * FROM {quote_relation(staging)}"  # noqa: S608
        ref = warehouse.build(TableBuild(relation, select, "incremental", (rows.column,)))
        filled = warehouse.query(
            f"SELECT DISTINCT CAST({column} AS VARCHAR) AS key FROM {quote_relation(staging)}"  # noqa: S608
        )
    finally:
        warehouse.drop(staging)
    empty = [key for key in rows.partitions if key not in {row["key"] for row in filled}]
    if not empty:
        return ref
    keys = ", ".join(literal(key) for key in empty)
    gone = f"CAST({column} AS VARCHAR) IN ({keys})"
    if not warehouse.query(f"SELECT 1 FROM {quote_relation(relation)} WHERE {gone} LIMIT 1"):  # noqa: S608
        return ref
    kept = f"SELECT * FROM {quote_relation(relation)} WHERE NOT COALESCE({gone}, FALSE)"  # noqa: S608
    return warehouse.build(TableBuild(relation, kept))


@dg.io_manager(required_resource_keys={"platform"})
def table_io_manager(context: Any) -> TableIOManager:
    """Frames as tables on the platform bound to the resource `platform`."""
    return TableIOManager(context.resources.platform)
