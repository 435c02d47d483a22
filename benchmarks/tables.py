"""Tables stored and loaded by table_io_manager, for the benchmarks of the warehouses."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from benchmarks.clouds import cloud_platform

ROWS = int(os.environ.get("BENCH_ROWS", "1_000_000"))
COLUMNS = 10
SHARE, ROUNDS = 50, 3
"""One in how many rows the ways that send single rows are measured on; rounds of all ways."""


def frame(rows: int) -> Any:
    """A key and nine floats."""
    import numpy as np
    import pandas as pd

    random = np.random.default_rng(0)
    return pd.DataFrame(
        {"id": np.arange(rows), **{f"x{at}": random.normal(size=rows) for at in range(COLUMNS - 1)}}
    )


def in_turn(ways: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each way; they take turns, after one round that does not count."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, work in ways.items():
            started = time.perf_counter()
            work()
            if number:
                found[name].append(time.perf_counter() - started)
    return {name: statistics.median(times) for name, times in found.items()}


def store(io: dg.IOManager, rows: Any, times: int = 1) -> Callable[[], None]:
    """Stores a frame that the asset `bench/rows_<number>` returns; the contexts are made before."""
    contexts = [dg.build_output_context(asset_key=_key(len(rows))) for _ in range(times)]
    return lambda: io.handle_output(contexts.pop(), rows)


def load(io: dg.IOManager, size: int, annotation: Any) -> Callable[[], Any]:
    """Loads it for an asset that is annotated so; its context is made before."""
    context = dg.build_input_context(
        name="rows",
        asset_key=_key(size),
        dagster_type=dg.DagsterType(lambda _, value: value is not None, name="Frame", typing_type=annotation),
        upstream_output=dg.build_output_context(asset_key=_key(size)),
    )
    return lambda: io.load_input(context)


def _key(size: int) -> dg.AssetKey:
    return dg.AssetKey(["bench", f"rows_{size}"])


def manager(folder: Path) -> dg.IOManager:
    """The I/O manager on the product's own platform."""
    from mlops_assets.io_managers.tables import TableIOManager

    return TableIOManager(cloud_platform(folder))
