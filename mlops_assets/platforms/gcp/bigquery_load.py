"""Loading one arriving object into BigQuery: judged on the way, its parts loaded, one transaction.

The parts are loaded into staging tables, which costs nothing; a script moves their rows in place of those of
earlier versions. Its transaction is aborted where another changes the same tables meanwhile, and run again.
"""

# ruff: noqa: S608 - identifiers are quoted, values are parameters or quoted literals

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack

from mlops_assets.platforms.arriving.judging import LEDGER, OURS, QUARANTINE, other_type
from mlops_assets.platforms.arriving.staged import Judged, Limits
from mlops_assets.platforms.gcp.bigquery import BigQuery
from mlops_assets.platforms.gcp.bigquery_layout import types_of
from mlops_assets.platforms.gcp.bigquery_relations import Relations
from mlops_assets.platforms.gcp.bigquery_sql import STORED, literal, logical_schema, quote, quote_relation
from mlops_assets.platforms.parquet_parts import Parts
from mlops_assets.platforms.ports import LoadRequest, LoadResult

LIMITS = Limits(schema=logical_schema, beyond=lambda _: {})
"""BigQuery holds whatever DuckDB reads."""

_WIDENINGS = {("INT64", "FLOAT64"), ("DATE", "DATETIME")}


class ArrivalLoad:
    """One judged object on its way into the rows, the quarantine and the ledger."""

    def __init__(
        self, bigquery: BigQuery, relations: Relations, request: LoadRequest, judged: Judged
    ) -> None:
        self._bigquery, self._relations = bigquery, relations
        self._request, self._judged = request, judged
        self._label = f"load {request.relation}"

    def run(self) -> LoadResult:
        """Replace what earlier versions of the object left.

        Raises:
            DataError: where a record were lost; nothing is changed then.
        """
        self._prepare()
        request, judged = self._request, self._judged
        rows = ["_object", "_row", *request.columns, "_loaded_at"]
        with ExitStack() as staged:
            moves = [self._staged(staged, request.relation, rows, judged.good)]
            if judged.rejected is not None:
                moves.append(self._staged(staged, request.quarantine, [*QUARANTINE], judged.rejected))
            values = {
                "key": request.key,
                "version": request.version,
                "content": request.content,
                "rows_in": judged.rows_in,
                "at": judged.at,
            }
            ((loaded, quarantined),) = self._bigquery.run(self._label, self._script(moves), values)
        return LoadResult(judged.rows_in, loaded, quarantined, self._reasons() if quarantined else {})

    def _script(self, moves: list[str]) -> str:
        request = self._request
        relation, quarantine, ledger = (
            quote_relation(name) for name in (request.relation, request.quarantine, request.ledger)
        )
        loaded, quarantined = (
            f"(SELECT COUNT(*) FROM {name} WHERE _object = @key)" for name in (relation, quarantine)
        )
        lost = literal(f"Records of {request.key} were lost or doubled: nothing was changed.")
        deletes = [f"DELETE FROM {name} WHERE _object = @key" for name in (relation, quarantine, ledger)]
        entry = ", ".join(quote(name) for name in LEDGER)
        statements = [
            "BEGIN TRANSACTION",
            *deletes,
            *moves,
            f"ASSERT {loaded} + {quarantined} = @rows_in AS {lost}",
            f"INSERT INTO {ledger} ({entry}) "
            f"VALUES (@key, @version, @content, @rows_in, {loaded}, {quarantined}, @at)",
            "COMMIT TRANSACTION",
            f"SELECT loaded, quarantined FROM {ledger} WHERE _object = @key",
        ]
        return ";\n".join(statements)

    def _staged(self, opened: ExitStack, relation: str, columns: list[str], parts: Parts) -> str:
        """Load parts into a table that is dropped when `opened` closes; the statement that moves them."""
        types = types_of(self._relations.known(relation))
        folded = {name.lower(): kind for name, kind in types.items()}
        staging = self._relations.beside(relation)
        table = self._relations.create(
            staging, {name: folded[name.lower()] for name in columns}, passing=True
        )
        opened.callback(self._relations.drop, staging)
        self._bigquery.load(self._label, parts.source, table)
        names = ", ".join(quote(name) for name in columns)
        return (
            f"INSERT INTO {quote_relation(relation)} ({names}) SELECT {names} FROM {quote_relation(staging)}"
        )

    def _prepare(self) -> None:
        """Create the three relations, or bring the rows' relation up to the declared columns."""
        request, declared = self._request, _stored(self._request.columns)
        for relation, columns in (
            (request.relation, {**declared, **_stored(OURS)}),
            (request.quarantine, _stored(QUARANTINE)),
            (request.ledger, _stored(LEDGER)),
        ):
            self._relations.create(relation, columns, cluster=["_object"])
        present = {
            name.lower(): kind for name, kind in types_of(self._relations.known(request.relation)).items()
        }
        for column, kind in declared.items():
            known = present.get(column.lower(), kind)
            # What was widened once may be declared narrower again by an older file: it fits.
            if known != kind and (known, kind) not in _WIDENINGS:
                raise other_type(request.relation, column, known, kind)
        if any(present.get(column.lower()) != kind for column, kind in declared.items()):
            self._relations.widen(request.relation, declared, self._label)

    def _reasons(self) -> dict[str, int]:
        sql = (
            f"SELECT reason, COUNT(*) FROM {quote_relation(self._request.quarantine)} WHERE _object = @key "
            "GROUP BY 1 ORDER BY 1"
        )
        found = self._bigquery.run(self._label, sql, {"key": self._request.key})
        return {str(reason): int(rows) for reason, rows in found}


def _stored(columns: Mapping[str, str]) -> dict[str, str]:
    return {name: STORED[logical] for name, logical in columns.items()}
