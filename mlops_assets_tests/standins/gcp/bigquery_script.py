"""Runs GoogleSQL: one statement after the other, each in DuckDB's words, in transactions as it says."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import sqlglot
from sqlglot import exp
from sqlglot.dialects.dialect import Dialect
from sqlglot.errors import SqlglotError

from mlops_assets_tests.standins.gcp import bigquery_layout as layouts
from mlops_assets_tests.standins.gcp import bigquery_nested as nested
from mlops_assets_tests.standins.gcp import bigquery_values as values
from mlops_assets_tests.standins.gcp.bigquery_catalogue import Catalogue, quoted
from mlops_assets_tests.standins.gcp.bigquery_names import Names
from mlops_assets_tests.standins.gcp.web import ApiError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_SCRIPTED = ("DECLARE", "SET", "IF", "LOOP", "WHILE", "FOR", "CALL", "EXECUTE", "BREAK", "RETURN", "RAISE")
_REPLACING = "is not allowed for this operation because it is currently a"


@dataclass
class Result:
    """What a job has to show.

    Attributes:
        fields: of the rows.
        rows: of the last SELECT.
        kind: BigQuery's name of the last statement.
        changed: rows that DML changed.
        tables: base tables that were read, with the columns named (None: all).
    """

    fields: list[dict[str, Any]] = field(default_factory=list)
    rows: list[tuple[Any, ...]] = field(default_factory=list)
    kind: str = "SELECT"
    changed: int | None = None


class Script:
    """One query job's text."""

    def __init__(
        self, catalogue: Catalogue, text: str, parameters: Mapping[str, Any] | Sequence[Any], location: str
    ) -> None:
        self._catalogue, self._parameters = catalogue, parameters
        self._names = Names(catalogue, location)
        self._statements = statements(text)
        self._open = False

    @property
    def is_script(self) -> bool:
        """Whether there is more than one statement."""
        return len(self._statements) > 1

    def read(self) -> int:
        """Bytes that the statement reads, of the columns it names; of a script nothing is known."""
        if self.is_script:
            return 0
        return self._names.read(_reading(self._parsed(self._statements[0])))

    def check(self) -> Result:
        """What a dry run shows: the statement binds."""
        if self.is_script:
            return Result(kind="SCRIPT")
        tree = _reading(self._parsed(self._statements[0]))
        if isinstance(tree, exp.Drop | exp.Alter | exp.Create):
            return Result(kind=type(tree).__name__.upper())
        self._names.bind(tree)
        if isinstance(tree, exp.Query):
            return Result(self._described(self._catalogue.connect(), tree.sql("duckdb")))
        return Result(kind=type(tree).__name__.upper())

    def run(self) -> Result:
        """Run every statement; the last SELECT's rows."""
        connection = self._catalogue.connect()
        shown = Result(kind="SCRIPT")
        try:
            for text in self._statements:
                result = self._run(connection, text)
                if result.fields or not self.is_script:
                    shown = result
            if self._open:
                raise ApiError(400, "invalidQuery", "A transaction was left open; it was rolled back.")
        finally:
            if self._open:
                connection.execute("ROLLBACK")
            connection.close()
        return shown

    def _run(self, connection: DuckDBPyConnection, text: str) -> Result:
        word = text.split(None, 1)[0].upper()
        if word in ("BEGIN", "COMMIT", "ROLLBACK"):
            return self._transaction(connection, word)
        if word == "ASSERT":
            return self._assert(connection, text)
        if word in _SCRIPTED:
            raise ApiError(501, "notImplemented", f"{word} is not served by the stand-in.")
        tree = self._parsed(text)
        if isinstance(tree, exp.Create | exp.Drop | exp.Alter | exp.TruncateTable):
            if self._open:
                raise ApiError(400, "invalidQuery", f"{word} is not supported in a transaction.")
            with self._catalogue.lock:
                result = self._define(connection, tree)
                self._catalogue.rebind()
            return result
        self._names.bind(tree)
        if isinstance(tree, exp.Query):
            return self._select(connection, tree.sql("duckdb"))
        if isinstance(tree, exp.Insert | exp.Delete | exp.Update | exp.Merge):
            return self._change(connection, tree)
        raise ApiError(501, "notImplemented", f"{word} is not served by the stand-in.")

    def _transaction(self, connection: DuckDBPyConnection, word: str) -> Result:
        if (word == "BEGIN") == self._open:
            raise ApiError(
                400, "invalidQuery", f"{word}: there is {'a' if self._open else 'no'} transaction."
            )
        connection.execute({"BEGIN": "BEGIN TRANSACTION"}.get(word, word))
        self._open = word == "BEGIN"
        return Result(kind=f"{word}_TRANSACTION")

    def _assert(self, connection: DuckDBPyConnection, text: str) -> Result:
        match = re.fullmatch(r"ASSERT\s+(.*?)(?:\s+AS\s+(\"(?:[^\"\\]|\\.)*\"))?", text, re.DOTALL)
        assert match is not None
        tree = self._parsed(f"SELECT {match[1]}")
        self._names.bind(tree)
        ((holds,),) = self._select(connection, tree.sql("duckdb")).rows
        if holds is not True:
            raise ApiError(400, "invalidQuery", f"Assertion failed: {match[2] or match[1]}")
        return Result(kind="ASSERT")

    def _select(self, connection: DuckDBPyConnection, sql: str) -> Result:
        found = connection.execute(sql, self._used(sql))
        fields = [values.field(name, kind) for name, kind, *_ in found.description or ()]
        return Result(fields, found.fetchall())

    def _change(self, connection: DuckDBPyConnection, tree: exp.Expr) -> Result:
        sql = tree.sql("duckdb")
        counted = connection.execute(sql, self._used(sql)).fetchone()
        return Result(kind=type(tree).__name__.upper(), changed=int(counted[0]) if counted else 0)

    # --- definitions ----------------------------------------------------------------------------------------

    def _define(self, connection: DuckDBPyConnection, tree: exp.Expr) -> Result:
        if isinstance(tree, exp.Create):
            made = self._create_schema if tree.kind == "SCHEMA" else self._create
            return made(connection, tree)
        if isinstance(tree, exp.TruncateTable):
            self._names.bind(tree)
            connection.execute(f"DELETE FROM {tree.expressions[0].sql('duckdb')}")
            return Result(kind="TRUNCATE_TABLE")
        dataset, table = self._names.place(tree.this)
        if isinstance(tree, exp.Drop):
            if self._catalogue.kind(dataset, table) is not None:
                self._catalogue.delete_table(dataset, table)
            elif not tree.args.get("exists"):
                self._catalogue.said(dataset, table)
            return Result(kind="DROP_TABLE")
        (action,) = tree.args["actions"]
        if not isinstance(action, exp.AlterRename):
            raise ApiError(501, "notImplemented", f"{tree.sql('bigquery')[:80]} is not served.")
        said, name = self._catalogue.said(dataset, table), action.this.name
        if self._catalogue.kind(dataset, name) is not None:
            raise ApiError(409, "duplicate", f"Already Exists: Table {dataset}.{name}")
        connection.execute(f"ALTER TABLE {quoted(dataset, table)} RENAME TO {quoted(name)}")
        del self._catalogue.dataset(dataset).tables[table]
        self._catalogue.add(dataset, name, said)
        return Result(kind="ALTER_TABLE")

    def _create_schema(self, _connection: DuckDBPyConnection, tree: exp.Create) -> Result:
        name = tree.this.db
        if name not in self._catalogue.datasets or not tree.args.get("exists"):
            self._catalogue.create_dataset({"datasetReference": {"datasetId": name}})
        return Result(kind="CREATE_SCHEMA")

    def _create(self, connection: DuckDBPyConnection, tree: exp.Create) -> Result:
        columns = layouts.columns(tree)
        if tree.kind not in ("TABLE", "VIEW") or not (columns or isinstance(tree.expression, exp.Query)):
            raise ApiError(501, "notImplemented", f"{tree.sql('bigquery')[:80]} is not served.")
        dataset, table = self._names.place(tree.this)
        said = layouts.said(tree)
        kind = said.setdefault("type", tree.kind)
        present = self._catalogue.kind(dataset, table)
        if present is not None and not tree.args.get("replace"):
            if tree.args.get("exists"):
                return Result(kind=f"CREATE_{kind}")
            message = f"Already Exists: Table {self._catalogue.project}:{dataset}.{table}"
            raise ApiError(409, "duplicate", message)
        if present is not None and present != kind:
            message = f"{dataset}.{table} {_REPLACING} {present}."
            raise ApiError(400, "invalidQuery", message)
        if present == "TABLE" and layouts.spec(said) != layouts.spec(self._catalogue.said(dataset, table)):
            raise ApiError(
                400,
                "invalidQuery",
                "Cannot replace a table with a different partitioning spec. Instead, DROP the table, and "
                "then recreate it.",
            )
        if columns:
            connection.execute(f"CREATE OR REPLACE TABLE {quoted(dataset, table)} ({columns})")
            self._catalogue.add(dataset, table, said)
            return Result(kind="CREATE_TABLE")
        self._names.bind(tree.expression)
        sql = tree.expression.sql("duckdb")
        if kind == "TABLE":
            self.write(connection, dataset, table, sql, said)
        else:
            connection.execute(f"CREATE OR REPLACE VIEW {quoted(dataset, table)} AS {sql}")
            self._catalogue.add(dataset, table, {**said, "_sql": sql, "view": {"useLegacySql": False}})
        return Result(kind="CREATE_TABLE_AS_SELECT" if kind == "TABLE" else f"CREATE_{kind}")

    def write(
        self, connection: DuckDBPyConnection, dataset: str, table: str, sql: str, said: Mapping[str, Any]
    ) -> None:
        """Make a table of the rows of a SELECT in DuckDB's words, in types that BigQuery has."""
        columns = nested.listing(self._described(connection, sql))
        connection.execute(
            f"CREATE OR REPLACE TABLE {quoted(dataset, table)} AS SELECT {columns} FROM ({sql})",
            self._used(sql),
        )
        self._catalogue.add(dataset, table, said)

    def destination(self, result_sql: str, dataset: str, table: str, said: Mapping[str, Any]) -> None:
        """Write a SELECT of BigQuery's into a destination table."""
        tree = self._parsed(result_sql)
        self._names.bind(tree)
        with self._catalogue.lock:
            self.write(self._catalogue.connect(), dataset, table, tree.sql("duckdb"), said)
            self._catalogue.rebind()

    def _described(self, connection: DuckDBPyConnection, sql: str) -> list[dict[str, Any]]:
        found = connection.execute(f"SELECT * FROM ({sql}) LIMIT 0", self._used(sql)).description
        return [values.field(name, kind) for name, kind, *_ in found or ()]

    def _parsed(self, text: str) -> exp.Expr:
        try:
            found = sqlglot.parse_one(text, read="bigquery")
        except SqlglotError as error:
            raise ApiError(400, "invalidQuery", f"Syntax error: {str(error).splitlines()[0]}") from error
        unserved = next(
            (node for node in found.find_all(exp.Anonymous) if node.name.upper() == "FARM_FINGERPRINT"), None
        )
        if unserved is not None or found.find(exp.FarmFingerprint):
            raise ApiError(501, "notImplemented", "FARM_FINGERPRINT is not served by the stand-in.")
        layouts.widen_decimals(found)
        return found

    def _used(self, sql: str) -> Any:
        """The parameters that a statement names: DuckDB takes no others."""
        if isinstance(self._parameters, Mapping):
            used = set(re.findall(r"\$(\w+)", sql))
            return {name: value for name, value in self._parameters.items() if name in used} or None
        return list(self._parameters)[: sql.count("?")] or None


def _reading(tree: exp.Expr) -> exp.Expr:
    """What a statement reads: of a definition its SELECT."""
    return tree.expression if isinstance(tree, exp.Create) and tree.expression else tree


def statements(text: str) -> list[str]:
    """The statements of a script; a semicolon inside a text separates nothing."""
    tokens = Dialect.get_or_raise("bigquery").tokenize(text)
    ends = [token.start for token in tokens if token.token_type is sqlglot.TokenType.SEMICOLON]
    pieces = [
        text[start:end]
        for start, end in zip([0, *(end + 1 for end in ends)], [*ends, len(text)], strict=True)
    ]
    found = [piece.strip() for piece in pieces if piece.strip()]
    if not found:
        raise ApiError(400, "invalidQuery", "Syntax error: Unexpected end of statement")
    return found
