"""(f) The demo's second run, where nothing changed, against loading the code location alone."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from benchmarks.measure import Figure, median, python, timed, verdict

_ROUNDS = 5


def run() -> list[str]:
    """Lines of the report."""
    demo = [str(Path(sys.executable).with_name("mlops-assets")), "demo"]
    load = python("import mlops_assets.definitions as location; location.defs()")
    again: list[Figure] = []
    bare: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="bench-") as root:
        environment = {"MLOPS_ROOT": root, "DAGSTER_HOME": "", "DAGSTER_DISABLE_TELEMETRY": "1"}
        first = timed(demo, env=environment)
        for _ in range(_ROUNDS):
            again.append(timed(demo, env=environment))
            bare.append(timed(load, env=environment))
    second, location = median(again), median(bare)
    above = second.seconds - location.seconds
    return [
        "## (f) The demo's second run",
        "",
        f"| what | seconds (median of {_ROUNDS}) | processor seconds |",
        "| --- | --- | --- |",
        f"| `mlops-assets demo`, the first time (once) | {first.seconds:.2f} | {first.cpu:.2f} |",
        f"| `mlops-assets demo`, nothing changed | {second.seconds:.2f} | {second.cpu:.2f} |",
        f"| loading the code location | {location.seconds:.2f} | {location.cpu:.2f} |",
        "",
        f"Above loading the code location: {above:.2f} s (promised: at most 3; {verdict(above, 3)}).",
    ]
