"""(i) Frames stored and loaded by dataset_io_manager, against the pickle I/O managers of dagster-aws and -gcp."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg

from benchmarks.clouds import CLOUDS, bucket, cloud_platform, services
from benchmarks.dataset_io import frame, load, renumbered

ROWS = int(os.environ.get("BENCH_ROWS", "1_000_000"))
_ROUNDS = 3
_OURS = "dataset_io_manager"


def pickling(cloud: str) -> tuple[str, dg.IOManager]:
    """What the cloud's Dagster package has for the same: its name, and one in our bucket."""
    if cloud == "aws":
        from dagster_aws.s3 import S3PickleIOManager, S3Resource

        made = S3PickleIOManager(s3_resource=S3Resource(), s3_bucket=bucket())
    else:
        from dagster_gcp.gcs import GCSPickleIOManager, GCSResource

        made = GCSPickleIOManager(
            gcs=GCSResource(project=os.environ["GOOGLE_CLOUD_PROJECT"]), gcs_bucket=bucket()
        )
    return type(made).__name__, made.create_io_manager(dg.build_init_resource_context())


def ask(io: dg.IOManager, name: str) -> Any:
    """A small question to the stored frame, on three of its columns."""
    import polars as pl

    lazy = load(io, pl.LazyFrame) if name == _OURS else load(io, pl.DataFrame).lazy()
    return lazy.filter(pl.col("float_0") > 1).group_by("text_0").agg(pl.col("float_1").mean()).collect()


def measure(cloud: str) -> dict[tuple[str, str], dict[str, float]]:
    """(frame, I/O manager) -> median seconds of writing, reading and asking; the managers take turns."""
    from mlops_assets.io_managers.datasets import DatasetIOManager

    found: dict[tuple[str, str], dict[str, list[float]]] = {}

    def timed(key: tuple[str, str], what: str, work: Callable[[], object]) -> None:
        started = time.perf_counter()
        work()
        found.setdefault(key, {}).setdefault(what, []).append(time.perf_counter() - started)

    with services(cloud), tempfile.TemporaryDirectory(prefix="bench-") as folder:
        managers = {_OURS: DatasetIOManager(cloud_platform(Path(folder))), **dict([pickling(cloud)])}
        for kind in ("pandas", "polars"):
            rows = frame(kind, ROWS)
            for number in range(_ROUNDS):
                # Our versions are named by content: each round writes a frame that is new.
                changed = renumbered(rows, number)
                for name, io in managers.items():
                    context = dg.build_output_context(asset_key=dg.AssetKey("frame"), step_key="frame")
                    key = (kind, name)
                    timed(key, "write", lambda io=io, at=context, new=changed: io.handle_output(at, new))
                    timed(key, "read", lambda io=io, rows=rows: load(io, type(rows)))
                    if kind == "polars":
                        timed(key, "ask", lambda io=io, name=name: ask(io, name))
    return {
        key: {what: statistics.median(times) for what, times in item.items()} for key, item in found.items()
    }


def run() -> list[str]:
    """Lines of the report."""
    lines = [
        f"## (i) Frames stored and loaded on the clouds: {ROWS:,} rows, 20 columns",
        "",
        f"Medians of {_ROUNDS}, on the stand-ins. The question is a mean by group over a filter, on three",
        "columns: as a LazyFrame, which fetches these alone (ours), or loaded whole (pickle). S3's stand-in",
        "reads the whole object for every range of it that is asked for.",
        "",
        "| on | frame | I/O manager | write s | read s | question s |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for cloud, store in CLOUDS.items():
        for (kind, name), item in measure(cloud).items():
            asked = f"{item['ask']:.2f}" if "ask" in item else ""
            lines.append(
                f"| {store} | {kind} | {name} | {item['write']:.2f} | {item['read']:.2f} | {asked} |"
            )
    return lines
