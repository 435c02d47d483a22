"""(a) Loading the code location, its definitions built, against a bare `import dagster`."""

from __future__ import annotations

from benchmarks.measure import python, side_by_side, verdict

PLATFORMS = {
    "local": {},
    "aws": {"MLOPS_AWS_ROOT": "s3://bucket/mlops"},
    "gcp": {"MLOPS_GCP_ROOT": "gs://bucket/mlops", "MLOPS_GCP_PROJECT": "project"},
}


def run() -> list[str]:
    """Lines of the report."""
    load = "import os; os.environ.update({0!r}); import mlops_assets.definitions as location; location.defs()"
    programs = {
        name: python(load.format({"MLOPS_PLATFORM": name, **settings}))
        for name, settings in PLATFORMS.items()
    }
    figures = side_by_side({**programs, "bare": python("import dagster")}, runs=7)
    bare = figures["bare"]
    rows = []
    for name in PLATFORMS:
        ours = figures[name]
        ratio = ours.seconds / bare.seconds
        cells = (
            f"the code location, its definitions built, on {name}",
            f"{ours.seconds:.2f}",
            f"{ours.megabytes:.0f}",
            f"{ratio:.2f} (promised: at most 1.5; {verdict(ratio, 1.5)})",
        )
        rows.append(f"| {' | '.join(cells)} |")
    return [
        "## (a) Loading the code location",
        "",
        "| what | seconds (median of 7) | MB | ratio |",
        "| --- | --- | --- | --- |",
        f"| `import dagster` | {bare.seconds:.2f} | {bare.megabytes:.0f} | |",
        *rows,
    ]
