"""Names in a statement: which tables it means, whether they are there, and how many bytes they hold."""

from __future__ import annotations

import sqlglot
from sqlglot import exp

from mlops_assets_tests.standins.gcp.bigquery_catalogue import Catalogue, width
from mlops_assets_tests.standins.gcp.web import ApiError

_SCHEMA = "INFORMATION_SCHEMA."


class Names:
    """Names as one location's jobs see them."""

    def __init__(self, catalogue: Catalogue, location: str) -> None:
        self._catalogue, self._location = catalogue, location

    def place(self, table: exp.Expr) -> tuple[str, str]:
        """Dataset and table that a definition names; the dataset is there."""
        found = table.find(exp.Table)
        assert found is not None
        self._qualified(found)
        self._catalogue.dataset(found.db, self._location)
        return found.db, found.name

    def bind(self, tree: exp.Expr) -> None:
        """Find every table, and name it as DuckDB does.

        Raises:
            ApiError: for one that is not there.
        """
        for table in list(tree.find_all(exp.Table)):
            if not isinstance(table.this, exp.Identifier):
                continue
            if _SCHEMA in table.name.upper():
                self._catalogue_view(table)
            elif table.name not in _ctes(tree) or table.db:
                self._qualified(table)
                self._catalogue.dataset(table.db, self._location)
                self._catalogue.said(table.db, table.name)
                table.set("catalog", None)

    def read(self, tree: exp.Expr) -> int:
        """Bytes of the columns that a statement names, in the tables that it reads, also through views."""
        columns = {column.name for column in tree.find_all(exp.Column)}
        every = any(not isinstance(star.parent, exp.Count) for star in tree.find_all(exp.Star))
        total = 0
        for table in tree.find_all(exp.Table):
            if not isinstance(table.this, exp.Identifier) or not table.db:
                continue
            kind = self._catalogue.kind(table.db, table.name)
            if kind == "TABLE":
                fields = self._catalogue.fields(table.db, table.name)
                used = [field for field in fields if every or field["name"] in columns]
                total += self._catalogue.rows(table.db, table.name) * sum(map(width, used))
            elif kind is not None:
                sql = self._catalogue.said(table.db, table.name)["_sql"]
                total += self.read(sqlglot.parse_one(sql, read="duckdb"))
        return total

    def _qualified(self, table: exp.Table) -> None:
        if not table.db:
            message = f'Table "{table.name}" must be qualified with a dataset (e.g. dataset.table).'
            raise ApiError(400, "invalid", message)
        if table.catalog and table.catalog != self._catalogue.project:
            raise ApiError(403, "accessDenied", f"Access Denied: Project {table.catalog}")

    def _catalogue_view(self, table: exp.Table) -> None:
        view = table.name.upper().partition(_SCHEMA)[2]
        if view != "TABLES":
            raise ApiError(501, "notImplemented", f"INFORMATION_SCHEMA.{view} is not served by the stand-in.")
        scope = table.db.lower()
        if scope != f"region-{self._location.lower()}":
            raise ApiError(501, "notImplemented", f"INFORMATION_SCHEMA of {scope} is not served.")
        table.set("this", exp.to_identifier("tables"))
        table.set("db", exp.to_identifier("information_schema"))
        table.set("catalog", None)


def _ctes(tree: exp.Expr) -> set[str]:
    return {cte.alias_or_name for cte in tree.find_all(exp.CTE)}
