"""Delimited text before anything is parsed: its encoding, its delimiter, its header line."""

from __future__ import annotations

import codecs
import csv
import io
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from mlops_assets.errors import DataError

_DELIMITERS = ",;\t|"
_PIECE = 1 << 20
_SAMPLE = 1 << 18


@dataclass(frozen=True)
class Dialect:
    """How a delimited file is written: a delimiter, double quotes, a header of names without outer spaces."""

    delimiter: str
    header: tuple[str, ...]


def dialect_of(path: Path) -> Dialect:
    """Read the delimiter and the header of a UTF-8 file, after checking that all of it is UTF-8 text.

    Raises:
        DataError: for an empty file, another encoding (naming the line), no header, or unreadable lines.
    """
    check_utf8(path)
    with path.open("rb") as file:
        sample = file.read(_SAMPLE)
    whole = len(sample) < _SAMPLE
    text = sample.decode("utf-8-sig", errors="ignore")
    if not whole:
        text = text[: text.rfind("\n") + 1] or text
    if not text.strip():
        raise DataError(
            "The file is empty.", where=str(path), mend="Give a file with a header line and rows."
        )
    delimiter = max(_DELIMITERS, key=lambda candidate: _agreement(text, candidate))
    try:
        header = next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    except csv.Error as error:
        raise DataError(
            f"The header cannot be read: {error}.", where=f"{path}, line 1", mend="Close every quote."
        ) from None
    _check_header(path, header)
    return Dialect(delimiter, tuple(name.strip() for name in header))


def check_utf8(path: Path) -> None:
    """Raise DataError where `path` is not UTF-8 text, naming the first line that is not. Flat memory."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    line = 1
    with path.open("rb") as file:
        while True:
            piece = file.read(_PIECE)
            if line == 1 and piece[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
                raise _not_text(path, 1, "is UTF-16", "UTF-16")
            if b"\x00" in piece:
                line += piece[: piece.index(b"\x00")].count(b"\n")
                raise _not_text(path, line, "holds a NUL byte, so it is not plain text", "UTF-16")
            try:
                decoder.decode(piece, final=not piece)
            except UnicodeDecodeError as error:
                line += error.object[: error.start].count(b"\n")
                raise _not_text(path, line, "is not UTF-8", "WINDOWS-1252") from None
            if not piece:
                return
            line += piece.count(b"\n")


def _not_text(path: Path, line: int, what: str, guess: str) -> DataError:
    return DataError(
        f"The file {what}.",
        where=f"{path}, line {line}",
        mend=f"Convert it, for example: iconv -f {guess} -t UTF-8 '{path.name}' > 'utf8-{path.name}'",
    )


def _agreement(text: str, delimiter: str) -> tuple[float, int]:
    """How well the delimiter explains the text: share of records as wide as the header, then the width."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        widths = [len(record) for record in reader if record][:2_000]
    except csv.Error:
        return (0.0, 0)
    if not widths or widths[0] < 2:
        return (0.0, 0)
    return (Counter(widths)[widths[0]] / len(widths), widths[0])


def _check_header(path: Path, header: list[str]) -> None:
    numbers = [name for name in header if _is_number(name)]
    if len(numbers) * 2 >= len(header) and numbers:
        raise DataError(
            f"The first line holds values, not names: {', '.join(numbers[:3])}.",
            where=f"{path}, line 1",
            mend="Add a line with the columns' names on top.",
        )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
