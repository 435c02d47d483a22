"""(d) Drift of an arrival of 1,000,000 rows and 20 columns, against Evidently on the same frames."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from benchmarks.measure import timed, verdict

ROWS, NUMERIC, CATEGORICAL = 1_000_000, 16, 4
_ROUNDS = 3


def frame(seed: int, shift: float) -> pd.DataFrame:
    """Normal and skewed numbers, and categories of 3 to 12 values; the first column moves by `shift`."""
    random = np.random.default_rng(seed)
    columns: dict[str, Any] = {f"n{i:02d}": random.normal(size=ROWS) ** (1 + i % 2) for i in range(NUMERIC)}
    columns["n00"] = columns["n00"] + shift
    for i in range(CATEGORICAL):
        names = np.array([f"kind {value}" for value in range(3 * (i + 1))])
        columns[f"c{i:02d}"] = names[random.integers(0, len(names), ROWS)]
    return pd.DataFrame(columns)


def _best(work: Callable[[], Any]) -> tuple[float, Any]:
    times, result = [], None
    for _ in range(_ROUNDS):
        started = time.perf_counter()
        result = work()
        times.append(time.perf_counter() - started)
    return min(times), result


def ours(folder: str) -> dict[str, Any]:
    """What the check `drift` does: count the arrival into the reference's bins, compare, draw."""
    from mlops_assets.pipeline.drift import Limits, compare
    from mlops_assets.pipeline.monitoring import _plot, count_arrivals
    from mlops_assets.pipeline.names import Names
    from mlops_assets.pipeline.profiling import profile
    from mlops_assets.platforms.local import build_platform
    from mlops_assets.settings import Settings

    platform = build_platform(Settings(root=Path(folder)))
    for relation, data in (("reference", frame(0, 0.0)), ("arrivals", frame(1, 1.0))):
        table = pa.Table.from_pandas(data, preserve_index=False)
        table = table.append_column("_object", pa.array(["a.csv"] * ROWS))
        platform.warehouse.write(f"bench.{relation}", table.to_reader())
    columns = [item for item in platform.warehouse.columns("bench.reference") or () if item.name != "_object"]
    began = time.perf_counter()
    reference = profile(platform.warehouse, "SELECT * FROM bench.reference", columns)
    profiled = time.perf_counter() - began
    names = {item.name: item.name for item in columns}

    def judge() -> list[Any]:
        current = count_arrivals(platform, Names("bench"), reference, names, ["a.csv"])
        found = compare(reference, current, Limits())
        _plot(found, Limits().psi)
        return found

    seconds, found = _best(judge)
    psi = {item.column: item.psi for item in found}
    return {"seconds": seconds, "profile": profiled, "psi": psi["n00"], "drifted": _drifted(psi)}


def evidently(_: str) -> dict[str, Any]:
    """Its preset for drift, with the same statistic for every column."""
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    before, now = frame(0, 0.0), frame(1, 1.0)
    definition = DataDefinition(
        numerical_columns=[name for name in map(str, before) if name.startswith("n")],
        categorical_columns=[name for name in map(str, before) if name.startswith("c")],
    )
    reference, current = (Dataset.from_pandas(data, data_definition=definition) for data in (before, now))
    report = Report([DataDriftPreset(method="psi", threshold=0.2)], include_tests=False)
    seconds, snapshot = _best(lambda: report.run(current, reference).dict())
    psi = {
        metric["config"]["column"]: float(metric["value"])
        for metric in snapshot["metrics"]
        if "column" in metric.get("config", {})
    }
    return {"seconds": seconds, "psi": psi["n00"], "drifted": _drifted(psi)}


def _drifted(psi: dict[str, float]) -> list[str]:
    return sorted(name for name, value in psi.items() if value > 0.2)


def run() -> list[str]:
    """Lines of the report."""
    found: dict[str, dict[str, Any]] = {}
    for name in ("ours", "evidently"):
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            figure = timed([sys.executable, "-m", "benchmarks.drift", name, folder])
            found[name] = json.loads(figure.output.splitlines()[-1]) | {"megabytes": figure.megabytes}
    ratio = found["evidently"]["seconds"] / found["ours"]["seconds"]
    return [
        f"## (d) Drift of {ROWS:,} rows, {NUMERIC + CATEGORICAL} columns",
        "",
        "Ours counts the arrival into the bins of the reference's profile in the warehouse, compares, and",
        "draws the plot; Evidently 0.7's DataDriftPreset runs with psi on the two frames in memory. Imports,",
        f"reading and the reference's profile ({found['ours']['profile']:.2f} s, once per dataset) are left",
        "out.",
        "",
        f"| what | seconds (best of {_ROUNDS}) | psi of the moved column | columns above 0.2 |",
        "| --- | --- | --- | --- |",
        *(
            f"| {name} | {item['seconds']:.2f} | {item['psi']:.3f} | {', '.join(item['drifted'])} |"
            for name, item in found.items()
        ),
        "",
        f"Ours is {ratio:.1f} times as fast (promised: at least 20; {verdict(20, ratio)}).",
    ]


if __name__ == "__main__":
    print(json.dumps({"ours": ours, "evidently": evidently}[sys.argv[1]](sys.argv[2])))
