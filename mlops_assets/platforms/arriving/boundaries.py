"""Where records begin and end in a block of bytes: by arrays where quotes are in place, else one by one."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LIMIT = 1 << 20
_QUOTE, _NEWLINE, _RETURN = 34, 10, 13
MISPLACED = "a quote or carriage return out of place"


@dataclass(frozen=True)
class Grammar:
    """How records are delimited.

    Attributes:
        delimiter: one ASCII character, or None where a line is a record whatever it holds.
        width: fields in each record, where they are delimited.
    """

    delimiter: str | None
    width: int = 1

    @cached_property
    def field(self) -> re.Pattern[bytes]:
        """One well-formed field. Quantifiers are possessive: a mismatch is found in one pass."""
        stop = re.escape(self.delimiter or ",").encode()
        return re.compile(rb'(?:"(?:[^"]++|"")*+"|[^"' + stop + rb"\r\n][^" + stop + rb"\r\n]*+|)")

    @cached_property
    def record(self) -> re.Pattern[bytes]:
        """One well-formed record with its line end."""
        stop = re.escape(self.delimiter or ",").encode()
        return re.compile(self.field.pattern + rb"(?:" + stop + self.field.pattern + rb")*+\r?\n")


@dataclass(frozen=True)
class Boundaries:
    """Consecutive records from offset 0 on, blank lines included.

    Attributes:
        starts, ends: offsets of each record; its line end is part of it.
        newlines: offset of every line feed, those inside quotes included.
        used: offset behind the last record.
        widths: fields in each record; -1 where nobody counted because `reasons` rejects it.
        reasons: index of a rejected record -> why.
    """

    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    newlines: NDArray[np.int64]
    used: int
    widths: NDArray[np.int64]
    reasons: dict[int, str] = field(default_factory=dict)

    @cached_property
    def is_a_line_each(self) -> bool:
        """Whether no record holds a line feed but that at its end."""
        upto = self.newlines[: self.ends.size]
        return upto.size == self.ends.size and bool((upto == self.ends - 1).all())


def quick(data: bytes, grammar: Grammar) -> Boundaries | None:
    """Boundaries by the parity of quotes; None where a quote or a carriage return is out of place."""
    import numpy as np

    letters = np.frombuffer(data, np.uint8)
    newlines = np.flatnonzero(letters == _NEWLINE)
    quoted = grammar.delimiter is not None and b'"' in data
    quotes = np.flatnonzero(letters == _QUOTE) if quoted else np.empty(0, np.int64)
    outside = newlines[(np.searchsorted(quotes, newlines) & 1) == 0] if quoted else newlines
    ends = outside + 1
    used = int(ends[-1]) if ends.size else 0
    quotes = quotes[: np.searchsorted(quotes, used)]
    starts = np.concatenate([np.zeros(min(1, ends.size), np.int64), ends[:-1]])
    if grammar.delimiter is None:
        return Boundaries(starts, ends, newlines, used, np.ones_like(ends), _overlong(starts, ends))
    stop = ord(grammar.delimiter)
    if _overlong(starts, ends) or not (
        _structural(letters, quotes, stop) and _returns(letters, quotes, used)
    ):
        return None
    stops = np.flatnonzero(letters[:used] == stop)
    if quoted:
        stops = stops[(np.searchsorted(quotes, stops) & 1) == 0]
    return Boundaries(starts, ends, newlines, used, _widths(stops, starts, ends, grammar.width))


def _widths(
    stops: NDArray[np.int64], starts: NDArray[np.int64], ends: NDArray[np.int64], width: int
) -> NDArray[np.int64]:
    """Fields in each record. Where all have `width`, that is seen in their first and last delimiter."""
    import numpy as np

    gaps = width - 1
    if gaps and stops.size == ends.size * gaps:
        of_record = stops.reshape(ends.size, gaps)
        if ((of_record[:, 0] >= starts) & (of_record[:, -1] < ends)).all():
            return np.full(ends.size, width)
    return np.diff(np.searchsorted(stops, ends), prepend=0) + 1


def too_long() -> str:
    """The reason of a record beyond the limit."""
    return f"record longer than {LIMIT >> 20} MiB"


def _overlong(starts: NDArray[np.int64], ends: NDArray[np.int64]) -> dict[int, str]:
    import numpy as np

    return {int(at): too_long() for at in np.flatnonzero(ends - starts > LIMIT)}


def _structural(letters: NDArray[np.uint8], quotes: NDArray[np.int64], stop: int) -> bool:
    """Opening quotes follow a delimiter or line feed, closing ones precede one; or they are doubled."""
    import numpy as np

    if not quotes.size:
        return True
    opening, closing = quotes[0::2], quotes[1::2]
    before = letters[np.maximum(opening - 1, 0)]
    opens = (opening == 0) | (before == stop) | (before == _NEWLINE)
    opens[1:] |= opening[1:] == closing[: opening.size - 1] + 1
    after = letters[closing + 1]  # a line feed lies behind the last quote
    closes = (after == stop) | (after == _NEWLINE) | (after == _RETURN)
    closes[: opening.size - 1] |= closing[: opening.size - 1] + 1 == opening[1:]
    return bool(opens.all() and closes.all())


def _returns(letters: NDArray[np.uint8], quotes: NDArray[np.int64], used: int) -> bool:
    """Every carriage return outside quotes is followed by a line feed."""
    import numpy as np

    returns = np.flatnonzero(letters[:used] == _RETURN)
    bare = returns[letters[np.minimum(returns + 1, used - 1)] != _NEWLINE]
    return bool(((np.searchsorted(quotes, bare) & 1) == 1).all())


def careful(data: bytes, grammar: Grammar, *, final: bool) -> Boundaries:
    """Boundaries record by record.

    Where no well-formed record begins, that physical line is rejected alone and reading goes on with the next
    one: a quote that is never closed costs its own line, not the rest of the file.
    """
    import numpy as np

    starts: list[int] = []
    widths: list[int] = []
    reasons: dict[int, str] = {}
    at = 0
    while at < len(data):
        match = grammar.record.match(data, at, at + LIMIT)
        if match is not None:
            widths.append(_width(data, at, match.end(), grammar))
            end = match.end()
        else:
            line = data.find(b"\n", at) + 1
            if not line or (not final and len(data) - at <= LIMIT):
                break  # more bytes may complete it
            reasons[len(starts)] = too_long() if line - at > LIMIT else MISPLACED
            widths.append(-1)
            end = line
        starts.append(at)
        at = end
    ends = np.array([*starts[1:], at] if starts else [], np.int64)
    newlines = np.flatnonzero(np.frombuffer(data, np.uint8) == _NEWLINE)
    return Boundaries(np.array(starts, np.int64), ends, newlines, at, np.array(widths, np.int64), reasons)


def _width(data: bytes, start: int, end: int, grammar: Grammar) -> int:
    stop = (grammar.delimiter or ",").encode()
    if data.find(b'"', start, end) < 0:
        return data.count(stop, start, end) + 1
    width = 0
    while True:
        match = grammar.field.match(data, start, end)
        width += 1
        assert match is not None  # the expression of a field matches the empty one
        if data[match.end() : match.end() + 1] != stop:
            return width
        start = match.end() + 1


def unreadable(data: bytes, found: Boundaries, grammar: Grammar) -> dict[int, str]:
    """Index -> reason of records with another number of fields, a NUL byte, or bytes that are not UTF-8."""
    import numpy as np

    reasons: dict[int, str] = {}
    if grammar.delimiter is not None:
        wrong = np.flatnonzero((found.widths != grammar.width) & (found.widths > 0))
        for at in wrong:
            content = data[found.starts[at] : found.ends[at]]
            if content.rstrip(b"\r\n"):
                reasons[int(at)] = f"{found.widths[at]} field(s) instead of {grammar.width}"
    used = data[: found.used]
    if b"\x00" in used:
        nul = np.flatnonzero(np.frombuffer(used, np.uint8) == 0)
        reasons.update(dict.fromkeys(map(int, np.unique(_index(found, nul))), "a NUL byte"))
    if not used.isascii():
        reasons.update(_not_utf8(used, found))
    return reasons


def _not_utf8(used: bytes, found: Boundaries) -> dict[int, str]:
    reasons: dict[int, str] = {}
    at, view = 0, memoryview(used)
    while at < len(used):
        try:
            str(view[at:], "utf-8")
            break
        except UnicodeDecodeError as error:
            index = int(_index(found, error.start + at))
            reasons[index] = "not UTF-8"
            at = int(found.ends[index])
    return reasons


def _index(found: Boundaries, offsets: NDArray[np.int64] | int) -> NDArray[np.int64]:
    """Index of the record that each offset lies in."""
    import numpy as np

    return np.searchsorted(found.ends, offsets, side="right")
