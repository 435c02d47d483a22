"""Arriving CSV and JSON lines as Arrow batches of text: one row per record, rejected ones with the reason."""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, BinaryIO

from mlops_assets.errors import DataError
from mlops_assets.platforms.arriving.boundaries import LIMIT, Grammar
from mlops_assets.platforms.arriving.fields import FieldParser, arrow_type
from mlops_assets.platforms.arriving.records import Block, RecordReader, Rejected

if TYPE_CHECKING:
    import pyarrow as pa

_OTHER_ENCODINGS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)
_UTF8 = "Save it as UTF-8."


class TextSource:
    """One pass over an arriving text file.

    Batches have `__row`, `__line` (record and physical line where it begins, from 1), `__raw` (its text),
    `__bad` (why it is no record, else NULL) and `__field_<i>`: the i-th wanted column of a CSV file.
    """

    def __init__(
        self,
        file: BinaryIO,
        name: str,
        delimiter: str | None,
        wanted: Sequence[tuple[str, str]],
        null_values: Sequence[str] = (),
    ) -> None:
        """Read the header, where the file has one.

        Args:
            file: at its beginning; read once, by `streams`.
            name: how messages call the file.
            delimiter: one ASCII character for CSV, None for JSON lines.
            wanted: columns that must be in the header: names in the file, with logical types.
            null_values: texts of a missing value.

        Raises:
            DataError: for an empty file, another encoding, a missing or repeated column, a missing header.
        """
        if delimiter is not None and (not delimiter.isascii() or delimiter in '"\r\n'):
            raise DataError(
                f"{delimiter!r} cannot delimit fields.", where=name, mend="Use an ASCII character."
            )
        self._file = file
        line, header = _begin(file, name, delimiter)
        self._parser: FieldParser | None = None
        if delimiter is not None:
            positions = _positions(header, [column for column, _ in wanted], name)
            fields = [(at, kind) for at, (_, kind) in zip(positions, wanted, strict=True)]
            self._parser = FieldParser(delimiter, len(header), fields, null_values)
        self.reader = RecordReader(file, Grammar(delimiter, len(header)), line=line)

    def streams(self) -> Iterator[tuple[list[str], pa.RecordBatchReader]]:
        """Everything after the header, once, in streams to be read one after the other.

        A stream comes with the logical type that each wanted column has in it: its own, or `string` where the
        rest of the file has to be judged as text.
        """
        import pyarrow as pa

        with self._file:
            for types, batches in groupby(self._batches(), key=itemgetter(0)):
                stream = (batch for _, batch in batches)
                yield list(types), pa.RecordBatchReader.from_batches(_schema(types), stream)

    def _batches(self) -> Iterator[tuple[tuple[str, ...], pa.RecordBatch]]:
        first = True
        for block in self.reader:
            if len(block.rows):
                fields = self._fields(block)
                types = tuple(self._parser.types) if self._parser else ()
                for batch in _good(block, fields, types):
                    yield types, batch
                first = False
            if block.rejected or first:
                types = tuple(self._parser.types) if self._parser else ()
                yield types, _bad(block.rejected, types)
                first = False

    def _fields(self, block: Block) -> list[pa.ChunkedArray]:
        """The wanted columns of good records."""
        if self._parser is None:
            return []
        count = len(block.rows)
        fields = self._parser.parse(block.data, many_lines=block.many_lines, longest=LIMIT)
        if fields and len(fields[0]) != count:
            raise DataError(
                f"Records {block.rows[0]} to {block.rows[-1]} are read as {len(fields[0])} records.",
                mend="Quote fields as RFC 4180 says.",
            )
        return fields


def _schema(types: Sequence[str]) -> pa.Schema:
    import pyarrow as pa

    fixed = [("__row", pa.int64()), ("__line", pa.int64()), ("__raw", pa.string()), ("__bad", pa.string())]
    return pa.schema([*fixed, *((f"__field_{i}", arrow_type(kind)) for i, kind in enumerate(types))])


def _good(block: Block, fields: Sequence[pa.ChunkedArray], types: Sequence[str]) -> list[pa.RecordBatch]:
    import numpy as np
    import pyarrow as pa

    count = len(block.rows)
    offsets = np.concatenate([[0], block.ends]).astype(np.int32)
    raw = pa.StringArray.from_buffers(count, pa.py_buffer(offsets), pa.py_buffer(block.data))
    columns = [pa.array(block.rows), pa.array(block.lines), raw, pa.nulls(count, pa.string()), *fields]
    return pa.Table.from_arrays(columns, schema=_schema(types)).to_batches()


def _bad(rejected: Sequence[Rejected], types: Sequence[str]) -> pa.RecordBatch:
    import pyarrow as pa

    values: Mapping[str, list[object]] = {
        "__row": [item.row for item in rejected],
        "__line": [item.line for item in rejected],
        "__raw": [item.raw.decode(errors="backslashreplace").replace("\x00", "\\x00") for item in rejected],
        "__bad": [item.reason for item in rejected],
    }
    schema = _schema(types)
    arrays = [
        pa.array(values[field.name], field.type)
        if field.name in values
        else pa.nulls(len(rejected), field.type)
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _begin(file: BinaryIO, name: str, delimiter: str | None) -> tuple[int, list[str]]:
    """Leave `file` behind its header: the line reading goes on at, and the header's names."""
    start = file.read(2 * LIMIT)
    if not start.strip():
        raise DataError("The file is empty.", where=name, mend="Deliver it again, with a header at least.")
    if start.startswith(_OTHER_ENCODINGS):
        raise DataError("The file is UTF-16 or UTF-32.", where=name, mend=_UTF8)
    at = len(codecs.BOM_UTF8) if start.startswith(codecs.BOM_UTF8) else 0
    if delimiter is None:
        if start[at:].lstrip().startswith(b"["):
            raise DataError("The file is one JSON array.", where=name, mend="Write one JSON object per line.")
        file.seek(at)
        return 1, []
    at += len(start[at:]) - len(start[at:].lstrip(b"\r\n"))
    if b"\n" not in start and b"\r" in start[at:].rstrip(b"\r"):
        raise DataError("Lines end in a carriage return alone.", where=name, mend="End lines in LF or CRLF.")
    text = start if b"\n" in start[at:] or len(start) == 2 * LIMIT else start + b"\n"
    match = Grammar(delimiter).record.match(text, at)
    if match is None:
        raise DataError("The header cannot be read.", where=name, mend="Check its quotes and its line end.")
    file.seek(min(match.end(), len(start)))
    try:
        header = next(csv.reader([match[0].decode()], delimiter=delimiter, strict=True))
    except UnicodeDecodeError:
        raise DataError("The header is not UTF-8.", where=name, mend=_UTF8) from None
    return text.count(b"\n", 0, match.end()) + 1, [column.strip() for column in header]


def _positions(header: Sequence[str], wanted: Sequence[str], name: str) -> list[int]:
    lacking = [column for column in wanted if column not in header]
    if lacking and len(lacking) == len(wanted):
        raise DataError(
            f"The file seems to have no header: its first line names none of the declared columns "
            f"({', '.join(wanted)}).",
            where=name,
            mend="Add a header line, check the delimiter, or declare each column's `source`.",
        )
    if lacking:
        raise DataError(
            f"The file has no column {', '.join(map(repr, lacking))}.",
            where=name,
            mend="Deliver the column, or declare its name in the file as `source`.",
        )
    repeated = sorted({column for column in wanted if header.count(column) > 1})
    if repeated:
        raise DataError(
            f"The header names {', '.join(map(repr, repeated))} more than once.",
            where=name,
            mend="Rename all but one of them.",
        )
    return [header.index(column) for column in wanted]
