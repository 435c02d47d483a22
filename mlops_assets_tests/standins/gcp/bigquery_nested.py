"""ARRAY and STRUCT columns: how BigQuery stores them, and what it makes of Parquet's lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_assets_tests.standins.gcp import bigquery_values as values
from mlops_assets_tests.standins.gcp.bigquery_catalogue import quoted
from mlops_assets_tests.standins.gcp.web import ApiError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

Field = Mapping[str, Any]


def stored(shape: Field, said: str | None = None, depth: int = 0) -> str:
    """A value in DuckDB's words as BigQuery stores it in a field: no ARRAY misses, and none of its elements.

    Args:
        shape: the field, as the API describes it.
        said: the value; by default the column of the field's name.
        depth: how many lists it is in.
    """
    said = quoted(shape["name"]) if said is None else said
    if shape.get("mode") == "REPEATED":
        item = f"item_{depth}"
        missing = f"error('Array cannot have a null element; error in writing field {_safe(shape['name'])}')"
        inner = stored({**shape, "mode": "NULLABLE"}, item, depth + 1)
        each = f"CASE WHEN {item} IS NULL THEN {missing} ELSE {inner} END"
        return f"CASE WHEN {said} IS NULL THEN [] ELSE list_transform({said}, lambda {item}: {each}) END"
    if shape.get("fields"):
        return _packed(said, {item["name"]: stored(item, _of(said, item), depth) for item in shape["fields"]})
    return f"CAST({said} AS {values.duckdb_type(shape)})"


def listing(fields: Sequence[Field]) -> str:
    """The columns of these fields as BigQuery stores them, for a SELECT."""
    return ", ".join(f"{stored(item)} AS {quoted(item['name'])}" for item in fields)


def loaded(fields: Sequence[Field], found: Sequence[Field]) -> str:
    """The columns of a table out of those that are found in a file, for a SELECT.

    A column that is to be repeated and is none in the file is empty in every row: that is what becomes of
    Parquet's lists where they are not asked to be inferred (python-bigquery's issue 2008).
    """
    repeated = {item["name"] for item in found if item.get("mode") == "REPEATED"}
    columns = []
    for item in fields:
        lacking = item.get("mode") == "REPEATED" and item["name"] not in repeated
        value = f"CAST([] AS {values.duckdb_type(item)})" if lacking else stored(item)
        columns.append(f"{value} AS {quoted(item['name'])}")
    return ", ".join(columns)


def as_records(fields: Sequence[Field]) -> str:
    """Columns of a file whose lists are not inferred, for a SELECT: records `list` of records `element`."""
    return ", ".join(f"{_record(item, quoted(item['name']))} AS {quoted(item['name'])}" for item in fields)


def _record(shape: Field, said: str, depth: int = 0) -> str:
    if shape.get("mode") == "REPEATED":
        item = f"item_{depth}"
        element = _record({**shape, "mode": "NULLABLE"}, item, depth + 1)
        lists = f"list_transform({said}, lambda {item}: struct_pack(element := {element}))"
        return f"CASE WHEN {said} IS NOT NULL THEN struct_pack(list := {lists}) END"
    if shape.get("fields"):
        return _packed(
            said, {item["name"]: _record(item, _of(said, item), depth) for item in shape["fields"]}
        )
    return said


def check_elements(connection: DuckDBPyConnection, files: Sequence[Path]) -> None:
    """Nothing where every list is written as Parquet's format has it; others are inferred otherwise."""
    for file in files:
        rows = connection.execute(f"SELECT name, converted_type FROM parquet_schema('{file}')").fetchall()
        for at, (name, kind) in enumerate(rows):
            if kind == "LIST" and [rows[at + 1][0], rows[at + 2][0]] != ["list", "element"]:
                message = f"The list {name} is not one of `element` in `list`: that is not served."
                raise ApiError(501, "notImplemented", message)


def _packed(said: str, fields: Mapping[str, str]) -> str:
    packed = ", ".join(f"{quoted(name)} := {value}" for name, value in fields.items())
    return f"CASE WHEN {said} IS NOT NULL THEN struct_pack({packed}) END"


def _of(said: str, item: Field) -> str:
    return f"{said}.{quoted(item['name'])}"


def _safe(name: str) -> str:
    return name.replace("'", "''")
