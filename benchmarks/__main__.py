"""Run every benchmark, or those named on the command line, and write docs/benchmarks.md."""

from __future__ import annotations

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
    "aws_sensor",
    "aws_datasets",
)
REPORT = Path(__file__).parent.parent / "docs" / "benchmarks.md"
HEAD = """# Benchmarks

Written by `make bench`, one run, on: {machine}. Ratios hold across machines, seconds do not.
"""


def main(names: list[str]) -> None:
    """Run the benchmarks called `names` (default: all); only a run of all replaces the report."""
    lines = [HEAD.format(machine=machine())]
    for name in names or ALL:
        print(f"… {name}", file=sys.stderr, flush=True)
        section = import_module(f"benchmarks.{name}").run()
        print("\n".join(section), flush=True)
        lines += [*section, ""]
    if not names:
        REPORT.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
