"""One arriving object as a relation DuckDB can select from, whatever its format."""

# ruff: noqa: S608 - identifiers are quoted, values are parameters or quoted literals

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_assets.errors import DataError
from mlops_assets.platforms.arriving.text_source import TextSource
from mlops_assets.platforms.arriving.typed_values import STORED, cast, direct, from_text, missing
from mlops_assets.platforms.ports import LoadRequest
from mlops_assets.platforms.sql import literal, quote

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_STREAM = "__arriving"


@dataclass(frozen=True)
class ArrivalSource:
    """A stretch of a pass over the object; a stream, so it can be selected from once.

    Attributes:
        sql: SELECT with the declared columns typed, `__row`, `__line`, `__raw` and `__bad` (why it is no
            record at all, or NULL).
        present: declared column -> condition over `sql` that the file has a value for it which may be none of
            its type.
        records: how many records there were so far; known once the SELECT has run.
    """

    sql: str
    present: Mapping[str, str]
    records: Callable[[], int]


@dataclass(frozen=True)
class Field:
    """One wanted column of the file.

    Attributes:
        value: expression over the source.
        kind: its DuckDB type.
        judged: where it is of the declared type it is a value of it, or missing: nothing is left to judge.
    """

    value: str
    kind: str = "VARCHAR"
    judged: bool = False


def open_sources(connection: DuckDBPyConnection, request: LoadRequest, path: Path) -> Iterator[ArrivalSource]:
    """A new pass over the object at `path`, in sources to be selected from one after the other.

    Raises:
        DataError: where the object cannot hold the declared columns at all.
    """
    import pyarrow as pa

    if request.format == "parquet":
        yield _parquet(connection, request, path)
        return
    wanted = [(request.sources.get(column, column), kind) for column, kind in request.columns.items()]
    delimiter = request.delimiter if request.format == "csv" else None
    source = TextSource(path.open("rb"), request.key, delimiter, wanted, request.null_values)
    try:
        for types, stream in source.streams():
            connection.register(_STREAM, stream)
            yield _text(request, types, lambda: source.reader.records)
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(
            f"The file cannot be read: {error}",
            where=request.key,
            mend="Check the disk, or deliver it again.",
        ) from error


def _text(request: LoadRequest, types: Sequence[str], records: Callable[[], int]) -> ArrivalSource:
    """The registered stream; `types`: of its fields, none where the records are JSON."""
    origin, bad = _STREAM, "__bad"
    values = [Field(f"__field_{at}", STORED[kind], judged=True) for at, kind in enumerate(types)]
    if request.format == "json":
        # JSON functions raise on what is not JSON, so they see only what is.
        valid = "CASE WHEN __bad IS NULL AND json_valid(__raw) THEN __raw END"
        origin = f"(SELECT *, {valid} AS __valid FROM {_STREAM})"
        origin = (
            f"(SELECT *, CASE WHEN json_type(__valid) = 'OBJECT' THEN __valid END AS __json FROM {origin})"
        )
        bad = "CASE WHEN __json IS NULL THEN coalesce(__bad, 'not a JSON object') END"
        wanted = [request.sources.get(column, column) for column in request.columns]
        values = [Field(f"json_extract_string(__json, {literal(_pointer(name))})") for name in wanted]
    fixed = rf"__row, __line, rtrim(__raw, E'\r\n') AS __raw, {bad} AS __bad"
    return _typed(request, f"SELECT {fixed}", values, origin=origin, records=records)


def _typed(
    request: LoadRequest,
    fixed: str,
    values: Sequence[Field],
    *,
    origin: str,
    records: Callable[[], int],
) -> ArrivalSource:
    """Three SELECTs, one in the other: values and texts; casts of the texts; what the casts are worth.

    `values` are the wanted columns.
    """
    first, second, third, present = [fixed], ["SELECT *"], ["SELECT *"], {}
    for at, (field, (column, logical)) in enumerate(zip(values, request.columns.items(), strict=True)):
        typed = direct(f"__value_{at}", field.kind, logical)
        if field.judged and field.kind == STORED[logical] and logical != "string":
            first.append(f"{field.value} AS __value_{at}")
            typed, present[column] = f"__value_{at}", "false"
        elif typed is not None:
            first.append(f"{field.value} AS __value_{at}")
            present[column] = f"__value_{at} IS NOT NULL"
        else:
            text, casted = f"__as_text_{at}", f"__cast_{at}"
            first.append(f"CAST({field.value} AS VARCHAR) AS {text}")
            second.append(f"{cast(text, logical)} AS {casted}")
            typed = from_text(text, casted, logical, request.null_values)
            present[column] = f"NOT {missing(text, logical, request.null_values)}"
        third.append(f"{typed} AS {quote(column)}")
    sql = f"{', '.join(third)} FROM ({', '.join(second)} FROM ({', '.join(first)} FROM {origin}))"
    return ArrivalSource(sql, present, records)


def _pointer(name: str) -> str:
    """The JSON pointer (RFC 6901) of a key."""
    return "/" + name.replace("~", "~0").replace("/", "~1")


def _parquet(connection: DuckDBPyConnection, request: LoadRequest, path: Path) -> ArrivalSource:
    import duckdb

    where = request.key
    origin = f"read_parquet({literal(str(path))}, file_row_number = true)"
    try:
        described = connection.execute(f"DESCRIBE SELECT * FROM {origin}").fetchall()
        counted = connection.execute(
            f"SELECT num_rows FROM parquet_file_metadata({literal(str(path))})"
        ).fetchall()
    except duckdb.Error as error:
        raise DataError(
            f"The file cannot be read as Parquet: {str(error).splitlines()[0]}",
            where=where,
            mend="Deliver it again.",
        ) from error
    types = {str(name): str(kind) for name, kind, *_ in described}
    wanted = {column: request.sources.get(column, column) for column in request.columns}
    lacking = [name for name in wanted.values() if name not in types]
    if lacking:
        raise DataError(
            f"The file has no column {', '.join(map(repr, lacking))}.",
            where=where,
            mend="Deliver the column, or declare its name in the file as `source`.",
        )
    names = list(wanted.values())
    packed = ", ".join(f"{quote(name)} := {quote(name)}" for name in dict.fromkeys(names))
    fixed = (
        "SELECT file_row_number + 1 AS __row, file_row_number + 1 AS __line, CAST(NULL AS VARCHAR) AS __bad, "
        f"CAST(to_json(struct_pack({packed})) AS VARCHAR) AS __raw"
    )
    values = [Field(quote(name), types[name]) for name in names]
    return _typed(request, fixed, values, origin=origin, records=lambda: int(counted[0][0]))
