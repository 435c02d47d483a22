"""What BigQuery knows of datasets and tables: DuckDB's schemas and relations, and what is said of them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any

from mlops_assets_tests.standins.gcp import bigquery_values as values
from mlops_assets_tests.standins.gcp.web import ApiError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

# What a client may say of a table, and reads again.
KEPT = (
    "labels",
    "description",
    "friendlyName",
    "timePartitioning",
    "rangePartitioning",
    "clustering",
    "requirePartitionFilter",
    "expirationTime",
    "encryptionConfiguration",
)
_DATASET = (*KEPT, "defaultTableExpirationMs", "defaultEncryptionConfiguration", "location")
INTERNAL = ("main", "information_schema", "pg_catalog")


@dataclass
class Dataset:
    """A dataset; `tables` are what is said of each."""

    said: dict[str, Any]
    tables: dict[str, dict[str, Any]] = field(default_factory=dict)


def quoted(*names: str) -> str:
    """Names for DuckDB, quoted and joined."""
    return ".".join('"' + name.replace('"', '""') + '"' for name in names)


class Catalogue:
    """One project's datasets. A view's text is kept, so that it can follow its tables."""

    def __init__(self, file: Path, project: str, location: str) -> None:
        import duckdb

        self.project, self.location, self.lock = project, location, RLock()
        self.database = duckdb.connect(str(file))
        self.database.execute("SET TimeZone = 'UTC'")
        self.datasets: dict[str, Dataset] = {}

    def connect(self) -> DuckDBPyConnection:
        """A connection of a job's own."""
        return self.database.cursor()

    def close(self) -> None:
        """Let the database go."""
        self.database.close()

    # --- datasets -------------------------------------------------------------------------------------------

    def dataset(self, name: str, location: str | None = None) -> Dataset:
        """A dataset that is there, in `location` where one is given."""
        found = self.datasets.get(name)
        if found is None or (location and location.upper() != found.said["location"].upper()):
            where = f" in location {location}" if location else ""
            raise ApiError(404, "notFound", f"Not found: Dataset {self.project}:{name} was not found{where}")
        return found

    def create_dataset(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """A new dataset."""
        name = values.safe_name(asked["datasetReference"]["datasetId"])
        with self.lock:
            if name in self.datasets:
                raise ApiError(409, "duplicate", f"Already Exists: Dataset {self.project}:{name}")
            self.database.execute(f"CREATE SCHEMA {quoted(name)}")
            said = {key: asked[key] for key in _DATASET if key in asked}
            self.datasets[name] = Dataset({"location": self.location, **said})
        return self.dataset_resource(name)

    def delete_dataset(self, name: str, *, contents: bool) -> None:
        """Remove a dataset."""
        with self.lock:
            found = self.dataset(name)
            if found.tables and not contents:
                raise ApiError(400, "resourceInUse", f"Dataset {self.project}:{name} is still in use")
            self.database.execute(f"DROP SCHEMA {quoted(name)} CASCADE")
            del self.datasets[name]

    def dataset_resource(self, name: str) -> dict[str, Any]:
        """As the API shows it."""
        return {
            **{"kind": "bigquery#dataset", "id": f"{self.project}:{name}", "etag": "x"},
            "datasetReference": {"projectId": self.project, "datasetId": name},
            **self.dataset(name).said,
        }

    # --- tables ---------------------------------------------------------------------------------------------

    def said(self, dataset: str, table: str) -> dict[str, Any]:
        """What is said of a table that is there."""
        found = self.dataset(dataset).tables.get(table)
        if found is None:
            raise ApiError(404, "notFound", f"Not found: Table {self.project}:{dataset}.{table}")
        return found

    def kind(self, dataset: str, table: str) -> str | None:
        """`TABLE`, `VIEW` or `MATERIALIZED_VIEW`, or None where there is none."""
        found = self.datasets.get(dataset)
        if found is None or table not in found.tables:
            return None
        return found.tables[table].get("type", "TABLE")

    def add(self, dataset: str, table: str, said: Mapping[str, Any]) -> None:
        """Say what a relation is that DuckDB has."""
        values.safe_name(table)
        now = str(time.time_ns() // 1_000_000)
        kept = {"creationTime": now, "lastModifiedTime": now, **said}
        default = self.dataset(dataset).said.get("defaultTableExpirationMs")
        if default and "expirationTime" not in kept:
            kept["expirationTime"] = str(int(now) + int(default))
        self.dataset(dataset).tables[table] = kept

    def create_table(self, dataset: str, asked: Mapping[str, Any]) -> dict[str, Any]:
        """A new table, or view."""
        table = asked["tableReference"]["tableId"]
        with self.lock:
            self.dataset(dataset)
            if self.kind(dataset, table) is not None:
                raise ApiError(409, "duplicate", f"Already Exists: Table {self.project}:{dataset}.{table}")
            if "view" in asked:
                raise ApiError(501, "notImplemented", "Views are served by CREATE VIEW alone.")
            fields = asked.get("schema", {}).get("fields", [])
            columns = ", ".join(f"{quoted(item['name'])} {values.duckdb_type(item)}" for item in fields)
            if not columns:
                raise ApiError(501, "notImplemented", "Tables without columns are not served.")
            self.database.execute(f"CREATE TABLE {quoted(dataset, table)} ({columns})")
            self.add(dataset, table, {key: asked[key] for key in KEPT if key in asked})
        return self.table_resource(dataset, table)

    def patch_table(self, dataset: str, table: str, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Change what is said of a table, and add the columns that it lacks of a schema."""
        with self.lock:
            said = self.said(dataset, table)
            if "schema" in asked:
                self._add_columns(dataset, table, asked["schema"]["fields"])
            said.update({key: asked[key] for key in KEPT if key in asked})
        return self.table_resource(dataset, table)

    def _add_columns(self, dataset: str, table: str, fields: Iterable[Mapping[str, Any]]) -> None:
        present = {item["name"]: item for item in self.fields(dataset, table)}
        wanted = {item["name"]: item for item in fields}
        lost = present.keys() - wanted.keys()
        if lost:
            message = f"Provided Schema does not match Table {dataset}.{table}. Field {min(lost)} is missing"
            raise ApiError(400, "invalid", message)
        for name, item in wanted.items():
            if name not in present:
                kind = values.duckdb_type(item)
                self.database.execute(
                    f"ALTER TABLE {quoted(dataset, table)} ADD COLUMN {quoted(name)} {kind}"
                )
            elif values.duckdb_type(item) != values.duckdb_type(present[name]):
                message = f"Field {name} has changed type from {present[name]['type']} to {item['type']}"
                raise ApiError(400, "invalid", message)

    def delete_table(self, dataset: str, table: str) -> None:
        """Remove a table or view."""
        with self.lock:
            self.said(dataset, table)
            kind = "TABLE" if self.kind(dataset, table) == "TABLE" else "VIEW"
            self.database.execute(f"DROP {kind} {quoted(dataset, table)}")
            del self.dataset(dataset).tables[table]

    def fields(self, dataset: str, table: str) -> list[dict[str, Any]]:
        """The columns of a relation."""
        found = self.connect().execute(f"SELECT * FROM {quoted(dataset, table)} LIMIT 0").description
        return [values.field(name, kind) for name, kind, *_ in found or ()]

    def rows(self, dataset: str, table: str) -> int:
        """How many rows a relation has."""
        counted = self.connect().execute(f"SELECT count(*) FROM {quoted(dataset, table)}").fetchone()
        assert counted is not None
        return int(counted[0])

    def table_resource(self, dataset: str, table: str) -> dict[str, Any]:
        """As the API shows it."""
        with self.lock:
            said = self.said(dataset, table)
            kind = said.get("type", "TABLE")
            fields = self.fields(dataset, table)
            size = {}
            if kind == "TABLE":
                rows = self.rows(dataset, table)
                size = {"numRows": str(rows), "numBytes": str(rows * sum(map(width, fields)))}
        return {
            **{"kind": "bigquery#table", "id": f"{self.project}:{dataset}.{table}", "etag": "x"},
            "tableReference": {"projectId": self.project, "datasetId": dataset, "tableId": table},
            **{"schema": {"fields": fields}, "location": self.dataset(dataset).said["location"]},
            **{"type": kind, **size, **{key: said[key] for key in said if key[0] != "_"}},
        }

    def rebind(self) -> None:
        """Let views see their tables as they are now; one whose tables are gone is kept as it was."""
        import duckdb

        for name, dataset in self.datasets.items():
            for table, said in dataset.tables.items():
                if (sql := said.get("_sql")) is not None:
                    try:
                        self.connect().execute(f"CREATE OR REPLACE VIEW {quoted(name, table)} AS {sql}")
                    except duckdb.Error:
                        continue


def width(shape: Mapping[str, Any]) -> int:
    """Bytes that a value of a column is billed as; of texts a usual length, of an ARRAY one element."""
    if shape.get("fields"):
        return sum(map(width, shape["fields"]))
    return {"STRING": 16, "BYTES": 16, "BOOLEAN": 1, "NUMERIC": 16, "BIGNUMERIC": 32}.get(shape["type"], 8)
