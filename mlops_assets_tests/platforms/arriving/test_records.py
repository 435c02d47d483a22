"""Bytes into records: nothing is lost, whatever the bytes and wherever the blocks end."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_assets.platforms.arriving import boundaries, records
from mlops_assets.platforms.arriving.boundaries import Grammar
from mlops_assets.platforms.arriving.records import RecordReader

PIECES = st.sampled_from(
    [
        b"a",
        b"7",
        b",",
        b",",
        b'"',
        b'"',
        b'""',
        b"\n",
        b"\n",
        b"\r\n",
        b"\r",
        b"\x00",
        b"\xff",
        "é😀".encode(),
        b" ",
        b";",
    ]
)
DIRTY = st.lists(PIECES, max_size=60).map(b"".join)
FIELD = st.text(st.sampled_from('ab ,;"\n\r\té1'), max_size=8)
TABLES = st.integers(2, 4).flatmap(
    lambda width: st.lists(st.lists(FIELD, min_size=width, max_size=width), max_size=12)
)


@dataclass(frozen=True)
class Read:
    """What one pass found: (row, line, reason or None, bytes) of each record."""

    found: list[tuple[int, int, str | None, bytes]]
    records: int


def read(data: bytes, width: int = 2, delimiter: str | None = ",") -> Read:
    """One pass over `data`."""
    reader = RecordReader(io.BytesIO(data), Grammar(delimiter, width))
    found: list[tuple[int, int, str | None, bytes]] = []
    for block in reader:
        start = 0
        for row, line, end in zip(block.rows, block.lines, block.ends, strict=True):
            found.append((int(row), int(line), None, block.data[start:end]))
            start = int(end)
        assert start == len(block.data)
        found += [(item.row, item.line, item.reason, item.raw) for item in block.rejected]
    return Read(sorted(found), reader.records)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks so small that every example spans several."""
    monkeypatch.setattr(records, "BLOCK", 5)


def after_blank_lines(data: bytes, at: int) -> int:
    """The first offset from `at` on that no blank line begins at."""
    while data.startswith((b"\n", b"\r\n"), at):
        at = data.index(b"\n", at) + 1
    return at


def is_covered(data: bytes, found: Read) -> bool:
    """The records' bytes, in order, are the file's but for blank lines; the last line may lack its end."""
    at = 0
    for _, _, _, raw in found.found:
        at = after_blank_lines(data, at)
        if not (data + b"\n").startswith(raw, at):
            return False
        at += len(raw)
    return data[after_blank_lines(data, at) :] in (b"", b"\r")


@settings(max_examples=400, deadline=None)
@given(DIRTY)
def test_no_byte_is_lost_and_every_record_has_its_number(data: bytes) -> None:
    found = read(data)
    assert is_covered(data, found)
    assert [row for row, *_ in found.found] == list(range(1, found.records + 1))


@settings(max_examples=400, deadline=None)
@given(DIRTY)
def test_the_line_is_where_the_record_begins(data: bytes) -> None:
    lines = data.split(b"\n")
    for _, line, _, raw in read(data).found:
        assert lines[line - 1].startswith(raw.split(b"\n")[0])


@pytest.mark.parametrize("limit", [12, 1 << 20])
def test_where_blocks_end_makes_no_difference(limit: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(boundaries, "LIMIT", limit)
        patch.setattr(records, "LIMIT", limit)

        @settings(max_examples=300, deadline=None)
        @given(DIRTY)
        def check(data: bytes) -> None:
            found = []
            for block in (1, 5, 64, 1 << 20):
                patch.setattr(records, "BLOCK", block)
                one = read(data)
                # Of a line beyond the limit only the beginning is kept; the block decides how much.
                found.append(
                    [(row, line, why, raw if len(raw) <= limit else b"") for row, line, why, raw in one.found]
                )
            short = [[item[:3] for item in one] for one in found]
            assert all(one == short[0] for one in short)
            if limit > 1000:
                assert all(one == found[0] for one in found)

        check()


def test_a_field_too_many_does_not_make_up_for_one_too_few() -> None:
    assert [(row, why) for row, _, why, _ in read(b"1,2,3\n4\n5,6\n").found] == [
        (1, "3 field(s) instead of 2"),
        (2, "1 field(s) instead of 2"),
        (3, None),
    ]


@settings(max_examples=300, deadline=None)
@given(TABLES, st.sampled_from(["\n", "\r\n"]))
def test_well_formed_files_are_read_as_the_csv_module_reads_them(table: list[list[str]], end: str) -> None:
    out = io.StringIO(newline="")
    quoting = csv.QUOTE_MINIMAL if end == "\r\n" else csv.QUOTE_ALL  # with LF it leaves a CR bare
    csv.writer(out, lineterminator=end, quoting=quoting).writerows(table)
    found = read(out.getvalue().encode(), width=len(table[0]) if table else 2)
    assert [reason for _, _, reason, _ in found.found] == [None] * len(table)
    again = [next(csv.reader(io.StringIO(raw.decode(), newline=""), strict=True)) for *_, raw in found.found]
    assert again == table


@given(
    st.lists(st.sampled_from([b"{}", b"", b'x,"y', b"\r", b"\x00", b"\xff", b'{"a": "\\n"}']), max_size=12)
)
def test_without_a_delimiter_each_line_is_a_record(lines: list[bytes]) -> None:
    data = b"\n".join(lines)
    found = read(data, delimiter=None)
    kept = [(number, line) for number, line in enumerate(lines, 1) if line.rstrip(b"\r")]
    assert [(line, raw.rstrip(b"\n")) for _, line, _, raw in found.found] == kept
    bad = [line for _, line in kept if line in (b"\x00", b"\xff")]
    assert [raw.rstrip(b"\n") for _, _, why, raw in found.found if why] == bad


def reasons(data: bytes, width: int = 2) -> list[tuple[int, str | None]]:
    """(line, reason) of each record."""
    return [(line, why) for _, line, why, _ in read(data, width).found]


def test_an_unclosed_quote_costs_its_own_line_alone() -> None:
    data = b'1,a\n2,"open\n3,c\n4,"quoted"\n5,e\n'
    assert reasons(data) == [(1, None), (2, boundaries.MISPLACED), (3, None), (4, None), (5, None)]


def test_an_unclosed_quote_before_megabytes_of_good_lines_costs_its_own_line_alone() -> None:
    data = b'0,"open\n' + b"1,aaaaaaaaaaaaaaaaaaaaaaaaaaaa\n" * 200_000
    found = RecordReader(io.BytesIO(data), Grammar(",", 2))
    blocks = list(found)
    assert found.records == 200_001
    assert [(item.line, item.reason) for block in blocks for item in block.rejected] == [
        (1, boundaries.MISPLACED)
    ]
    assert sum(len(block.rows) for block in blocks) == 200_000
    assert blocks[-1].lines[-1] == 200_001


def test_quotes_inside_a_plain_field_are_letters() -> None:
    assert reasons(b'1,5" pipe\n2,"a ""quoted"" word"\n3,b\n') == [(1, None), (2, None), (3, None)]


def test_a_record_over_several_lines_is_one_record_and_later_lines_keep_their_numbers() -> None:
    assert reasons(b'1,"two\nlines"\n2,b\n') == [(1, None), (3, None)]


def test_a_huge_line_is_rejected_without_being_held_and_reading_goes_on() -> None:
    data = b"1,a\n2," + b"x" * (20 << 20) + b"\n3,c\n"
    found = read(data)
    assert [(row, line, why) for row, line, why, _ in found.found] == [
        (1, 1, None),
        (2, 2, boundaries.too_long()),
        (3, 3, None),
    ]
    assert len(found.found[1][3]) == 64 << 10


def test_bytes_that_are_not_utf8_cost_their_own_record_alone() -> None:
    lines = [b"1,\xe9", "2,é".encode(), b"3,\x00", b"4,\xff\xfe", b"5,e"]
    assert reasons(b"\n".join(lines)) == [
        (1, "not UTF-8"),
        (2, None),
        (3, "a NUL byte"),
        (4, "not UTF-8"),
        (5, None),
    ]
