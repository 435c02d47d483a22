"""Fields of well-formed CSV records as Arrow columns: typed where that is beyond doubt, else as text.

Arrow's parser takes a whole column of a block at a fraction of what judging each text in SQL costs. It counts
only where it accepts nothing that typed_values.py refuses, and reads nothing differently: a column that it
cannot take becomes text, in this block and in those that follow, and typed_values.py has the last word.
"""

# pyright: reportAttributeAccessIssue=false
# pyarrow makes the functions of pyarrow.compute at import, where no type checker sees them.

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

_BLOCK = 1 << 20
_HEXADECIMAL = re.compile(rb"0[xX]")
_HOUR_ALONE = len("2026-01-31 10")
_AT_FAULT = re.compile(r"CSV column #(\d+)")


class FieldParser:
    """Parses the wanted fields of one file's records, block by block.

    Attributes:
        types: logical type of each wanted field as it is parsed now: its own, or `string`.
    """

    def __init__(
        self, delimiter: str, width: int, wanted: Sequence[tuple[int, str]], null_values: Sequence[str]
    ) -> None:
        """`width` fields in each record; `wanted` ones by position, with their logical types."""
        positions = [at for at, _ in wanted]
        self._delimiter = delimiter
        self._names = [str(number) for number in range(width)]
        self._positions = positions
        self._null_values = list(null_values)
        # A field that two columns take has one type: text.
        self.types = ["string" if positions.count(at) > 1 else kind for at, kind in wanted]

    def parse(self, data: bytes, *, many_lines: bool, longest: int) -> list[pa.ChunkedArray]:
        """The wanted fields, of the types that `types` holds afterwards; missing typed ones are NULL.

        Args:
            data: good records with their line ends.
            many_lines: whether some record spans several lines.
            longest: bytes that a record may have.
        """
        import pyarrow as pa

        while True:
            try:
                columns = self._read(data, many_lines, longest)
            except pa.ArrowInvalid as error:
                fault = _AT_FAULT.search(str(error))
                at = self._positions.index(int(fault[1])) if fault else None
                if at is None or self.types[at] == "string":
                    raise
                self.types[at] = "string"
                continue
            return [self._timed(at, values) for at, values in enumerate(columns)]

    def _read(self, data: bytes, many_lines: bool, longest: int) -> list[pa.ChunkedArray]:
        import pyarrow as pa
        import pyarrow.csv as pacsv

        if _may_be_hexadecimal(data):  # Arrow reads 0x1F as 31
            self.types = ["string" if kind == "int" else kind for kind in self.types]
        types = {
            str(at): arrow_type("string" if kind == "timestamp" else kind)
            for at, kind in zip(self._positions, self.types, strict=True)
        }
        table = pacsv.read_csv(
            pa.BufferReader(data),
            read_options=pacsv.ReadOptions(
                column_names=self._names, block_size=len(data) + 1 if many_lines else max(_BLOCK, longest)
            ),
            parse_options=pacsv.ParseOptions(
                delimiter=self._delimiter, newlines_in_values=many_lines, ignore_empty_lines=False
            ),
            convert_options=pacsv.ConvertOptions(
                column_types=types,
                include_columns=list(types),
                null_values=self._null_values,
                strings_can_be_null=False,
                check_utf8=False,  # the reader has rejected what is not
            ),
        )
        for place, (at, kind) in enumerate(zip(self._positions, self.types, strict=True)):
            if kind == "float" and not _finite(table.column(str(at))):
                self.types[place] = "string"
                return self._read(data, many_lines, longest)
        return [table.column(str(at)) for at in self._positions]

    def _timed(self, place: int, texts: pa.ChunkedArray) -> pa.ChunkedArray:
        """Times out of texts, as Arrow reads ISO 8601, but for an hour without minutes."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if self.types[place] != "timestamp":
            return texts
        missing = pc.is_in(texts, value_set=pa.array(self._null_values, pa.string()))
        filled = pc.if_else(missing, pa.scalar(None, pa.string()), texts)
        try:
            if not pc.any(pc.equal(pc.binary_length(filled), _HOUR_ALONE), min_count=0).as_py():
                return pc.cast(filled, arrow_type("timestamp"))
        except pa.ArrowInvalid:
            pass
        self.types[place] = "string"
        return texts


def arrow_type(logical: str) -> pa.DataType:
    """The Arrow type that holds a logical type's values."""
    import pyarrow as pa

    return {
        "int": pa.int64(),
        "float": pa.float64(),
        "bool": pa.bool_(),
        "timestamp": pa.timestamp("us"),
        "date": pa.date32(),
    }.get(logical, pa.string())


def _may_be_hexadecimal(data: bytes) -> bool:
    """The letter first: it is rare among numbers, the 0 before it is not."""
    return (b"x" in data or b"X" in data) and _HEXADECIMAL.search(data) is not None


def _finite(values: pa.ChunkedArray) -> bool:
    import pyarrow.compute as pc

    return pc.all(pc.is_finite(values), min_count=0).as_py() is not False
