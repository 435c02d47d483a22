"""Columns, partitioning, clustering and options of CREATE TABLE, as DuckDB and the API take them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlglot import exp

from mlops_assets_tests.standins.gcp.web import ApiError

_DAY = 86_400_000


def said(tree: exp.Create) -> dict[str, Any]:
    """What a CREATE says of its table."""
    found: dict[str, Any] = {}
    for item in (tree.args.get("properties") or exp.Properties()).expressions:
        if isinstance(item, exp.PartitionedByProperty):
            found |= _partitioning(item.this)
        elif isinstance(item, exp.ClusterProperty):
            found["clustering"] = {"fields": [column.name for column in item.expressions]}
        elif isinstance(item, exp.MaterializedProperty):
            found["type"] = "MATERIALIZED_VIEW"
        elif isinstance(item, exp.Property) and item.name == "partition_expiration_days":
            found.setdefault("timePartitioning", {})["expirationMs"] = str(int(item.text("value")) * _DAY)
        elif isinstance(item, exp.Property) and item.name == "require_partition_filter":
            found["requirePartitionFilter"] = item.args["value"].this is True
        else:
            raise ApiError(501, "notImplemented", f"{item.sql('bigquery')[:80]} is not served.")
    return found


def columns(tree: exp.Create) -> str:
    """The columns that a CREATE TABLE without SELECT lists, in DuckDB's words; of any other none."""
    if not isinstance(tree.this, exp.Schema) or tree.expression:
        return ""
    found = []
    for item in tree.this.expressions:
        if not isinstance(item, exp.ColumnDef) or item.args.get("constraints") or item.kind is None:
            raise ApiError(501, "notImplemented", f"{item.sql('bigquery')[:80]} is not served.")
        for kind in item.kind.find_all(exp.DataType):
            if kind.is_type("array") and any(inner.is_type("array") for inner in kind.expressions):
                raise ApiError(400, "invalidQuery", "Arrays of arrays are not supported")
        found.append(f"{exp.to_identifier(item.name, quoted=True).sql('duckdb')} {item.kind.sql('duckdb')}")
    return ", ".join(found)


def widen_decimals(tree: exp.Expr) -> None:
    """Say the digits of NUMERIC and BIGNUMERIC, of which DuckDB's default has fewer."""
    for kind in tree.find_all(exp.DataType):
        scale = {exp.DType.DECIMAL: 9, exp.DType.BIGDECIMAL: 18}.get(kind.this)
        if scale is not None and not kind.expressions:
            kind.replace(exp.DataType.build(f"DECIMAL(38, {scale})"))


def spec(said: Mapping[str, Any]) -> tuple[Any, ...]:
    """What a replacement must leave as it is."""
    time = {key: value for key, value in said.get("timePartitioning", {}).items() if key != "expirationMs"}
    return time, said.get("rangePartitioning"), said.get("clustering")


def _partitioning(by: exp.Expr) -> dict[str, Any]:
    if isinstance(by, exp.RangeBucket):
        series = by.expression
        bounds = {
            "start": series.args["start"].name,
            "end": series.args["end"].name,
            "interval": series.args["step"].name,
        }
        return {"rangePartitioning": {"field": by.this.name, "range": bounds}}
    if isinstance(by, exp.Column | exp.Identifier):
        return {"timePartitioning": {"field": by.name, "type": "DAY"}}
    if isinstance(by, exp.DatetimeTrunc | exp.TimestampTrunc | exp.DateTrunc):
        return {"timePartitioning": {"field": by.this.name, "type": by.text("unit").upper()}}
    raise ApiError(400, "invalidQuery", f"PARTITION BY {by.sql('bigquery')} is not a partition.")
