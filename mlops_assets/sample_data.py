"""Sample data that the package ships: seeded housing batches of any size, and scikit-learn's wines.

The same arguments give the same bytes. A day's rows depend on the seed and the day alone, so days can be made
one by one, in any order, by any number of calls. Rows are made in blocks: memory stays flat as files grow.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

HOUSING_COLUMNS = (
    "listing_id",
    "listed_at",
    "YEAR_BUILT",
    "SQUARE_FEET",
    "NUM_BEDROOMS",
    "NUM_BATHROOMS",
    "LOT_ACRES",
    "GARAGE_SPACES",
    "FRONT_PORCH",
    "DECK",
    "PRICE",
)
_BLOCK = 100_000
_FIRST_DAY = date(2000, 1, 1)
_IDS_PER_DAY = 10_000_000


@dataclass(frozen=True)
class Mishaps:
    """What goes wrong with the batches; nothing by default.

    Attributes:
        late: share (0 to 1) of each day's rows that arrive in a file of their own, after the next day's.
        duplicates: days, from the first, whose file arrives again under another name.
        updates: share of each day's rows that are listings of the day before, listed again at a new price.
        bad_rows: share of lines that no loader should accept as they are.
        drift: 0 for none; 1 makes houses half as large again, newer, with garages never seen before.
    """

    late: float = 0.0
    duplicates: int = 0
    updates: float = 0.0
    bad_rows: float = 0.0
    drift: float = 0.0

    def __post_init__(self) -> None:
        for name in ("late", "updates", "bad_rows"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a share between 0 and 1, not {getattr(self, name)}")
        if self.duplicates < 0 or self.drift < 0:
            raise ValueError("duplicates and drift cannot be negative")


def housing_batches(
    folder: Path,
    *,
    days: int = 7,
    rows_per_day: int = 1_000,
    seed: int = 0,
    start: date = date(2026, 1, 1),
    late: float = 0.0,
    duplicates: int = 0,
    updates: float = 0.0,
    bad_rows: float = 0.0,
    drift: float = 0.0,
    extra_columns: int = 0,
) -> list[Path]:
    """Write daily files `housing-YYYY-MM-DD.csv` of listings, with the mishaps asked for.

    Late files end in `-late.csv`, files that arrive twice in `-again.csv`. See `Mishaps` for the shares.

    Args:
        folder: made where it is missing; each file is written aside and renamed.
        days: number of days, from `start`.
        rows_per_day: rows of each day, late ones included, bad ones included.
        seed: other seeds give other houses.
        start: first day.
        late: see `Mishaps`, as are the next four.
        duplicates: see `Mishaps`.
        updates: see `Mishaps`.
        bad_rows: see `Mishaps`.
        drift: see `Mishaps`.
        extra_columns: numeric columns EXTRA_01, … that say next to nothing about the price.

    Returns:
        The files, in the order of their arrival.

    Raises:
        ValueError: for shares outside 0 to 1 or more rows a day than there are listing ids.
    """
    mishaps = Mishaps(late, duplicates, updates, bad_rows, drift)
    if not 0 <= rows_per_day <= _IDS_PER_DAY:
        raise ValueError(f"rows_per_day is between 0 and {_IDS_PER_DAY:,}, not {rows_per_day}")
    if start < _FIRST_DAY:
        raise ValueError(f"start is {_FIRST_DAY} or later, not {start}")
    folder.mkdir(parents=True, exist_ok=True)
    arrived: list[Path] = []
    held_back: Path | None = None
    for number in range(days):
        day = start + timedelta(days=number)
        batch = _Batch(day, rows_per_day, seed, mishaps, extra_columns, has_yesterday=number > 0)
        path = folder / f"housing-{day}.csv"
        arrived.append(batch.write(path, late=False))
        if held_back is not None:
            arrived.append(held_back)
        held_back = batch.write(path.with_stem(f"{path.stem}-late"), late=True) if late else None
        if number < duplicates:
            arrived.append(_copy(path, path.with_stem(f"{path.stem}-again")))
    return [*arrived, held_back] if held_back is not None else arrived


@dataclass(frozen=True)
class _Batch:
    day: date
    rows: int
    seed: int
    mishaps: Mishaps
    extra_columns: int
    has_yesterday: bool

    def write(self, path: Path, *, late: bool) -> Path:
        """Write the day's rows that arrive in time, or those that arrive late."""
        import pyarrow.csv as pacsv

        with _aside(path) as file:
            extra = [f"EXTRA_{number:02d}" for number in range(1, self.extra_columns + 1)]
            file.write((",".join([*HOUSING_COLUMNS, *extra]) + "\n").encode())
            for block in range(-(-self.rows // _BLOCK)):
                table = self._block(block, late=late)
                if table.num_rows == 0:
                    continue
                sink = io.BytesIO()
                pacsv.write_csv(table, sink, pacsv.WriteOptions(include_header=False, quoting_style="needed"))
                file.write(self._spoil(sink.getvalue(), block, late=late))
        return path

    def _block(self, block: int, *, late: bool) -> pa.Table:
        """The block's rows of one of the two files: the late share goes by the row's place in the block."""
        rows = min(_BLOCK, self.rows - block * _BLOCK)
        table = self._listings(self.day, block, rows)
        again = int(rows * self.mishaps.updates) if self.has_yesterday else 0
        if again:
            old = self._listings(self.day - timedelta(days=1), block, rows).slice(0, again)
            table = _relisted(table, old, _random(self.seed, self.day, block, "updates"))
        kept = rows - int(rows * self.mishaps.late)
        return table.slice(kept) if late else table.slice(0, kept)

    def _listings(self, day: date, block: int, rows: int) -> pa.Table:
        """`rows` new listings of one day, in the columns of the header."""
        import numpy as np
        import pyarrow as pa

        random = _random(self.seed, day, block, "listings")
        first = (day - _FIRST_DAY).days * _IDS_PER_DAY + block * _BLOCK
        midnight = np.datetime64(datetime(day.year, day.month, day.day), "s")
        houses = _houses(random, rows, self.mishaps.drift)
        columns: dict[str, np.ndarray] = {
            "listing_id": np.arange(first, first + rows),
            "listed_at": midnight + random.integers(0, 86_400, rows).astype("timedelta64[s]"),
            **houses,
            "PRICE": _price(houses, random.normal(0, 0.085, rows)),
        }
        extra = {
            f"EXTRA_{number:02d}": random.normal(size=rows).round(4)
            for number in range(1, self.extra_columns + 1)
        }
        return pa.table({**columns, **extra})

    def _spoil(self, text: bytes, block: int, *, late: bool) -> bytes:
        if not self.mishaps.bad_rows:
            return text
        lines = text.splitlines()
        random = _random(self.seed, self.day, block, "late" if late else "bad")
        spoilt = random.choice(len(lines), size=round(len(lines) * self.mishaps.bad_rows), replace=False)
        for turn, line in enumerate(sorted(int(index) for index in spoilt)):
            lines[line] = _BAD_LINES[turn % len(_BAD_LINES)](lines[line].decode()).encode()
        return b"\n".join([*lines, b""])


def _with_cell(line: str, column: str, value: str) -> str:
    cells = line.split(",")
    cells[HOUSING_COLUMNS.index(column)] = value
    return ",".join(cells)


_BAD_LINES = (
    lambda line: _with_cell(line, "SQUARE_FEET", "about 2000"),
    lambda line: _with_cell(line, "PRICE", "-1"),
    lambda line: _with_cell(line, "PRICE", ""),
    lambda line: line.rsplit(",", 3)[0],
    lambda line: _with_cell(line, "listed_at", "yesterday"),
    lambda line: f"{line},surplus",
    lambda line: _with_cell(line, "NUM_BEDROOMS", '"three, maybe four"'),
    lambda line: "",  # noqa: ARG005
)


def _houses(random: np.random.Generator, rows: int, drift: float) -> dict[str, np.ndarray]:
    import numpy as np

    feet = np.clip(random.gamma(9, 270, rows) + 400, 500, 9_000) * (1 + 0.5 * drift)
    bedrooms = np.clip(np.round(feet / 850 + random.normal(0.6, 0.8, rows)), 1, 9).astype(int)
    garage = random.choice([0, 1, 2, 3], rows, p=[0.15, 0.3, 0.4, 0.15])
    return {
        "YEAR_BUILT": np.minimum(random.integers(1930, 2025, rows) + int(20 * drift), 2025),
        "SQUARE_FEET": feet.round(1),
        "NUM_BEDROOMS": bedrooms,
        "NUM_BATHROOMS": np.clip(np.round(bedrooms * 1.2 + random.normal(0, 0.7, rows)) / 2 + 0.5, 1, 6),
        "LOT_ACRES": np.clip(random.exponential(0.45, rows) + 0.08, 0.08, 10).round(2),
        "GARAGE_SPACES": np.where(random.random(rows) < 0.25 * min(drift, 4), 5, garage),
        "FRONT_PORCH": (random.random(rows) < 0.45).astype(int),
        "DECK": (random.random(rows) < 0.35).astype(int),
    }


def _price(houses: dict[str, np.ndarray], noise: np.ndarray) -> np.ndarray:
    """Whole dollars: area times a price per foot that falls with age and size, plus what else there is."""
    import numpy as np

    age = 2026 - houses["YEAR_BUILT"]
    per_foot = 150 * np.exp(-age / 140) + 40 * (age < 10)
    price = (
        35_000
        + per_foot * houses["SQUARE_FEET"] ** 0.97
        + 16_000 * houses["NUM_BATHROOMS"]
        + 30_000 * np.sqrt(houses["LOT_ACRES"])
        + 9_000 * houses["GARAGE_SPACES"]
        + 7_000 * houses["FRONT_PORCH"]
        + 8_000 * houses["DECK"]
    )
    return np.round(price * np.exp(noise)).astype(np.int64)


def _relisted(table: pa.Table, old: pa.Table, random: np.random.Generator) -> pa.Table:
    """`table` with its first rows replaced by `old` ones, listed at the newer time and a changed price."""
    import numpy as np
    import pyarrow as pa

    again = old.num_rows
    price = np.round(old["PRICE"].to_numpy() * random.normal(0.97, 0.02, again)).astype(np.int64)
    old = old.set_column(old.column_names.index("PRICE"), "PRICE", pa.array(price))
    old = old.set_column(old.column_names.index("listed_at"), "listed_at", table["listed_at"].slice(0, again))
    return pa.concat_tables([old, table.slice(again)])


def wine_csv(folder: Path) -> Path:
    """Write the 178 Italian wines that scikit-learn ships (UCI, 1991) as `wine.csv`.

    Columns: `sample_id` (from 1), the 13 measurements with names in snake case, and `cultivar`, the class, as
    text. The file is written aside and renamed.
    """
    import pyarrow as pa
    import pyarrow.csv as pacsv
    from sklearn.datasets import load_wine

    wine: Any = load_wine()
    names = [re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") for name in wine.feature_names]
    table = pa.table(
        {
            "sample_id": range(1, len(wine.target) + 1),
            **{name: wine.data[:, index] for index, name in enumerate(names)},
            "cultivar": [str(wine.target_names[code]) for code in wine.target],
        }
    )
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "wine.csv"
    with _aside(path) as file:
        file.write((",".join(table.column_names) + "\n").encode())
        pacsv.write_csv(table, file, pacsv.WriteOptions(include_header=False, quoting_style="none"))
    return path


def _random(seed: int, day: date, block: int, purpose: str) -> np.random.Generator:
    import numpy as np

    return np.random.default_rng([seed, (day - _FIRST_DAY).days, block, *purpose.encode()])


def _copy(source: Path, target: Path) -> Path:
    with source.open("rb") as old, _aside(target) as new:
        while piece := old.read(1 << 20):
            new.write(piece)
    return target


@contextmanager
def _aside(path: Path) -> Iterator[BinaryIO]:
    """A file that appears as `path` when wholly written, and not at all otherwise."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as file:
            yield file
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
