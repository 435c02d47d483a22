"""(i) Frames stored and loaded on S3 by dataset_io_manager, against dagster-aws's S3PickleIOManager."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg

from benchmarks.aws_services import aws_platform, bucket, services
from benchmarks.dataset_io import frame, load, renumbered

ROWS = int(os.environ.get("BENCH_ROWS", "1_000_000"))
_ROUNDS = 3
_OURS, _PICKLE = "dataset_io_manager", "S3PickleIOManager"


def managers(folder: Path) -> dict[str, dg.IOManager]:
    """Both, in the same bucket."""
    from dagster_aws.s3 import S3PickleIOManager, S3Resource

    from mlops_assets.io_managers.datasets import DatasetIOManager

    pickle = S3PickleIOManager(s3_resource=S3Resource(), s3_bucket=bucket())
    return {
        _OURS: DatasetIOManager(aws_platform(folder)),
        _PICKLE: pickle.create_io_manager(dg.build_init_resource_context()),
    }


def ask(io: dg.IOManager, name: str) -> Any:
    """A small question to the stored frame, on three of its columns."""
    import polars as pl

    lazy = load(io, pl.LazyFrame) if name == _OURS else load(io, pl.DataFrame).lazy()
    return lazy.filter(pl.col("float_0") > 1).group_by("text_0").agg(pl.col("float_1").mean()).collect()


def measure() -> dict[tuple[str, str], dict[str, float]]:
    """(frame, I/O manager) -> median seconds of writing, reading and asking; the managers take turns."""
    import polars as pl

    found: dict[tuple[str, str], dict[str, list[float]]] = {}

    def timed(kind: str, name: str, what: str, work: Callable[[], object]) -> None:
        started = time.perf_counter()
        work()
        times = found.setdefault((kind, name), {})
        times.setdefault(what, []).append(time.perf_counter() - started)

    with services(), tempfile.TemporaryDirectory(prefix="bench-") as folder:
        made = managers(Path(folder))
        for kind in ("pandas", "polars"):
            rows = frame(kind, ROWS)
            for number in range(_ROUNDS):
                # Our versions are named by content: each round writes a frame that is new.
                changed = renumbered(rows, number)
                for name, io in made.items():
                    context = dg.build_output_context(asset_key=dg.AssetKey("frame"), step_key="frame")
                    timed(
                        kind,
                        name,
                        "write",
                        lambda io=io, context=context, changed=changed: io.handle_output(context, changed),
                    )
                    timed(kind, name, "read", lambda io=io, rows=rows: load(io, type(rows)))
                    if isinstance(rows, pl.DataFrame):
                        timed(kind, name, "ask", lambda io=io, name=name: ask(io, name))
    return {
        key: {what: statistics.median(times) for what, times in item.items()} for key, item in found.items()
    }


def run() -> list[str]:
    """Lines of the report."""
    lines = [
        f"## (i) Frames stored and loaded on S3: {ROWS:,} rows, 20 columns",
        "",
        f"Medians of {_ROUNDS}, on the stand-in. The question is a mean by group over a filter, on three columns:",
        "as a LazyFrame, which fetches these alone (ours), or loaded whole (pickle).",
        "",
        "| frame | I/O manager | write s | read s | question s |",
        "| --- | --- | --- | --- | --- |",
    ]
    for (kind, name), item in measure().items():
        asked = f"{item['ask']:.2f}" if "ask" in item else ""
        lines.append(f"| {kind} | {name} | {item['write']:.2f} | {item['read']:.2f} | {asked} |")
    return lines
