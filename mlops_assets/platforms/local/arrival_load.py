"""Loading one arriving object: rows, quarantine and ledger change in one transaction, and no record is lost.

`_row` counts the records of the object from 1; a header and blank lines are none. `_line` is the physical
line on which the record begins, the header's being 1; in a Parquet file, without lines, the record's number.
A clean file is read once. Where the first pass leaves records out, a second takes them to quarantine, with
their text: all of a well-formed record, at most 64 KiB of what is none.
"""

# ruff: noqa: S608 - identifiers are quoted, values are parameters or quoted literals

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_assets.platforms.arriving.judging import (
    LEDGER,
    OURS,
    QUARANTINE,
    check_conserved,
    check_names,
    judged,
    other_type,
)
from mlops_assets.platforms.arriving.source import open_sources
from mlops_assets.platforms.arriving.typed_values import stored
from mlops_assets.platforms.local.relations import existing_types
from mlops_assets.platforms.ports import LoadRequest, LoadResult
from mlops_assets.platforms.sql import quote, quote_relation, split_relation

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_WIDENINGS = {("BIGINT", "DOUBLE"), ("DATE", "TIMESTAMP")}


class ArrivalLoad:
    """One load of one object; `run` belongs inside a transaction and may be repeated."""

    def __init__(self, request: LoadRequest, path: Path) -> None:
        """`path`: the object's bytes.

        Raises:
            DataError: for declared columns that no relation can hold together.
        """
        check_names(request)
        self._request = request
        self._path = path

    def run(self, connection: DuckDBPyConnection) -> LoadResult:
        """Replace what earlier versions of the object left.

        Raises:
            DataError: where the object cannot be read, or a record were lost.
        """
        request = self._request
        self._prepare(connection)
        now = datetime.now(UTC).replace(tzinfo=None)
        for relation in (request.relation, request.quarantine, request.ledger):
            connection.execute(f"DELETE FROM {quote_relation(relation)} WHERE _object = ?", [request.key])
        rows_in = self._insert_rows(connection, now)
        loaded = self._count(connection, request.relation)
        if loaded < rows_in:
            self._insert_rejected(connection, now)
        quarantined = self._count(connection, request.quarantine)
        check_conserved(request.key, rows_in, loaded, quarantined)
        entry = [request.key, request.version, request.content, rows_in, loaded, quarantined, now]
        connection.execute(
            f"INSERT INTO {quote_relation(request.ledger)} VALUES (?, ?, ?, ?, ?, ?, ?)", entry
        )
        return LoadResult(rows_in, loaded, quarantined, self._reasons(connection))

    def _prepare(self, connection: DuckDBPyConnection) -> None:
        """Create the three relations, or bring the rows' relation up to the declared columns."""
        request = self._request
        declared = stored(request.columns)
        for relation, columns in (
            (request.relation, {**declared, **stored(OURS)}),
            (request.quarantine, stored(QUARANTINE)),
            (request.ledger, stored(LEDGER)),
        ):
            schema = quote(split_relation(relation)[0])
            definitions = ", ".join(f"{quote(name)} {kind}" for name, kind in columns.items())
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
            connection.execute(f"CREATE TABLE IF NOT EXISTS {quote_relation(relation)} ({definitions})")
        found = {name.lower(): kind for name, kind in existing_types(connection, request.relation).items()}
        target = quote_relation(request.relation)
        for column, kind in declared.items():
            present = found.get(column.lower())
            if present is None:
                connection.execute(f"ALTER TABLE {target} ADD COLUMN {quote(column)} {kind}")
            elif (present, kind) in _WIDENINGS:
                connection.execute(f"ALTER TABLE {target} ALTER COLUMN {quote(column)} SET DATA TYPE {kind}")
            elif present != kind:
                raise other_type(request.relation, column, present, kind)

    def _insert_rows(self, connection: DuckDBPyConnection, now: datetime) -> int:
        columns = ", ".join(quote(column) for column in self._request.columns)
        records = 0
        for source in open_sources(connection, self._request, self._path):
            connection.execute(
                f"INSERT INTO {quote_relation(self._request.relation)} BY NAME "
                f"SELECT {columns}, ? AS _object, __row AS _row, ? AS _loaded_at "
                f"FROM ({judged(self._request, source)}) WHERE __reason IS NULL",
                [self._request.key, now],
            )
            records = source.records()
        return records

    def _insert_rejected(self, connection: DuckDBPyConnection, now: datetime) -> None:
        for source in open_sources(connection, self._request, self._path):
            connection.execute(
                f"INSERT INTO {quote_relation(self._request.quarantine)} BY NAME "
                f"SELECT ? AS _object, __line AS _line, __reason AS reason, __raw AS raw, ? AS _loaded_at "
                f"FROM ({judged(self._request, source)}) WHERE __reason IS NOT NULL",
                [self._request.key, now],
            )

    def _count(self, connection: DuckDBPyConnection, relation: str) -> int:
        sql = f"SELECT count(*) FROM {quote_relation(relation)} WHERE _object = ?"
        return int(connection.execute(sql, [self._request.key]).fetchall()[0][0])

    def _reasons(self, connection: DuckDBPyConnection) -> dict[str, int]:
        quarantine = quote_relation(self._request.quarantine)
        sql = f"SELECT reason, count(*) FROM {quarantine} WHERE _object = ? GROUP BY 1 ORDER BY 1"
        return {
            str(reason): int(rows) for reason, rows in connection.execute(sql, [self._request.key]).fetchall()
        }
