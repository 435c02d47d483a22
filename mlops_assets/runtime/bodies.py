"""CSV and JSON request bodies as tables under the signature's names; the model casts the values."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv

from mlops_assets.errors import SignatureError
from mlops_assets.runtime.casting import records_table
from mlops_assets.runtime.signature import Signature

MAX_ROWS = 1_000_000


class TooLargeError(SignatureError):
    """More rows, or more text once decoded, than one request may hold."""


def check_rows(rows: int) -> None:
    """Refuse no rows at all, and more than `MAX_ROWS` (a column of nulls costs a stranger nothing).

    Raises:
        SignatureError: for no rows.
        TooLargeError: for too many.
    """
    if rows == 0:
        raise SignatureError("The request holds no rows.", where="body", mend="Send at least one row.")
    if rows > MAX_ROWS:
        raise TooLargeError(
            f"{rows:,} rows are more than one request may hold.",
            where="body",
            mend=f"Send at most {MAX_ROWS:,} rows.",
        )


def _text(body: bytes) -> str:
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = body.count(b"\n", 0, error.start) + 1
        raise SignatureError(
            "The body is not UTF-8.", where=f"line {line}", mend="Encode it as UTF-8."
        ) from None


# --- CSV --------------------------------------------------------------------------------------------------


def read_csv(body: bytes, signature: Signature, *, header: str | None = None) -> tuple[pa.Table, bool]:
    """The table of a CSV body, every column text, and whether the body had a header.

    Without a header the values are taken in signature order.

    Args:
        body: UTF-8, with or without a byte order mark.
        signature: names and number of the columns.
        header: `present` or `absent` (RFC 4180's parameter); None: a first record that holds at least half of
            the features' names is a header, so that one misspelt name is reported as such.

    Raises:
        SignatureError: naming the row that is ragged, or the number of values expected.
    """
    names = first_record(_text(body))
    known = {*signature.names, *signature.aliases}
    width = len(signature.names)
    has_header = len(known.intersection(names)) * 2 >= width if header is None else header == "present"
    if not has_header:
        if len(names) != width:
            raise SignatureError(
                f"A row has {len(names)} values, but the model takes {width}.",
                where="row 1",
                mend=f"Send a header, or values in this order: {', '.join(signature.names)}.",
            )
        names = list(signature.names)
    ragged: list[pacsv.InvalidRow] = []
    try:
        table = pacsv.read_csv(pa.BufferReader(body), **csv_options(len(names), has_header, ragged))
    except pa.ArrowInvalid as error:
        raise csv_error(error, len(names), has_header, ragged) from None
    check_rows(table.num_rows)
    return table.rename_columns(names), has_header


def first_record(text: str) -> list[str]:
    """The cells of the first record that is not empty.

    Raises:
        SignatureError: where there is none, or its quotes never close.
    """
    try:
        records = csv.reader(io.StringIO(text, newline=""), strict=True)
        return next(record for record in records if record)
    except StopIteration:
        raise SignatureError("There are no rows.", where="body", mend="Send at least one row.") from None
    except csv.Error as error:
        raise SignatureError(
            f"The first record cannot be read ({error}).", where="row 1", mend="Write CSV as RFC 4180 says."
        ) from None


def csv_header(names: Sequence[str]) -> bytes:
    """A header line; pyarrow's own has quotes around every name."""
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(names)
    return line.getvalue().encode()


def csv_options(
    width: int,
    has_header: bool,
    ragged: list[pacsv.InvalidRow],
    *,
    delimiter: str = ",",
    block: int = 16 << 20,
) -> dict[str, Any]:
    """Options of pyarrow: cells as text, columns `0`, `1`, …; a row of another width goes to `ragged`.

    A record must be shorter than `block` bytes.
    """

    def note(row: pacsv.InvalidRow) -> str:
        ragged.append(row)
        return "error"

    names = [str(index) for index in range(width)]
    return {
        "parse_options": pacsv.ParseOptions(
            delimiter=delimiter,
            newlines_in_values=True,
            invalid_row_handler=note,
            ignore_empty_lines=width > 1,
        ),
        "convert_options": pacsv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()),
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=True,
        ),
        "read_options": pacsv.ReadOptions(
            use_threads=False, column_names=names, skip_rows_after_names=int(has_header), block_size=block
        ),
    }


def csv_error(
    error: pa.ArrowInvalid, width: int, has_header: bool, ragged: Sequence[pacsv.InvalidRow]
) -> SignatureError:
    """What pyarrow refused, with the row where it is known."""
    if "Empty CSV" in str(error):
        return SignatureError("There are no rows.", where="body", mend="Send at least one row.")
    mend = "Give every row the same number of values, quoted as RFC 4180 says, in UTF-8."
    if not ragged:
        return SignatureError("It cannot be read as CSV.", where="body", mend=mend)
    row = ragged[0]
    place = f"row {row.number - int(has_header)}" if row.number else "body"
    above = "the header" if has_header else "the first row"
    return SignatureError(
        f"A row has {row.actual_columns} values, but {above} has {width}.", where=place, mend=mend
    )


# --- JSON -------------------------------------------------------------------------------------------------


def parse_json(text: str, where: str) -> Any:
    """JSON as RFC 8259 has it: no NaN, no Infinity.

    Raises:
        SignatureError: with the position of the mistake.
    """
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        message = "it is nested too deeply"
    except ValueError as error:
        message = str(error)
    raise SignatureError(
        f"Not JSON: {message}.", where=where, mend="Send JSON as RFC 8259 has it; unknown is null."
    )


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is no number of JSON")


def read_json(body: bytes, signature: Signature) -> pa.Table:
    """The table of `{"instances": [...]}`, a list of rows, or `{"columns": [...], "data": [[...], ...]}`.

    A row is a record, a list in signature order, or, for a single feature, a bare value.

    Raises:
        SignatureError: naming row and column.
    """
    document = parse_json(_text(body), "body")
    names: Sequence[str] = signature.names
    rows = document
    if isinstance(document, dict):
        rows = document.get("instances", document.get("data"))
        names = document.get("columns", names) if "instances" not in document else names
    if not isinstance(rows, list) or not isinstance(names, list | tuple):
        raise SignatureError(
            "The body holds no list of rows.",
            where="body",
            mend='Send {"instances": [...]}, a list of records, or {"columns": [...], "data": [[...], ...]}.',
        )
    return rows_table(rows, signature, names)


def read_lines(body: bytes, signature: Signature) -> pa.Table:
    """The table of JSON lines: one row per line, as in `read_json`.

    Raises:
        SignatureError: naming the line, or row and column.
    """
    lines = enumerate(_text(body).split("\n"), start=1)
    rows = [parse_json(line, f"line {number}") for number, line in lines if line.strip()]
    return rows_table(rows, signature, signature.names)


def rows_table(rows: Sequence[Any], signature: Signature, names: Sequence[str]) -> pa.Table:
    """The table of JSON rows; `names` are the columns of rows that are lists.

    Raises:
        SignatureError: naming row and column.
    """
    check_rows(len(rows))
    if not all(isinstance(name, str) for name in names) or len(set(names)) != len(names):
        raise SignatureError(
            "Columns must be names, each there once.", where="columns", mend="Name each column once."
        )
    return records_table([_record(row, names, index) for index, row in enumerate(rows)], signature)


def _record(row: Any, names: Sequence[str], index: int) -> dict[str, Any]:
    if isinstance(row, dict):
        return row
    cells = [row] if len(names) == 1 and not isinstance(row, list) else row
    if not isinstance(cells, list) or len(cells) != len(names):
        found = f"{len(cells)} values" if isinstance(cells, list) else "no record and no list"
        raise SignatureError(
            f"There {'are' if isinstance(cells, list) else 'is'} {found}, but {len(names)} columns.",
            where=f"row {index + 1}",
            mend=f"Send a record, or values in this order: {', '.join(map(str, names))}.",
        )
    return dict(zip(names, cells, strict=True))
