"""(g) Rows into and out of Redshift by table_io_manager, against what a user would pick instead.

The services are stand-ins in a process of their own: figures say what each way costs the client, the protocol
and PostgreSQL, which is no Redshift. Ways that send single rows are measured on a share of the rows and scaled
up, which favours none: their cost is linear in rows.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from benchmarks.clouds import bucket, redshift_connection, services
from benchmarks.measure import peak_megabytes, timed, verdict
from benchmarks.tables import COLUMNS, ROUNDS, ROWS, SHARE, frame, in_turn, load, manager, store

_SIZES = (1_000, 100_000, 1_000_000)
_MANY_ROWS = 4 * ROWS
_ROLE = "arn:aws:iam::123456789012:role/bench"
_PASSES = {"stream": "table_io_manager, as a RecordBatchReader", "fetch": "fetch_dataframe"}
_OURS, _WRANGLER = "table_io_manager", "awswrangler's copy"
_SINGLES, _MANY = "redshift_connector's write_dataframe", "multi-row inserts of 500"


def loads(io: dg.IOManager, rows: Any) -> dict[str, float]:
    """Way -> seconds for all rows."""
    import awswrangler

    connection = redshift_connection()
    cursor = connection.cursor()
    kinds = ", ".join(f"{name} {'bigint' if name == 'id' else 'double precision'}" for name in rows.columns)
    for table in ("singles", "many"):
        cursor.execute(f"CREATE TABLE {table} ({kinds})")
    connection.commit()
    part = rows.head(max(1, len(rows) // SHARE))

    def multi_row() -> None:
        for start in range(0, len(part), 500):
            piece = part.iloc[start : start + 500].itertuples(index=False)
            values = ", ".join(f"({', '.join(map(repr, map(float, row)))})" for row in piece)
            cursor.execute(f"INSERT INTO many VALUES {values}")
        connection.commit()

    def singles() -> None:
        cursor.write_dataframe(part, "singles")
        connection.commit()

    def wrangler() -> None:
        awswrangler.redshift.copy(
            df=rows, path=f"s3://{bucket()}/wrangler/", con=connection, table="wrangled", schema="public",
            iam_role=_ROLE, mode="overwrite",
        )  # fmt: skip

    found = in_turn({_OURS: store(io, rows, ROUNDS + 1), _WRANGLER: wrangler}, ROUNDS)
    scale = len(rows) / len(part)
    slow = in_turn({_SINGLES: singles, _MANY: multi_row}, 1)
    connection.close()
    return {**found, **{name: seconds * scale for name, seconds in slow.items()}}


def reads(io: dg.IOManager, sizes: tuple[int, ...]) -> dict[int, tuple[float, float]]:
    """Rows -> seconds of ours and of `fetch_dataframe`, both into pandas."""
    import pandas as pd

    connection = redshift_connection()
    cursor = connection.cursor()
    found = {}
    for size in sizes:
        select = f"SELECT * FROM bench.rows_{size}"

        def fetch(select: str = select) -> None:
            cursor.execute(select).fetch_dataframe()
            connection.rollback()

        ways = {_OURS: load(io, size, pd.DataFrame), "fetch": fetch}
        times = in_turn(ways, 25 if size <= 1_000 else ROUNDS)
        found[size] = (times[_OURS], times["fetch"])
    connection.close()
    return found


def peaks() -> dict[tuple[str, int], float]:
    """Way and rows -> MB that a process needs beyond its start to pass over the rows once; medians."""
    ways = (("stream", ROWS), ("stream", _MANY_ROWS), ("fetch", ROWS))
    return {way: statistics.median(_peak(*way) for _ in range(ROUNDS)) for way in ways}


def _peak(way: str, size: int) -> float:
    command = [sys.executable, "-m", "benchmarks.redshift", way, str(size)]
    return float(json.loads(timed(command).output.splitlines()[-1]))


def _pass_over(way: str, size: int) -> float:
    import pandas  # noqa: F401 - of both, only the work is measured
    import pyarrow as pa
    import pyarrow.parquet

    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        io = manager(Path(folder))
        load(io, 1_000, pa.Table)()
        connection = redshift_connection()
        before = peak_megabytes()
        if way == "stream":
            total = sum(batch.num_rows for batch in load(io, size, pa.RecordBatchReader)())
        else:
            select = f"SELECT * FROM bench.rows_{size}"
            total = len(connection.cursor().execute(select).fetch_dataframe())
        assert total == size
        return peak_megabytes() - before


def run() -> list[str]:
    """Lines of the report."""
    sizes = tuple(size for size in _SIZES if size <= ROWS)
    with services("aws"), tempfile.TemporaryDirectory(prefix="bench-") as folder:
        io, rows = manager(Path(folder)), frame(ROWS)
        loaded = loads(io, rows)
        for size in sizes:
            store(io, rows.head(size))()
        read = reads(io, sizes)
        del rows
        store(io, frame(_MANY_ROWS))()
        peak = peaks()
    return [*_loads_told(loaded), "", *_reads_told(read), "", *_peaks_told(peak)]


def _loads_told(loaded: Mapping[str, float]) -> list[str]:
    promised = {_SINGLES: 50.0, _MANY: 8.0, _WRANGLER: 1.0}
    lines = [
        f"## (g) Redshift: {ROWS:,} rows of {COLUMNS} columns",
        "",
        "The services are stand-ins in a process of their own: these are costs of the client, the protocol and",
        f"PostgreSQL. {_SINGLES} and {_MANY} were measured on one in {SHARE} rows.",
        "",
        "| load | s | ours is faster by | promised |",
        "| --- | --- | --- | --- |",
    ]
    for name, seconds in loaded.items():
        ratio = seconds / loaded[_OURS]
        told = f"{promised[name]:g} ({verdict(-ratio, -promised[name])})" if name in promised else ""
        lines.append(f"| {name} | {seconds:.2f} | {ratio:.2f} | {told} |")
    return lines


def _reads_told(read: Mapping[int, tuple[float, float]]) -> list[str]:
    lines = ["| rows read into pandas | ours s | fetch_dataframe s | ratio | promised |", "|" + " --- |" * 5]
    for size, (ours, fetch) in read.items():
        most = 0.25 if size == _SIZES[-1] else 1.1
        told = f"{most:g} ({verdict(ours / fetch, most)})"
        lines.append(f"| {size:,} | {ours:.4f} | {fetch:.4f} | {ours / fetch:.2f} | {told} |")
    return lines


def _peaks_told(peak: Mapping[tuple[str, int], float]) -> list[str]:
    growth = peak["stream", _MANY_ROWS] / peak["stream", ROWS]
    return [
        "| rows passed over once | rows | MB beyond the start |",
        "| --- | --- | --- |",
        *(f"| {_PASSES[way]} | {size:,} | {megabytes:.0f} |" for (way, size), megabytes in peak.items()),
        "",
        f"Four times the rows take {growth:.2f} times the memory (promised: flat, so at most 1.2; "
        f"{verdict(growth, 1.2)}).",
    ]


if __name__ == "__main__":
    print(json.dumps(_pass_over(sys.argv[1], int(sys.argv[2]))))
