"""CSV, Parquet and JSON lines files read and written batch by batch, no file ever whole in memory."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, Protocol

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from mlops_assets.errors import DataError, SignatureError
from mlops_assets.runtime.bodies import csv_error, csv_header, csv_options, parse_json
from mlops_assets.runtime.parquet_file import open_parquet
from mlops_assets.runtime.wire import json_records

Format = Literal["csv", "parquet", "jsonl"]
_SUFFIXES: dict[str, Format] = {".csv": "csv", ".parquet": "parquet", ".jsonl": "jsonl", ".ndjson": "jsonl"}
_MAX_LINE = 64 << 20
# pyarrow reads 32 blocks ahead: this times 32 is the memory of reading CSV, and one record may be this long.
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Batch:
    """Some rows of a file.

    Attributes:
        table: every column of the file.
        records: the same rows as the JSON they were, where they were.
    """

    table: pa.Table
    records: list[dict[str, Any]] | None = None


def format_of(path: Path) -> Format:
    """The format that the suffix names; DataError for another suffix."""
    try:
        return _SUFFIXES[path.suffix.lower()]
    except KeyError:
        raise DataError(
            f"{path.suffix or 'No suffix'} is no format of tables here.",
            where=str(path),
            mend=f"Use one of {', '.join(_SUFFIXES)}.",
        ) from None


def read_batches(
    path: Path, kind: Format, rows: int, *, typed: bool, delimiter: str = ","
) -> Iterator[Batch]:
    """The file's rows in order, at least one batch (of no rows, for a file with columns alone).

    Args:
        path: the file.
        kind: its format.
        rows: rows per batch, at most.
        typed: for JSON lines: give every batch the same columns and types, which takes one more reading.
        delimiter: of CSV; a header without it is read as commas part it.

    Raises:
        DataError: naming file and row where it cannot be read.
    """
    try:
        if kind == "csv":
            yield from _csv_batches(path, rows, delimiter)
        elif kind == "parquet":
            yield from _parquet_batches(path, rows)
        else:
            yield from _line_batches(path, rows, _line_schema(path) if typed else None)
    except FileNotFoundError:
        raise DataError("There is no such file.", where=str(path), mend="Check the path.") from None


def _csv_batches(path: Path, rows: int, delimiter: str) -> Iterator[Batch]:
    names = _csv_header(path, delimiter)
    if len(names) == 1:
        delimiter = ","
        names = _csv_header(path, delimiter)
    ragged: list[pacsv.InvalidRow] = []
    options = csv_options(len(names), True, ragged, delimiter=delimiter, block=_BLOCK)
    empty = True
    try:
        with pacsv.open_csv(path, **options) as reader:
            for block in reader:
                table = pa.Table.from_batches([block]).rename_columns(names)
                for start in range(0, table.num_rows, rows):
                    empty = False
                    yield Batch(table.slice(start, rows))
    except pa.ArrowInvalid as error:
        if "Empty CSV" not in str(error):
            found = csv_error(error, len(names), True, ragged)
            where = f"{path}, {found.where}" if ragged else str(path)
            raise DataError(found.what, where=where, mend=found.mend) from None
    if empty:
        yield Batch(pa.table({name: pa.array([], pa.string()) for name in names}))


def _csv_header(path: Path, delimiter: str) -> list[str]:
    mend = "Give the file a header: the names of its columns, each once."
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            names = next(
                (record for record in csv.reader(file, strict=True, delimiter=delimiter) if record), []
            )
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"Its header cannot be read ({error}).", where=f"{path}, line 1", mend=mend) from None
    if not names or len(set(names)) != len(names):
        what = "It is empty." if not names else "Its header names a column twice."
        raise DataError(what, where=f"{path}, line 1", mend=mend)
    return names


def _parquet_batches(path: Path, rows: int) -> Iterator[Batch]:
    try:
        with open_parquet(path) as file:
            yield Batch(file.schema_arrow.empty_table())
            for batch in file.iter_batches(batch_size=rows):
                yield Batch(pa.Table.from_batches([batch]))
    except pa.ArrowException as error:
        raise DataError(f"It is no readable Parquet ({str(error)[:200]}).", where=str(path)) from None


# --- JSON lines -------------------------------------------------------------------------------------------


def _line_batches(path: Path, rows: int, schema: pa.Schema | None) -> Iterator[Batch]:
    records: list[dict[str, Any]] = []
    empty = True
    for _, record in _lines(path):
        records.append(record)
        if len(records) == rows:
            empty = False
            yield _line_batch(records, schema)
            records = []
    if records or empty:
        yield _line_batch(records, schema)


def _line_batch(records: list[dict[str, Any]], schema: pa.Schema | None) -> Batch:
    names = (
        schema.names if schema is not None else list(dict.fromkeys(name for row in records for name in row))
    )
    columns: list[pa.Array] = []
    for name in names:
        kind = (
            schema.field(name).type
            if schema is not None
            else _kind({_shape(row.get(name)) for row in records})
        )
        cells = [row.get(name) for row in records]
        if pa.types.is_string(kind):
            cells = [cell if cell is None or isinstance(cell, str) else json.dumps(cell) for cell in cells]
        columns.append(pa.array(cells, kind))
    return Batch(pa.table(columns, names=names), records)


def _line_schema(path: Path) -> pa.Schema:
    """Columns and types of the whole file; a column of several kinds, or nested, is JSON text."""
    kinds: dict[str, set[str]] = {}
    for _, record in _lines(path):
        for name, value in record.items():
            kinds.setdefault(name, set()).add(_shape(value))
    return pa.schema([(name, _kind(found)) for name, found in kinds.items()])


def _shape(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 1 << 63:
        return "big"
    return type(value).__name__


def _kind(shapes: set[str]) -> pa.DataType:
    shapes = shapes - {"NoneType"}
    if shapes and shapes <= {"int", "float"}:
        return pa.float64() if "float" in shapes else pa.int64()
    return pa.bool_() if shapes == {"bool"} else pa.string()


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with path.open("rb") as file:
        number = 0
        while line := file.readline(_MAX_LINE):
            number += 1
            if line.strip():
                yield number, _line(line, f"{path}, line {number}")


def _line(line: bytes, where: str) -> dict[str, Any]:
    try:
        record = parse_json(line.decode("utf-8-sig"), where)
    except UnicodeDecodeError:
        raise DataError("It is not UTF-8.", where=where, mend="Encode the file as UTF-8.") from None
    except SignatureError as error:
        raise DataError(error.what, where=where, mend=error.mend) from None
    if not isinstance(record, dict):
        raise DataError("It is no record.", where=where, mend='Write one {"column": value, ...} per line.')
    return record


# --- writing ----------------------------------------------------------------------------------------------


class Writer(Protocol):
    """Writes batches with their answers."""

    def write(self, batch: Batch, answers: pa.Table) -> None:
        """Append the rows of `batch`, the columns of `answers` beside them."""
        ...


@contextmanager
def open_writer(path: Path, kind: Format) -> Iterator[Writer]:
    """A writer of that format to `path`."""
    if kind == "jsonl":
        with path.open("w", encoding="utf-8") as file:
            yield _LineWriter(file)
        return
    with path.open("wb") as sink:
        writer = _TableWriter(sink, kind)
        try:
            yield writer
        finally:
            writer.close()


class _TableWriter:
    """CSV or Parquet; the first batch gives the columns."""

    def __init__(self, sink: IO[bytes], kind: Format) -> None:
        self._sink = sink
        self._kind = kind
        self._writer: pacsv.CSVWriter | pq.ParquetWriter | None = None

    def write(self, batch: Batch, answers: pa.Table) -> None:
        table = pa.table(
            [*batch.table.columns, *answers.columns],
            names=[*batch.table.column_names, *answers.column_names],
        )
        try:
            if self._writer is None:
                self._writer = self._open(table.schema)
            self._writer.write_table(table)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
            raise DataError(
                f"Its columns cannot be written as {self._kind} ({str(error)[:200]}).",
                where="output",
                mend="Write Parquet or JSON lines.",
            ) from None

    def _open(self, schema: pa.Schema) -> pacsv.CSVWriter | pq.ParquetWriter:
        if self._kind == "parquet":
            return pq.ParquetWriter(self._sink, schema)
        self._sink.write(csv_header(schema.names))
        options = pacsv.WriteOptions(include_header=False, quoting_style="needed")
        return pacsv.CSVWriter(self._sink, schema, write_options=options)

    def close(self) -> None:
        """Write the end."""
        if self._writer is not None:
            self._writer.close()


class _LineWriter:
    """JSON lines; rows that came as JSON keep their values as they were."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def write(self, batch: Batch, answers: pa.Table) -> None:
        records = batch.records if batch.records is not None else json_records(batch.table)
        for record, answer in zip(records, json_records(answers), strict=True):
            line = json.dumps({**record, **answer}, allow_nan=False, ensure_ascii=False, default=str)
            self._file.write(line + "\n")
