"""Run every benchmark, or those named on the command line, and write docs/benchmarks.md."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

from benchmarks.measure import machine

ALL = (
    "imports",
    "whole_run",
    "dataset_io",
    "drift",
    "sensor",
    "second_run",
    "redshift",
    "bigquery",
    "cloud_sensor",
    "cloud_datasets",
)
REPORT = Path(__file__).parent.parent / "docs" / "benchmarks.md"
HEAD = """# Benchmarks

Written by `make bench`, one run, on: {machine}. Ratios hold across machines, seconds do not.
"""


def main(names: list[str]) -> None:
    """Run the benchmarks called `names` (default: all); only a run of all replaces the report."""
    if names:
        for name in names:
            print("\n".join(import_module(f"benchmarks.{name}").run()), flush=True)
        return
    lines = [HEAD.format(machine=machine())]
    for name in ALL:
        print(f"… {name}", file=sys.stderr, flush=True)
        # Each in a process of its own: none inherits another's memory, clients or settings.
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks", name], check=True, stdout=subprocess.PIPE, text=True
        )
        print(done.stdout, flush=True)
        lines += [done.stdout]
    REPORT.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
