"""The Redshift Data API of moto's server, executing for real: moto by itself answers canned rows."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import redshift_connector
from moto.redshift.models import RedshiftBackend
from moto.redshiftdata.responses import RedshiftDataAPIServiceResponse

from mlops_assets_tests.standins.redshift.server import RedshiftStandIn

_TYPES = {
    16: "bool", 20: "int8", 21: "int2", 23: "int4", 700: "float4", 701: "float8", 1082: "date",
    1114: "timestamp", 1184: "timestamptz", 1700: "numeric",
}  # fmt: skip
_PAGE = 1_000


class DataApi:
    """Sessions and statements over one stand-in; a session is a connection of the driver's."""

    def __init__(self, standin: RedshiftStandIn) -> None:
        self._standin = standin
        self._sessions: dict[str, tuple[Any, threading.Lock]] = {}
        self._statements: dict[str, dict[str, Any]] = {}

    def execute(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """ExecuteStatement, which waits for the end here."""
        session = arguments.get("SessionId") or str(uuid.uuid4())
        if arguments.get("SessionId") and session not in self._sessions:
            return {"__error__": f"Session {session} does not exist"}
        if session not in self._sessions:
            connection = self._standin.connect(database=arguments["Database"])
            connection.autocommit = True
            self._sessions[session] = (connection, threading.Lock())
        statement = str(uuid.uuid4())
        self._statements[statement] = self._run(session, arguments) | {"Id": statement, "SessionId": session}
        return {"Id": statement, "SessionId": session, "Database": arguments.get("Database", "")}

    def _run(self, session: str, arguments: dict[str, Any]) -> dict[str, Any]:
        connection, guard = self._sessions[session]
        parameters = {item["name"]: item["value"] for item in arguments.get("Parameters") or []}
        with guard:
            cursor = connection.cursor()
            cursor.paramstyle = "named"
            try:
                cursor.execute(arguments["Sql"], parameters or None)
            except redshift_connector.Error as error:
                fields = error.args[0] if error.args and isinstance(error.args[0], dict) else {}
                if not fields:
                    del self._sessions[session]
                    return {"Status": "FAILED", "Error": "ERROR: the session is gone", "HasResultSet": False}
                told = f"ERROR: {fields['M']} [SQLSTATE: {fields['C']}]"
                return {"Status": "FAILED", "Error": told, "HasResultSet": False}
            if not cursor.description:
                return {"Status": "FINISHED", "HasResultSet": False}
            columns = [_column(item) for item in cursor.ps["row_desc"]]
            rows = [[_cell(value) for value in row] for row in cursor.fetchall()]
            return {"Status": "FINISHED", "HasResultSet": True, "_columns": columns, "_rows": rows}

    def describe(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """DescribeStatement."""
        found = self._statements.get(arguments["Id"])
        if found is None:
            return {"__error__": f"Query {arguments['Id']} does not exist"}
        return {key: value for key, value in found.items() if not key.startswith("_")}

    def result(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """GetStatementResult, in pages."""
        found = self._statements[arguments["Id"]]
        start = int(arguments.get("NextToken") or 0)
        rows = found["_rows"]
        page: dict[str, Any] = {
            "ColumnMetadata": found["_columns"],
            "Records": rows[start : start + _PAGE],
            "TotalNumRows": len(rows),
        }
        return page | ({"NextToken": str(start + _PAGE)} if start + _PAGE < len(rows) else {})

    def close(self) -> None:
        """End every session."""
        for connection, _ in self._sessions.values():
            connection.close()


def _column(item: Any) -> dict[str, Any]:
    label = item["label"]
    name = label.decode() if isinstance(label, bytes) else str(label)
    column: dict[str, Any] = {
        "name": name,
        "label": name,
        "typeName": _TYPES.get(item["type_oid"], "varchar"),
    }
    modifier = int(item["type_modifier"]) - 4
    if column["typeName"] == "numeric":
        column |= {"precision": modifier >> 16, "scale": modifier & 0xFFFF} if modifier >= 0 else {}
    return column


def _cell(value: Any) -> dict[str, Any]:
    if value is None:
        return {"isNull": True}
    kinds = {bool: "booleanValue", int: "longValue", float: "doubleValue"}
    kind = kinds.get(type(value), "stringValue")
    return {kind: value if kind != "stringValue" else str(value)}


@contextmanager
def serving(standin: RedshiftStandIn) -> Iterator[DataApi]:
    """Have moto's server, in this process, hand the Data API's calls to the stand-in; and let in whom moto
    lends credentials for a cluster."""
    api = DataApi(standin)

    def answer(work: Any) -> Any:
        def operation(response: Any) -> tuple[int, dict[str, str], str]:
            found = work(json.loads(response.body))
            if "__error__" in found:
                kind = {"__type": "ResourceNotFoundException", "message": found["__error__"]}
                return 400, {"x-amzn-ErrorType": "ResourceNotFoundException"}, json.dumps(kind)
            return 200, {}, json.dumps(found)

        return operation

    lend = RedshiftBackend.get_cluster_credentials

    def lending(self: Any, *arguments: Any, **named: Any) -> Any:
        lent = lend(self, *arguments, **named)
        standin.admit(lent["DbUser"], lent["DbPassword"])
        return lent

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RedshiftDataAPIServiceResponse, "execute_statement", answer(api.execute))
        patch.setattr(RedshiftDataAPIServiceResponse, "describe_statement", answer(api.describe))
        patch.setattr(RedshiftDataAPIServiceResponse, "get_statement_result", answer(api.result))
        patch.setattr(RedshiftBackend, "get_cluster_credentials", lending)
        try:
            yield api
        finally:
            api.close()
