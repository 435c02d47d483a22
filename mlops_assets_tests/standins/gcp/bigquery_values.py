"""Types and values between BigQuery's JSON and DuckDB."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

from mlops_assets_tests.standins.gcp.web import ApiError

_DUCKDB = {
    "INT64": "BIGINT",
    "INTEGER": "BIGINT",
    "FLOAT64": "DOUBLE",
    "FLOAT": "DOUBLE",
    "BOOL": "BOOLEAN",
    "BOOLEAN": "BOOLEAN",
    "STRING": "VARCHAR",
    "BYTES": "BLOB",
    "DATE": "DATE",
    "DATETIME": "TIMESTAMP",
    "TIME": "TIME",
    "TIMESTAMP": "TIMESTAMP WITH TIME ZONE",
    "NUMERIC": "DECIMAL(38,9)",
    "BIGNUMERIC": "DECIMAL(38,18)",
    "JSON": "JSON",
}
# The API's own spelling, of what DuckDB calls its types.
_API = {
    "BOOLEAN": "BOOLEAN",
    "VARCHAR": "STRING",
    "BLOB": "BYTES",
    "DATE": "DATE",
    "TIMESTAMP": "DATETIME",
    "TIMESTAMP_S": "DATETIME",
    "TIMESTAMP_MS": "DATETIME",
    "TIMESTAMP_NS": "DATETIME",
    "TIME": "TIME",
    "TIMESTAMP WITH TIME ZONE": "TIMESTAMP",
    "DECIMAL(38,9)": "NUMERIC",
    "DECIMAL(38,18)": "BIGNUMERIC",
    "JSON": "JSON",
}
_WHOLE = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER")
_WHOLE += ("UBIGINT", "UHUGEINT")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def duckdb_type(field: Mapping[str, Any]) -> str:
    """The DuckDB type of a field of a schema."""
    kind = field["type"].upper()
    if kind in ("RECORD", "STRUCT"):
        items = ", ".join(f'"{item["name"]}" {duckdb_type(item)}' for item in _inner(field))
        found = f"STRUCT({items})"
    elif kind in _DUCKDB:
        found = _DUCKDB[kind]
    else:
        raise ApiError(501, "notImplemented", f"Columns of type {kind} are not served by the stand-in.")
    return found + ("[]" if field.get("mode") == "REPEATED" else "")


def _inner(field: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    if not field.get("fields"):
        raise ApiError(400, "invalid", f"Field {field['name']} is type RECORD but has no schema")
    return field["fields"]


def field(name: str, kind: Any) -> dict[str, Any]:
    """A field of a schema, for a column of a DuckDB type.

    Raises:
        ApiError: for a list of lists, which BigQuery does not know, and for what is not served.
    """
    if kind.id in ("list", "array"):
        element = field(name, kind.children[0][1])
        if element["mode"] == "REPEATED":
            message = "Cannot construct array with element type ARRAY because nested arrays are not supported"
            raise ApiError(400, "invalidQuery", message)
        return {**element, "mode": "REPEATED"}
    if kind.id == "struct":
        fields = [field(*item) for item in kind.children]
        return {"name": name, "type": "RECORD", "mode": "NULLABLE", "fields": fields}
    return {"name": name, "type": _scalar(str(kind)), "mode": "NULLABLE"}


def _scalar(kind: str) -> str:
    """The API's type for one of DuckDB's."""
    if kind in _WHOLE or kind in ('"NULL"', "NULL"):
        return "INTEGER"
    if kind in _API:
        return _API[kind]
    if kind in ("FLOAT", "DOUBLE") or kind.startswith("DECIMAL"):
        return "FLOAT"
    raise ApiError(501, "notImplemented", f"Results of type {kind} are not served by the stand-in.")


def cell(value: Any, shape: Mapping[str, Any]) -> Any:
    """A value of a row as the API writes it; times in microseconds, as clients ask for them."""
    if shape.get("mode") == "REPEATED":
        inner = {**shape, "mode": "NULLABLE"}
        if None in (value or ()):
            message = f"Array cannot have a null element; error in writing field {shape['name']}"
            raise ApiError(400, "invalidQuery", message)
        return [{"v": cell(item, inner)} for item in value or ()]
    if value is None:
        return None
    kind = shape["type"]
    if kind == "RECORD":
        return {"f": [{"v": cell(value[item["name"]], item)} for item in shape["fields"]]}
    if kind == "TIMESTAMP":
        moment = value.astimezone(UTC)
        span = moment - _EPOCH
        return str((span.days * 86_400 + span.seconds) * 1_000_000 + span.microseconds)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, float | Decimal) and kind == "FLOAT":
        return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}.get(
            repr(float(value)), repr(float(value))
        )
    return str(value)


def page(rows: Sequence[Sequence[Any]], fields: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows as the API writes them."""
    return [{"f": [{"v": cell(v, f)} for v, f in zip(row, fields, strict=True)]} for row in rows]


def parameters(asked: Sequence[Mapping[str, Any]]) -> dict[str, Any] | list[Any]:
    """Values of query parameters: by name, or in order."""
    values = [_parameter(item["parameterType"], item["parameterValue"]) for item in asked]
    if asked and asked[0].get("name"):
        return {item["name"]: value for item, value in zip(asked, values, strict=True)}
    return values


def _parameter(kind: Mapping[str, Any], value: Mapping[str, Any]) -> Any:
    if kind["type"] == "ARRAY":
        return [_parameter(kind["arrayType"], item) for item in value.get("arrayValues", [])]
    text = value.get("value")
    if text is None:
        return None
    readers = {
        "INT64": int,
        "FLOAT64": float,
        "BOOL": lambda text: str(text).lower() == "true",
        "STRING": str,
        "DATE": date.fromisoformat,
        "DATETIME": datetime.fromisoformat,
        "TIMESTAMP": datetime.fromisoformat,
        "NUMERIC": Decimal,
        "BYTES": base64.b64decode,
    }
    if kind["type"] not in readers:
        raise ApiError(501, "notImplemented", f"Parameters of type {kind['type']} are not served.")
    return readers[kind["type"]](text)


def safe_name(name: str) -> str:
    """A name of a dataset or table, as BigQuery allows them.

    Raises:
        ApiError: for any other.
    """
    if not re.fullmatch(r"[\w-]{1,1024}", name):
        raise ApiError(400, "invalid", f"Invalid table or dataset ID {name!r}.")
    return name
