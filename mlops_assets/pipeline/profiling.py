"""Profiles of relations, computed in the warehouse: the reference that later arrivals are compared with.

A profile is JSON-able: `{"format": 1, "rows": n, "columns": {name: {...}}}`, with per column `type`, `kind`,
`nulls` and

* kind `numeric` (int, float; timestamps and dates as seconds since 1970): `min`, `max`, ascending `edges`,
  `counts` of the values in (-inf, edges[0]], (edges[0], edges[1]], …, (edges[-1], inf), and `bins`, the
  positions in `edges` that bound the coarser bins of the stability index;
* kind `categorical` (string, bool): `categories`, the most frequent values with their counts, `other`, the
  count of the rest, and `distinct`.

NaN and infinities count as missing. `profile` uses functions of DuckDB; `histogram` is plain SQL that every
warehouse speaks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from mlops_assets.artifacts import Column
from mlops_assets.platforms.ports import Warehouse
from mlops_assets.platforms.sql import literal, quote

FORMAT = 1
BINS = 10
TOP = 100
# Twice as many quantiles as bins: the grid on which the distribution functions are compared.
_GRID = 2 * BINS
# Quantiles come from about this many rows (error below 0.2 %); counts are of every row all the same.
_SAMPLE = 200_000
# DuckDB groups by at most 64 columns at once.
_WIDTH = 40
_CATEGORICAL = ("string", "bool")
_OTHER = "other"


class Queries(Protocol):
    """What answers SELECTs in DuckDB's dialect: a warehouse, or the embedded engine."""

    def query(self, select: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """Rows of a small result. `?` marks parameters."""
        ...


def profile_parquet(engine: Queries, parquet: Path, columns: Sequence[Column]) -> dict[str, Any]:
    """Profile of a local Parquet file, or of a folder of parts.

    Args:
        engine: one that speaks DuckDB and reads files of this machine.
        parquet: the file or folder.
        columns: the columns to profile, with their logical types.
    """
    path = literal(str(parquet / "*.parquet" if parquet.is_dir() else parquet))
    return profile(engine, f"SELECT * FROM read_parquet({path})", columns)  # noqa: S608


def profile(engine: Queries, select: str, columns: Sequence[Column]) -> dict[str, Any]:
    """Profile of the rows of `select`: a pass for the extremes, a sample for quantiles, a pass for counts.

    The same rows in the same order give the same profile: the sample is chosen by a hash of the row's number.
    """
    rows = int(engine.query(f"SELECT count(*) AS n FROM ({select}) AS source")[0]["n"])  # noqa: S608
    described: dict[str, dict[str, Any]] = {}
    for start in range(0, len(columns), _WIDTH):
        chunk = columns[start : start + _WIDTH]
        numeric = [column for column in chunk if column.type not in _CATEGORICAL]
        edges = _edges(engine, select, numeric, rows) if numeric else {}
        described |= _count_reference(engine, select, chunk, edges)
    return {"format": FORMAT, "rows": rows, "columns": described}


def histogram(
    warehouse: Warehouse, select: str, reference: Mapping[str, Any], parameters: Sequence[Any] = ()
) -> dict[str, Any]:
    """The rows of `select` counted into the bins and categories of `reference`, in one pass.

    Args:
        warehouse: any.
        select: a SELECT in DuckDB's dialect with the columns of `reference` (a profile, or a part of one).
        reference: what `profile` made.
        parameters: values for the `?` in `select`.

    Returns:
        A profile with the reference's edges and categories, without `min`, `max` and `distinct`; `other`
        counts every value that is not one of the reference's categories.
    """
    names = list(reference["columns"])
    described: dict[str, dict[str, Any]] = {}
    for start in range(0, len(names), _WIDTH):
        chunk = {name: reference["columns"][name] for name in names[start : start + _WIDTH]}
        described |= _count_known(warehouse, select, chunk, parameters)
    counted = next(iter(described.values()), None)
    rows = counted.pop("rows") if counted else 0
    for column in described.values():
        column.pop("rows", None)
    return {"format": FORMAT, "rows": rows, "columns": described}


# --- values as SQL ----------------------------------------------------------------------------------------


def _value(name: str, kind: str) -> str:
    """The column as text (categorical) or as a finite number, else NULL."""
    column = quote(name)
    if kind == "string":
        return f"CAST({column} AS VARCHAR)"
    if kind == "bool":  # Redshift casts no boolean to text
        return f"CASE WHEN {column} THEN 'true' WHEN NOT {column} THEN 'false' END"
    if kind in ("timestamp", "date"):
        origin = "CAST('1970-01-01 00:00:00' AS TIMESTAMP)"
        return f"CAST(date_diff('second', {origin}, CAST({column} AS TIMESTAMP)) AS DOUBLE)"
    number = f"CAST({column} AS DOUBLE)"
    # x - x is NaN for NaN and both infinities, in every dialect, and NaN is not 0.
    return f"CASE WHEN {number} - {number} = 0 THEN {number} END" if kind == "float" else number


def _number(value: float) -> str:
    """A literal that is parsed as exactly this DOUBLE; without an exponent it would be a DECIMAL."""
    return f"{value:.17e}"


def _bin(value: str, edges: Sequence[float]) -> str:
    """The number of the bin that `value` (a column's name) is in, by bisection; NULL for NULL."""

    def between(low: int, high: int) -> str:
        if low == high:
            return str(low)
        middle = (low + high) // 2
        condition = f"{value} <= {_number(edges[middle])}"
        return f"CASE WHEN {condition} THEN {between(low, middle)} ELSE {between(middle + 1, high)} END"

    return f"CASE WHEN {value} IS NULL THEN NULL ELSE {between(0, len(edges))} END"


# --- edges ------------------------------------------------------------------------------------------------


def _edges(
    engine: Queries, select: str, columns: Sequence[Column], rows: int
) -> dict[str, tuple[float | None, float | None, list[float], list[float]]]:
    """Column -> minimum, maximum, quantiles for the grid, edges of the coarse bins."""
    values = [f"{_value(column.name, column.type)} AS v{i}" for i, column in enumerate(columns)]
    source = f"(SELECT {', '.join(values)} FROM ({select}) AS source)"  # noqa: S608
    extremes = ", ".join(f"min(v{i}) AS a{i}, max(v{i}) AS b{i}" for i in range(len(columns)))
    bounds = engine.query(f"SELECT {extremes} FROM {source} AS numbers")[0]  # noqa: S608
    points = "[" + ", ".join(f"{i / _GRID:g}" for i in range(1, _GRID)) + "]"
    wanted = ", ".join(f"quantile_disc(v{i}, {points}) AS q{i}" for i in range(len(columns)))
    step = rows // _SAMPLE
    # Not the hash of the values: equal rows would be in the sample or out of it together.
    numbered = f"(SELECT *, row_number() OVER () AS place FROM {source} AS numbers)"  # noqa: S608
    sample = f"{numbered} AS numbers WHERE hash(place) % {step} = 0" if step > 1 else f"{source} AS numbers"
    quantiles = engine.query(f"SELECT {wanted} FROM {sample}")[0]  # noqa: S608
    return {
        column.name: _edges_of(bounds[f"a{i}"], bounds[f"b{i}"], quantiles[f"q{i}"] or [])
        for i, column in enumerate(columns)
    }


def _edges_of(
    low: float | None, high: float | None, quantiles: Sequence[float]
) -> tuple[float | None, float | None, list[float], list[float]]:
    if low is None or high is None:
        return None, None, [], []
    # A value that holds several quantiles is a bin of its own, so that a move to either side of it is seen.
    atoms = {math.nextafter(value, -math.inf) for value in quantiles if list(quantiles).count(value) > 1}
    # Below the smallest number there is none to bound a bin with.
    grid = filter(math.isfinite, {*quantiles, *atoms, math.nextafter(low, -math.inf), high})
    coarse = filter(math.isfinite, {*quantiles[1::2], *atoms})
    return low, high, sorted(grid), sorted(coarse)


# --- counts -----------------------------------------------------------------------------------------------


def _counted(columns: Sequence[tuple[str, str, Sequence[float] | None]], select: str) -> str:
    """CTE `counted`: number of the column, value or bin as text, rows; every column in one pass.

    Args:
        columns: name, logical type, and edges for those that are binned.
        select: the rows.
    """
    values = ", ".join(f"{_value(name, kind)} AS v{i}" for i, (name, kind, _) in enumerate(columns))
    binned = ", ".join(
        f"v{i} AS c{i}" if edges is None else f"{_bin(f'v{i}', edges)} AS c{i}"
        for i, (_, _, edges) in enumerate(columns)
    )
    item = " ".join(f"WHEN GROUPING(c{i}) = 0 THEN {i}" for i in range(len(columns)))
    # In each grouping set every other column is NULL, so the first that is not is the set's own.
    text = ", ".join(f"CAST(c{i} AS VARCHAR)" for i in range(len(columns)))
    value = f"COALESCE({text})" if len(columns) > 1 else text
    sets = ", ".join(f"(c{i})" for i in range(len(columns)))
    return (
        f"WITH usable AS (SELECT {values} FROM ({select}) AS source), "  # noqa: S608
        f"binned AS (SELECT {binned} FROM usable), "
        f"counted AS (SELECT CASE {item} END AS item, {value} AS value, count(*) AS n "
        f"FROM binned GROUP BY GROUPING SETS ({sets}))"
    )


def _count_reference(
    engine: Queries,
    select: str,
    columns: Sequence[Column],
    edges: Mapping[str, tuple[float | None, float | None, list[float], list[float]]],
) -> dict[str, dict[str, Any]]:
    grids = {name: edge[2] for name, edge in edges.items()}
    wanted = [(column.name, column.type, grids.get(column.name)) for column in columns]
    ranked = (
        "SELECT item, value, n, sum(n) OVER (PARTITION BY item) AS total, "
        "count(*) OVER (PARTITION BY item) AS different, row_number() OVER (PARTITION BY item "
        "ORDER BY n DESC, value) AS place FROM counted WHERE value IS NOT NULL"
    )
    found = engine.query(
        f"{_counted(wanted, select)} SELECT item, value, n, total, different FROM ({ranked}) AS ranked "  # noqa: S608
        f"WHERE place <= {TOP} UNION ALL SELECT item, value, n, n, 0 FROM counted WHERE value IS NULL"
    )
    described: dict[str, dict[str, Any]] = {}
    for position, column in enumerate(columns):
        rows = [row for row in found if row["item"] == position]
        known = {str(row["value"]): int(row["n"]) for row in rows if row["value"] is not None}
        result: dict[str, Any] = {"type": column.type, "nulls": _nulls(rows)}
        if column.name in edges:
            low, high, grid, coarse = edges[column.name]
            result |= {"kind": "numeric", "min": low, "max": high, "edges": grid}
            result["bins"] = [grid.index(edge) for edge in coarse]
            result["counts"] = [known.get(str(i), 0) for i in range(len(grid) + 1)]
        else:
            filled = [row for row in rows if row["value"] is not None]
            total, different = (int(filled[0]["total"]), int(filled[0]["different"])) if filled else (0, 0)
            ordered = dict(sorted(known.items(), key=lambda item: (-item[1], item[0])))
            result |= {"kind": "categorical", "categories": ordered, "distinct": different}
            result[_OTHER] = total - sum(known.values())
        described[column.name] = result
    return described


def _count_known(
    warehouse: Warehouse, select: str, columns: Mapping[str, Mapping[str, Any]], parameters: Sequence[Any]
) -> dict[str, dict[str, Any]]:
    wanted = [(name, column["type"], column.get("edges")) for name, column in columns.items()]
    known, arguments = [], list(parameters)
    for position, column in enumerate(columns.values()):
        if column["kind"] == "categorical" and column["categories"]:
            marks = ", ".join("?" for _ in column["categories"])
            known.append(f"WHEN item = {position} AND value IN ({marks}) THEN 0")
            arguments += list(column["categories"])
        elif column["kind"] == "numeric":
            known.append(f"WHEN item = {position} THEN 0")
    strange = f"CASE WHEN value IS NULL THEN 0 {' '.join(known)} ELSE 1 END"
    found = warehouse.query(
        f"{_counted(wanted, select)}, "  # noqa: S608
        f"judged AS (SELECT item, value, n, {strange} AS strange FROM counted) "
        "SELECT item, strange, CASE WHEN strange = 0 THEN value END AS value, sum(n) AS n "
        "FROM judged GROUP BY 1, 2, 3",
        arguments,
    )
    described: dict[str, dict[str, Any]] = {}
    for position, (name, column) in enumerate(columns.items()):
        rows = [row for row in found if row["item"] == position]
        usual = [row for row in rows if row["strange"] == 0]
        seen = {str(row["value"]): int(row["n"]) for row in usual if row["value"] is not None}
        result: dict[str, Any] = {"type": column["type"], "kind": column["kind"], "nulls": _nulls(usual)}
        if column["kind"] == "numeric":
            counts = [seen.get(str(i), 0) for i in range(len(column["edges"]) + 1)]
            result |= {"edges": column["edges"], "bins": column["bins"], "counts": counts}
        else:
            result["categories"] = {value: seen.get(value, 0) for value in column["categories"]}
            result[_OTHER] = sum(int(row["n"]) for row in rows if row["strange"] == 1)
        described[name] = result | {"rows": sum(int(row["n"]) for row in rows)}
    return described


def _nulls(rows: Sequence[Mapping[str, Any]]) -> int:
    return sum(int(row["n"]) for row in rows if row["value"] is None)
