"""Loading one arriving object into Redshift: judged on the way, copied from S3, changed in one transaction.

COPY takes the parts from a manifest; no row passes through a connection.
"""

# ruff: noqa: S608 - identifiers are quoted, values are parameters or quoted literals

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mlops_assets.platforms.arriving.judging import (
    LEDGER,
    OURS,
    QUARANTINE,
    check_conserved,
    other_type,
)
from mlops_assets.platforms.arriving.staged import Judged, Limits
from mlops_assets.platforms.aws import redshift_relations as relations
from mlops_assets.platforms.aws.redshift_arrow import logical_schema
from mlops_assets.platforms.aws.redshift_connection import Connection
from mlops_assets.platforms.aws.redshift_sql import LONGEST, STORED, literal, quote_relation
from mlops_assets.platforms.aws.redshift_sql import quote as quote_here
from mlops_assets.platforms.parquet_parts import Parts
from mlops_assets.platforms.ports import LoadRequest, LoadResult
from mlops_assets.platforms.sql import quote

_WIDENINGS = {("bigint", "double precision"), ("date", "timestamp without time zone")}
_CATALOGUE = {"timestamp": "timestamp without time zone"}


def _beyond(columns: Mapping[str, str]) -> dict[str, str]:
    """Reason -> condition for what no VARCHAR of Redshift can hold."""
    found = {}
    for column in (column for column, logical in columns.items() if logical == "string"):
        name = quote(column)
        found[f"{column}: longer than {LONGEST:,} bytes"] = f"{name} IS NULL OR strlen({name}) <= {LONGEST}"
        found[f"{column}: a NUL byte"] = f"{name} IS NULL OR NOT contains({name}, chr(0))"
    return found


LIMITS = Limits(
    schema=logical_schema,
    beyond=_beyond,
    # 16,383 characters are 65,532 bytes at most.
    raw="replace(CASE WHEN strlen(__raw) > 65535 THEN left(__raw, 16383) ELSE __raw END, chr(0), '\\x00')",
)
"""What Redshift holds of an arriving object."""


class ArrivalLoad:
    """The transaction that a judged object is loaded in; `run` may be repeated."""

    def __init__(self, request: LoadRequest, judged: Judged, iam_role: str) -> None:
        self._request, self._judged = request, judged
        self._role = "default" if iam_role == "default" else literal(iam_role)

    def run(self, connection: Connection) -> LoadResult:
        """Replace what earlier versions of the object left. Loads of the same ledger wait for each other.

        Raises:
            DataError: where a record were lost.
        """
        request, judged = self._request, self._judged
        self._prepare(connection)
        relations.lock(connection, request.ledger)
        for relation in (request.relation, request.quarantine, request.ledger):
            connection.execute(
                f"DELETE FROM {quote_relation(relation)} WHERE _object = :key", {"key": request.key}
            )
        self._copy(
            connection, request.relation, ["_object", "_row", *request.columns, "_loaded_at"], judged.good
        )
        if judged.rejected is not None:
            self._copy(connection, request.quarantine, QUARANTINE, judged.rejected)
        loaded = self._count(connection, request.relation)
        quarantined = self._count(connection, request.quarantine)
        check_conserved(request.key, judged.rows_in, loaded, quarantined)
        entry = [
            request.key,
            request.version,
            request.content,
            judged.rows_in,
            loaded,
            quarantined,
            judged.at,
        ]
        values = {f"p{at}": value for at, value in enumerate(entry)}
        marks = ", ".join(f":{name}" for name in values)
        connection.execute(f"INSERT INTO {quote_relation(request.ledger)} VALUES ({marks})", values)
        return LoadResult(judged.rows_in, loaded, quarantined, self._reasons(connection))

    def done(self, connection: Connection) -> LoadResult | None:
        """What this very load left, where it was committed."""
        request = self._request
        if relations.kind_of(connection, request.ledger) is None:
            return None
        relations.lock(connection, request.ledger)
        found = connection.execute(
            f"SELECT rows_in, loaded, quarantined FROM {quote_relation(request.ledger)} "
            "WHERE _object = :key AND loaded_at = :at AND version = :version",
            {"key": request.key, "at": self._judged.at, "version": request.version},
        )
        if not found.rows:
            return None
        rows_in, loaded, quarantined = (int(value) for value in found.rows[0])
        return LoadResult(rows_in, loaded, quarantined, self._reasons(connection))

    def _prepare(self, connection: Connection) -> None:
        """Create the three relations, or bring the rows' relation up to the declared columns."""
        request = self._request
        declared = _stored(request.columns)
        for relation, columns in (
            (request.relation, {**declared, **_stored(OURS)}),
            (request.quarantine, _stored(QUARANTINE)),
            (request.ledger, _stored(LEDGER)),
        ):
            relations.make_schema(connection, relation)
            relations.create(connection, relation, columns)
        present = relations.types_of(connection, request.relation)
        folded = {name.lower(): name for name in present}
        wider = dict(present)
        for column, kind in declared.items():
            name, wanted = folded.get(column.lower()), _CATALOGUE.get(kind, kind)
            if name is None:
                connection.execute(
                    f"ALTER TABLE {quote_relation(request.relation)} ADD COLUMN {quote_here(column)} {kind}"
                )
                wider[column] = kind
            elif (present[name], wanted) in _WIDENINGS:
                wider[name] = kind
            elif present[name] != wanted:
                raise other_type(request.relation, column, present[name], kind)
        if any(wider[name] != kind for name, kind in present.items()):
            relations.retype(connection, request.relation, wider)

    def _copy(self, connection: Connection, relation: str, columns: Iterable[str], parts: Parts) -> None:
        names = ", ".join(quote_here(name) for name in columns)
        connection.execute(
            f"COPY {quote_relation(relation)} ({names}) FROM {literal(parts.source)} "
            f"IAM_ROLE {self._role} FORMAT AS PARQUET MANIFEST"
        )

    def _count(self, connection: Connection, relation: str) -> int:
        sql = f"SELECT count(*) FROM {quote_relation(relation)} WHERE _object = :key"
        return int(connection.execute(sql, {"key": self._request.key}).one())

    def _reasons(self, connection: Connection) -> dict[str, int]:
        found = connection.execute(
            f"SELECT reason, count(*) FROM {quote_relation(self._request.quarantine)} WHERE _object = :key "
            "GROUP BY 1 ORDER BY 1",
            {"key": self._request.key},
        )
        return {str(reason): int(rows) for reason, rows in found.rows}


def _stored(columns: Mapping[str, str]) -> dict[str, str]:
    return {name: STORED[logical] for name, logical in columns.items()}
