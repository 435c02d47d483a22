"""What load and extract jobs and insertAll move between tables, files and the Cloud Storage stand-in."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlops_assets_tests.standins.gcp import bigquery_nested as nested
from mlops_assets_tests.standins.gcp import bigquery_values as values
from mlops_assets_tests.standins.gcp.bigquery_catalogue import KEPT, Catalogue, quoted
from mlops_assets_tests.standins.gcp.objects import Objects
from mlops_assets_tests.standins.gcp.web import ApiError

# Rows of one extracted file: more of them, as the service splits large results, and in no order.
_EXTRACTED = 150_000
_READERS = {
    "PARQUET": "read_parquet({files})",
    "CSV": "read_csv({files}, header = true)",
    "NEWLINE_DELIMITED_JSON": "read_json({files}, format = 'newline_delimited')",
}
_WRITERS = {"PARQUET": "parquet", "CSV": "csv", "NEWLINE_DELIMITED_JSON": "json"}


class Transfers:
    """Load, extract and copy."""

    def __init__(self, catalogue: Catalogue, objects: Objects) -> None:
        self._catalogue, self._objects = catalogue, objects

    def load(self, config: Mapping[str, Any], location: str, uploaded: Sequence[Path] = ()) -> dict[str, Any]:
        """Load files that were uploaded, or objects, into a table; what the job's statistics say of it."""
        kind = config.get("sourceFormat", "CSV")
        if kind not in _READERS:
            raise ApiError(501, "notImplemented", f"Loading {kind} is not served by the stand-in.")
        files = uploaded or [path for uri in config["sourceUris"] for path in self._found(uri)]
        listed = "[" + ", ".join(f"'{path}'" for path in files) + "]"
        source = _READERS[kind].format(files=listed)
        if kind == "PARQUET":
            inferred = config.get("parquetOptions", {}).get("enableListInference", False)
            source = self._parquet(source, files, inferred=inferred)
        found = self._described(source)
        columns = nested.loaded(config.get("schema", {}).get("fields") or found, found)
        said = {key: config[key] for key in KEPT if key in config}
        if "destinationEncryptionConfiguration" in config:
            said["encryptionConfiguration"] = config["destinationEncryptionConfiguration"]
        rows = self.write(
            config["destinationTable"],
            f"SELECT {columns} FROM {source}",
            config.get("writeDisposition", "WRITE_APPEND"),
            said,
            location,
        )
        size = sum(path.stat().st_size for path in files)
        counted = {"inputFiles": len(files), "inputFileBytes": size, "outputRows": rows, "badRecords": 0}
        return {name: str(value) for name, value in counted.items()}

    def _parquet(self, source: str, files: Sequence[Path], *, inferred: bool) -> str:
        """The rows of Parquet files, lists as they are or as records."""
        if inferred:
            nested.check_elements(self._catalogue.connect(), files)
            return source
        return f"(SELECT {nested.as_records(self._described(source))} FROM {source})"

    def _described(self, source: str) -> list[dict[str, Any]]:
        found = self._catalogue.connect().execute(f"SELECT * FROM {source} LIMIT 0").description
        return [values.field(name, kind) for name, kind, *_ in found or ()]

    def stream(self, dataset: str, table: str, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Append rows of JSON to a table that is there; the errors, for each of which nothing is appended."""
        self._catalogue.said(dataset, table)
        fields = self._catalogue.fields(dataset, table)
        known = {item["name"] for item in fields}
        errors = [
            {
                "index": at,
                "errors": [{"reason": "invalid", "location": name, "message": f"no such field: {name}."}],
            }
            for at, row in enumerate(rows)
            for name in row.keys() - known
        ]
        if errors:
            return errors
        path = self._objects.scratch()
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        columns = (
            "{"
            + ", ".join(f"{_text(item['name'])}: {_text(values.duckdb_type(item))}" for item in fields)
            + "}"
        )
        source = f"read_json('{path}', format = 'newline_delimited', columns = {columns})"
        with self._catalogue.lock:
            self._catalogue.connect().execute(
                f"INSERT INTO {quoted(dataset, table)} BY NAME SELECT * FROM {source}"
            )
        path.unlink()
        return []

    def extract(self, config: Mapping[str, Any], location: str) -> dict[str, Any]:
        """Write a table as objects; rows in no order."""
        table = config["sourceTable"]
        dataset, name = table["datasetId"], table["tableId"]
        self._catalogue.dataset(dataset, location)
        self._catalogue.said(dataset, name)
        kind = config.get("destinationFormat", "CSV")
        if kind not in _WRITERS:
            raise ApiError(501, "notImplemented", f"Extracting {kind} is not served by the stand-in.")
        (uri,) = config["destinationUris"]
        rows, fields = self._catalogue.rows(dataset, name), self._catalogue.fields(dataset, name)
        flat = [item["name"] for item in fields if item["mode"] != "REPEATED" and "fields" not in item]
        if kind == "CSV" and len(flat) < len(fields):
            field = next(item["name"] for item in fields if item["name"] not in flat)
            message = f"Operation cannot be performed on a nested schema. Field: {field}"
            raise ApiError(400, "invalid", message)
        files = max(1, -(-rows // _EXTRACTED)) if "*" in uri else 1
        for number in range(files):
            bucket, _, key = uri.removeprefix("gs://").replace("*", f"{number:012d}").partition("/")
            path = self._objects.scratch()
            part = f"WHERE rowid % {files} = {number} ORDER BY hash(rowid)"
            share = f"SELECT {nested.listing(fields)} FROM {quoted(dataset, name)} {part}"
            self._catalogue.connect().execute(f"COPY ({share}) TO '{path}' (FORMAT {_WRITERS[kind]})")
            self._objects.put(bucket, key, path, {"contentType": "application/octet-stream"}, {})
        return {"destinationUriFileCounts": [str(files)]}

    def copy(self, config: Mapping[str, Any], location: str) -> dict[str, Any]:
        """Copy a table."""
        source = config.get("sourceTable") or config["sourceTables"][0]
        said = self._catalogue.said(source["datasetId"], source["tableId"])
        select = f"SELECT * FROM {quoted(source['datasetId'], source['tableId'])}"
        kept = {key: said[key] for key in KEPT if key in said}
        rows = self.write(
            config["destinationTable"], select, config.get("writeDisposition", "WRITE_EMPTY"), kept, location
        )
        return {"copiedRows": str(rows)}

    def write(
        self,
        table: Mapping[str, str],
        select: str,
        disposition: str,
        said: Mapping[str, Any],
        location: str,
    ) -> int:
        """Write rows of a SELECT in DuckDB's words as a disposition says; how many they are."""
        dataset, name = table["datasetId"], table["tableId"]
        catalogue = self._catalogue
        with catalogue.lock:
            catalogue.dataset(dataset, location)
            connection, kind = catalogue.connect(), catalogue.kind(dataset, name)
            if kind not in (None, "TABLE"):
                raise ApiError(400, "invalid", f"{dataset}.{name} is a {kind}; it cannot be written to.")
            before = catalogue.rows(dataset, name) if kind else 0
            if disposition == "WRITE_EMPTY" and before:
                message = f"Already Exists: Table {catalogue.project}:{dataset}.{name}"
                raise ApiError(409, "duplicate", message)
            if kind and disposition != "WRITE_TRUNCATE":
                connection.execute(f"INSERT INTO {quoted(dataset, name)} BY NAME {select}")
                return catalogue.rows(dataset, name) - before
            connection.execute(f"CREATE OR REPLACE TABLE {quoted(dataset, name)} AS {select}")
            kept = catalogue.said(dataset, name) if kind else {}
            catalogue.add(dataset, name, {**kept, **said})
            catalogue.rebind()
            return catalogue.rows(dataset, name)

    def _found(self, uri: str) -> list[Path]:
        """Files of the objects that a URI names, with one wildcard at most."""
        bucket, _, key = uri.removeprefix("gs://").partition("/")
        before, star, after = key.partition("*")
        if not star:
            return [self._objects.get(bucket, key, {}).path]
        page = self._objects.list(bucket, {"prefix": before})
        pattern = re.compile(re.escape(before) + ".*" + re.escape(after), re.DOTALL)
        found = [stored.path for stored in page.items if pattern.fullmatch(stored.name)]
        if not found or page.token:
            raise ApiError(404, "notFound", f"Not found: Uris {uri}")
        return found


def _text(value: str) -> str:
    """A literal of SQL."""
    return "'" + value.replace("'", "''") + "'"
