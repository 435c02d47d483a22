"""(c) Frames written and read by dataset_io_manager, against Dagster's own FilesystemIOManager (pickle)."""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import dagster as dg

from benchmarks.measure import peak_megabytes, timed

ROWS = 2_000_000
_ROUNDS = 3
_KINDS = ("pandas", "polars")


def frame(kind: str, rows: int = ROWS) -> Any:
    """8 floats, 6 whole numbers, 2 times, 3 columns of text and one of truth values."""
    import numpy as np
    import pandas as pd
    import polars as pl

    random = np.random.default_rng(0)
    columns: dict[str, Any] = {f"float_{i}": random.normal(size=rows) for i in range(8)}
    columns |= {f"int_{i}": random.integers(0, 10 ** (i + 1), rows) for i in range(6)}
    origin = np.datetime64("2026-01-01", "us")
    columns |= {f"time_{i}": origin + random.integers(0, 10**12, rows) for i in range(2)}
    columns |= {
        f"text_{i}": np.array([f"value {n}" for n in range(20 * (i + 1))], dtype=object)[
            random.integers(0, 20 * (i + 1), rows)
        ]
        for i in range(3)
    }
    columns["truth"] = random.random(rows) < 0.5
    return pd.DataFrame(columns) if kind == "pandas" else pl.DataFrame(columns)


def manager(name: str, folder: Path) -> dg.IOManager:
    """One of the two I/O managers, storing below `folder`."""
    if name == "pickle":
        return dg.FilesystemIOManager(base_dir=str(folder)).create_io_manager(
            dg.build_init_resource_context()
        )
    from mlops_assets.io_managers.datasets import DatasetIOManager
    from mlops_assets.platforms.local import build_platform
    from mlops_assets.settings import Settings

    return DatasetIOManager(build_platform(Settings(root=folder)))


def load(io: dg.IOManager, annotation: Any) -> Any:
    """What an asset gets that is annotated so."""
    return io.load_input(
        dg.build_input_context(
            name="frame",
            asset_key=dg.AssetKey("frame"),
            dagster_type=dg.DagsterType(
                lambda _, value: value is not None, name="Frame", typing_type=annotation
            ),
            upstream_output=dg.build_output_context(asset_key=dg.AssetKey("frame")),
        )
    )


def write_and_read(name: str, kind: str, folder: Path) -> dict[str, float]:
    """Median seconds of writing and reading, and bytes on disk; the last version stays there."""
    io, rows = manager(name, folder), frame(kind)
    writes, reads = [], []
    for number in range(_ROUNDS):
        # Our versions are named by content: each round writes a frame that is new.
        changed = renumbered(rows, number)
        started = time.perf_counter()
        io.handle_output(dg.build_output_context(asset_key=dg.AssetKey("frame")), changed)
        writes.append(time.perf_counter() - started)
        started = time.perf_counter()
        back = load(io, type(rows))
        reads.append(time.perf_counter() - started)
        assert len(back) == ROWS
        del back
    pattern = "*.parquet" if name == "ours" else "frame"
    files = sorted(folder.rglob(pattern), key=lambda path: path.stat().st_mtime)
    return {
        "write": statistics.median(writes),
        "read": statistics.median(reads),
        "megabytes": files[-1].stat().st_size / 1e6,
    }


def renumbered(rows: Any, number: int) -> Any:
    """The frame with one column changed."""
    import polars as pl

    if isinstance(rows, pl.DataFrame):
        return rows.with_columns(pl.lit(number).alias("int_0"))
    return rows.assign(int_0=number)


def scan(name: str, folder: Path) -> dict[str, float]:
    """A small question to the stored frame: seconds, and what it adds to the peak memory of the process."""
    import polars as pl
    import pyarrow.dataset  # noqa: F401 - of both, only the work is measured

    io = manager(name, folder)
    before = peak_megabytes()
    started = time.perf_counter()
    lazy = load(io, pl.LazyFrame) if name == "ours" else load(io, pl.DataFrame).lazy()
    found = lazy.filter(pl.col("float_0") > 1).group_by("text_0").agg(pl.col("float_1").mean()).collect()
    seconds = time.perf_counter() - started
    assert found.height == 20
    return {"scan": seconds, "peak": peak_megabytes() - before}


def run() -> list[str]:
    """Lines of the report."""
    found: dict[tuple[str, str], dict[str, float]] = {}
    for kind in _KINDS:
        for name in ("ours", "pickle"):
            with tempfile.TemporaryDirectory(prefix="bench-") as folder:
                found[name, kind] = _child("write", name, kind, folder)
                if kind == "polars":
                    found[name, kind] |= _child("scan", name, kind, folder)
    lines = [
        f"## (c) Frames stored and loaded: {ROWS:,} rows, 20 columns",
        "",
        f"Medians of {_ROUNDS}; of each write ours makes Parquet (zstd), a checksum and an immutable version.",
        "",
        "| frame | I/O manager | write s | read s | MB on disk |",
        "| --- | --- | --- | --- | --- |",
    ]
    for (name, kind), item in found.items():
        numbers = f"{item['write']:.2f} | {item['read']:.2f} | {item['megabytes']:.0f}"
        lines.append(f"| {kind} | {_title(name)} | {numbers} |")
    lines += [
        "",
        "A mean by group over a filter, on three columns: as a LazyFrame (ours), or loaded whole (pickle).",
        "",
        "| I/O manager | seconds | MB above the start |",
        "| --- | --- | --- |",
    ]
    for name in ("ours", "pickle"):
        item = found[name, "polars"]
        lines.append(f"| {_title(name)} | {item['scan']:.2f} | {item['peak']:.0f} |")
    return lines


def _title(name: str) -> str:
    return "dataset_io_manager" if name == "ours" else "FilesystemIOManager (pickle)"


def _child(what: str, name: str, kind: str, folder: str) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.dataset_io", what, name, kind, folder]
    return json.loads(timed(command).output.splitlines()[-1])


if __name__ == "__main__":
    what, name, kind, place = sys.argv[1:]
    print(json.dumps(write_and_read(name, kind, Path(place)) if what == "write" else scan(name, Path(place))))
