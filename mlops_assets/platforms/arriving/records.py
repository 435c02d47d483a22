"""Bytes of a text file into records: where each begins, on which line, and which ones are no record at all.

The bytes are taken in blocks and looked at as arrays, so a million lines cost no Python loop. Only where
quotes stand where RFC 4180 has none does a block go through a regular expression, record by record.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO

from mlops_assets.platforms.arriving.boundaries import (
    LIMIT,
    Boundaries,
    Grammar,
    careful,
    quick,
    too_long,
    unreadable,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BLOCK = 4 << 20
_RAW = 64 << 10


@dataclass(frozen=True)
class Rejected:
    """Bytes that are no record of the declared shape, kept as they are (at most 64 KiB of them)."""

    row: int
    line: int
    reason: str
    raw: bytes


@dataclass(frozen=True)
class Block:
    """Consecutive records of one stretch of the file.

    Attributes:
        data: the bytes of the good records, one after the other, each with its line end.
        ends: offset in `data` behind each record.
        rows, lines: number of each among all records, and the physical line it begins on, both from 1.
        rejected: the others.
        many_lines: whether a record may span several lines.
    """

    data: bytes
    ends: NDArray[np.int64]
    rows: NDArray[np.int64]
    lines: NDArray[np.int64]
    rejected: list[Rejected] = field(default_factory=list)
    many_lines: bool = False


class RecordReader:
    """Reads the records of one file once.

    Attributes:
        records: records seen so far, good and rejected; blank lines are none.
    """

    def __init__(self, file: BinaryIO, grammar: Grammar, *, line: int = 1) -> None:
        """Read `file` from where it stands, which is the beginning of physical line `line`."""
        self._file = file
        self.grammar = grammar
        self._line = line
        self.records = 0

    def __iter__(self) -> Iterator[Block]:
        rest, final = b"", False
        while not final:
            chunk = self._file.read(BLOCK)
            final = not chunk
            if final and rest and not rest.endswith(b"\n"):
                rest += b"\n"
            data = rest + chunk
            block, used = self._block(data, final)
            rest = data[used:]
            if block is not None:
                yield block
            if len(rest) > LIMIT and b"\n" not in rest:
                yield self._overlong(rest)
                rest = b""

    def _block(self, data: bytes, final: bool) -> tuple[Block | None, int]:
        """The records that are complete in `data`, and how many bytes they take."""
        import numpy as np

        if not data:
            return None, 0
        found = quick(data, self.grammar)
        if found is None or len(data) - found.used > LIMIT or (final and found.used < len(data)):
            found = careful(data, self.grammar, final=final)
        reasons = unreadable(data, found, self.grammar) | found.reasons
        length = found.ends - found.starts
        blank = (length == 1) | ((length == 2) & (np.frombuffer(data, np.uint8)[found.starts] == 13))
        blank[list(reasons)] = False
        return self._number(data, found, blank, reasons), found.used

    def _number(
        self, data: bytes, found: Boundaries, blank: NDArray[np.bool_], reasons: dict[int, str]
    ) -> Block:
        """Give records their numbers and lines, and set the rejected ones apart."""
        import numpy as np

        rows = self.records + np.cumsum(~blank)
        self.records = int(rows[-1]) if rows.size else self.records
        before = (
            np.arange(found.ends.size)
            if found.is_a_line_each
            else np.searchsorted(found.newlines, found.starts)
        )
        lines = self._line + before
        self._line += int(np.searchsorted(found.newlines, found.used))
        keep = ~blank
        keep[list(reasons)] = False
        rejected = [
            Rejected(int(rows[at]), int(lines[at]), reason, data[found.starts[at] : found.ends[at]][:_RAW])
            for at, reason in sorted(reasons.items())
        ]
        length = found.ends - found.starts
        good = data[: found.used]
        if not keep.all():
            mask = np.repeat(keep, length)
            good = np.frombuffer(good, np.uint8)[mask].tobytes()
        many_lines = not found.is_a_line_each
        return Block(good, np.cumsum(length[keep]), rows[keep], lines[keep], rejected, many_lines)

    def _overlong(self, start: bytes) -> Block:
        """Leave out a line that is longer than any block, without ever holding it."""
        import numpy as np

        self.records += 1
        none = np.empty(0, np.int64)
        rejected = Rejected(self.records, self._line, too_long(), start[:_RAW])
        while tail := self._file.readline(BLOCK):
            if tail.endswith(b"\n"):
                break
        self._line += 1
        return Block(b"", none, none, none, [rejected])
