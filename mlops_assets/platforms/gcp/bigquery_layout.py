"""Partitions, clusters and options of a table, from the SQL header or from a table that is there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mlops_assets.errors import DeclarationError
from mlops_assets.platforms.dialect_bigquery import decoded
from mlops_assets.platforms.gcp.bigquery_sql import quote
from mlops_assets.platforms.gcp.bigquery_types import parsed, sql_type

if TYPE_CHECKING:
    from google.cloud.bigquery import Table

_GRAIN = ("HOUR", "DAY", "MONTH", "YEAR")
_MOST_CLUSTERED = 4
_YES = ("yes", "true", "on")


def table_layout(options: Mapping[str, str], types: Mapping[str, str], where: str) -> str:
    """The SQL header's options as clauses of CREATE TABLE; those of other warehouses are passed over.

    `partition_by: column` with `partition_grain: hour|day|month|year` for times (default: day) or
    `partition_range: start, end, step` for whole numbers; `partition_expiration_days: n`,
    `require_partition_filter: yes`; `cluster_by: a, b`.

    Args:
        options: of the header.
        types: column -> type of what is built.
        where: names the relation in an error.

    Raises:
        DeclarationError: for a column that is not there, or a value that BigQuery does not take.
    """
    parts, settings = [], []
    column = options.get("partition_by", "").strip()
    if column:
        kind = _type_of(column, types, where)
        parts.append(f"PARTITION BY {_partition(column, kind, options, where)}")
        if days := options.get("partition_expiration_days"):
            settings.append(f"partition_expiration_days = {_number(days, where)}")
        if options.get("require_partition_filter", "no").lower() in _YES:
            settings.append("require_partition_filter = TRUE")
    clustered = [name.strip() for name in options.get("cluster_by", "").split(",") if name.strip()]
    if len(clustered) > _MOST_CLUSTERED:
        raise DeclarationError(
            f"{len(clustered)} columns to cluster by.", where=where, mend=f"Name {_MOST_CLUSTERED} at most."
        )
    if clustered:
        for name in clustered:
            _refuse_nested(name, _type_of(name, types, where), where)
        parts.append(f"CLUSTER BY {', '.join(map(quote, clustered))}")
    return " ".join([*parts, f"OPTIONS ({', '.join(settings)})" if settings else ""]).strip()


def limit_of(options: Mapping[str, str], where: str) -> int | None:
    """Bytes that each query of the table may be billed for, by the header's `maximum_bytes_billed: n`.

    Raises:
        DeclarationError: where it is not a whole number.
    """
    text = options.get("maximum_bytes_billed")
    return _number(text, where) if text else None


def layout_of(table: Table) -> str:
    """The clauses that a table was made with."""
    options: dict[str, str] = {"cluster_by": ",".join(map(decoded, table.clustering_fields or ()))}
    time, numbers = table.time_partitioning, table.range_partitioning
    if time is not None and time.field:
        options |= {"partition_by": decoded(time.field), "partition_grain": time.type_ or "DAY"}
        if time.expiration_ms:
            options["partition_expiration_days"] = str(int(time.expiration_ms) // 86_400_000)
    elif numbers is not None and numbers.field:
        bounds = (numbers.range_.start, numbers.range_.end, numbers.range_.interval)
        options |= {"partition_by": decoded(numbers.field), "partition_range": ",".join(map(str, bounds))}
    if table.require_partition_filter:
        options["require_partition_filter"] = "yes"
    return table_layout(options, types_of(table), str(table.reference))


def types_of(table: Table) -> dict[str, str]:
    """Column -> type, in order."""
    return {decoded(field.name): sql_type(field) for field in table.schema}


def _partition(column: str, kind: str, options: Mapping[str, str], where: str) -> str:
    name, grain = quote(column), options.get("partition_grain", "day").upper()
    if kind == "INT64":
        bounds = options.get("partition_range", "").split(",")
        if len(bounds) != 3:
            raise DeclarationError(
                f"The column {column!r} is of whole numbers.",
                where=where,
                mend="Say `-- partition_range: start, end, step` beside `-- partition_by`.",
            )
        start, end, step = (_number(bound, where) for bound in bounds)
        return f"RANGE_BUCKET({name}, GENERATE_ARRAY({start}, {end}, {step}))"
    known = grain in _GRAIN and kind in ("DATE", "DATETIME", "TIMESTAMP")
    if not known or (kind, grain) == ("DATE", "HOUR"):
        raise DeclarationError(
            f"{column!r} is {kind}: partitions of one {grain.lower()} cannot be made of it.",
            where=where,
            mend=f"Use a date, a timestamp or an int; the grain is one of {', '.join(_GRAIN).lower()}.",
        )
    if kind == "DATE" and grain == "DAY":
        return name
    return f"{kind}_TRUNC({name}, {grain})"


def _type_of(column: str, types: Mapping[str, str], where: str) -> str:
    if column not in types:
        raise DeclarationError(
            f"There is no column {column!r} to partition or cluster by.",
            where=where,
            mend=f"Name one of {', '.join(types)}.",
        )
    return types[column]


def _refuse_nested(column: str, kind: str, where: str) -> None:
    if parsed(kind).nested:
        raise DeclarationError(
            f"{column!r} is {kind}: a table cannot be clustered by it.",
            where=where,
            mend="Name a column of one value per row, or select the field as a column of its own.",
        )


def _number(text: str, where: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise DeclarationError(
            f"{text.strip()!r} is not a whole number.", where=where, mend="Write digits."
        ) from None
