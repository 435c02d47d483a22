"""The transport over the Redshift Data API: statements by HTTPS, for whom there is no route to the endpoint.

A session of the API's own keeps the transaction between calls. It takes parameters as text alone, so each is
cast to its type in the statement.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from mlops_assets.platforms.aws.redshift_connection import ConnectionLostError, Rows, StatementError
from mlops_assets.platforms.aws.redshift_credentials import Clients
from mlops_assets.platforms.aws.redshift_settings import RedshiftSettings
from mlops_assets.platforms.costs import query

_KEEP = 3_600
_WAIT = 20
_ENDED = ("FINISHED", "FAILED", "ABORTED")
_MARK = re.compile(r"(?<!:):([A-Za-z]\w*)")
_STATE = re.compile(r"^ERROR: |\s*\[[^\]]*\]$")
_CASTS: tuple[tuple[type, str], ...] = (
    (bool, "boolean"),
    (int, "bigint"),
    (float, "double precision"),
    (Decimal, "numeric(38,10)"),
    (datetime, "timestamp"),
    (date, "date"),
    (str, "varchar(65535)"),
)
_SPELLED = {
    "bool": "boolean",
    "int2": "smallint",
    "int4": "integer",
    "int8": "bigint",
    "float4": "real",
    "float8": "double precision",
    "timestamp": "timestamp without time zone",
    "timestamptz": "timestamp with time zone",
    "varchar": "character varying",
}


class DataApiTransport:
    """Opens sessions of the Data API at the cluster or workgroup that the settings name."""

    def __init__(self, settings: RedshiftSettings, clients: Clients) -> None:
        self._settings, self._clients = settings, clients

    @property
    def where(self) -> str:
        """Cluster or workgroup, and database."""
        return f"{self._settings.cluster or self._settings.workgroup}/{self._settings.database}"

    def connect(self) -> DataApiConnection:
        """A session; it is made by its first statement."""
        settings = self._settings
        target: dict[str, Any] = {"Database": settings.database}
        if settings.workgroup is not None:
            target["WorkgroupName"] = settings.workgroup
        else:
            target["ClusterIdentifier"] = settings.cluster
        if settings.secret_arn is not None:
            target["SecretArn"] = settings.secret_arn
        elif settings.workgroup is None and settings.user is not None:
            target["DbUser"] = settings.user
        return DataApiConnection(self._clients("redshift-data"), target, settings.statement_timeout)


class DataApiConnection:
    """One session. The transaction is begun before its first statement, as the driver does."""

    def __init__(self, client: Any, target: Mapping[str, Any], timeout: int) -> None:
        self._client, self._target, self._timeout = client, dict(target), timeout
        self._session: str | None = None
        self._begun = False

    @query()
    def execute(self, sql: str, parameters: Mapping[str, Any] | None = None) -> Rows:
        """Run one statement and fetch every page of its result."""
        if not self._begun:
            self._run("BEGIN", {})
            self._begun = True
        return self._run(sql, parameters or {})

    def commit(self) -> None:
        """Commit."""
        if self._begun:
            self._run("COMMIT", {})
            self._begun = False

    def rollback(self) -> None:
        """Roll back."""
        if self._begun:
            self._begun = False
            self._run("ROLLBACK", {})

    def close(self) -> None:
        """Undo what is open; the service ends the session by itself."""
        with suppress(ConnectionLostError, StatementError):
            self.rollback()

    def _run(self, sql: str, parameters: Mapping[str, Any]) -> Rows:
        text, values = _with_casts(sql, parameters)
        # A session knows where it is; only its first call says so.
        where: dict[str, Any] = {"SessionId": self._session} if self._session else self._target
        arguments = {"Parameters": values} if values else {}
        with _translated():
            told = self._client.execute_statement(
                Sql=text, SessionKeepAliveSeconds=_KEEP, WaitTimeSeconds=_WAIT, **where, **arguments
            )
            self._session = told.get("SessionId", self._session)
            end = time.monotonic() + self._timeout
            found = self._client.describe_statement(Id=told["Id"])
            pause = 0.005
            while found["Status"] not in _ENDED:
                if time.monotonic() > end:
                    self._client.cancel_statement(Id=told["Id"])
                    raise StatementError("The statement took longer than it may.")
                time.sleep(pause)
                pause = min(2 * pause, 2.0)
                found = self._client.describe_statement(Id=told["Id"])
            if found["Status"] != "FINISHED":
                raise _refusal(str(found.get("Error", "the statement was aborted")))
            return self._result(told["Id"]) if found["HasResultSet"] else Rows()

    def _result(self, statement: str) -> Rows:
        described: Sequence[Mapping[str, Any]] = ()
        rows: list[list[Any]] = []
        pages = self._client.get_paginator("get_statement_result").paginate(Id=statement)
        for page in pages:
            described = described or page["ColumnMetadata"]
            types = [_spelled(item) for item in described]
            rows += [
                [_value(cell, kind) for cell, kind in zip(record, types, strict=True)]
                for record in page["Records"]
            ]
        names = [str(item["name"]) for item in described]
        return Rows(names, [_spelled(item) for item in described], rows)


def _with_casts(sql: str, parameters: Mapping[str, Any]) -> tuple[str, list[dict[str, str]]]:
    """The statement with each parameter cast, and the parameters as text; None becomes NULL."""
    used: dict[str, str] = {}

    def written(match: re.Match[str]) -> str:
        name = match[1]
        if name not in parameters:
            return match[0]
        value = parameters[name]
        if value is None:
            return "NULL"
        used[name] = str(value).lower() if isinstance(value, bool) else str(value)
        kind = next(kind for type_, kind in _CASTS if isinstance(value, type_))
        return f"CAST(:{name} AS {kind})"

    text = _MARK.sub(written, sql) if parameters else sql
    return text, [{"name": name, "value": value} for name, value in used.items()]


def _spelled(column: Mapping[str, Any]) -> str:
    kind = str(column.get("typeName", "varchar")).lower()
    if kind in ("numeric", "decimal"):
        return f"numeric({column.get('precision', 38)},{column.get('scale', 0)})"
    return _SPELLED.get(kind, kind)


def _value(cell: Mapping[str, Any], kind: str) -> Any:
    """One value of a result; what JSON has no type for comes as text."""
    if cell.get("isNull"):
        return None
    (value,) = cell.values()
    if kind == "date":
        return date.fromisoformat(value)
    if kind.startswith("timestamp"):
        return datetime.fromisoformat(value)
    return Decimal(str(value)) if kind.startswith("numeric") else value


def _refusal(reason: str) -> StatementError:
    code = re.search(r"\[SQLSTATE: (\w+)\]", reason)
    return StatementError(_STATE.sub("", reason), code[1] if code else "")


@contextmanager
def _translated() -> Iterator[None]:
    """What AWS says as ours: a session that is gone is a lost connection."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        reason = error.response["Error"].get("Message") or error.response["Error"].get("Code", "")
        raise ConnectionLostError(str(reason)[:300]) from None
    except BotoCoreError as error:
        raise ConnectionLostError(str(error)[:300]) from None
