"""(b) A whole run up to the registered model, against a plain script that does the same work by hand."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import yaml

from benchmarks.measure import Figure, median, timed, verdict
from benchmarks.plain_script import PARAMETERS
from mlops_assets.runtime.job_environment import WAITING

SMALL, LARGE = 200_000, 5_000_000
_EXTRA = 9  # 11 columns of the sample data and these are 20
_SQL = """-- materialized: view
SELECT
    * EXCLUDE (listed_at, year_built, _object, _row, _loaded_at),
    extract(year FROM listed_at) - year_built AS house_age,
    square_feet / nullif(num_bedrooms, 0) AS feet_per_bedroom
FROM arrivals
QUALIFY row_number() OVER (PARTITION BY listing_id ORDER BY listed_at DESC, _object DESC, _row DESC) = 1
"""


def declare(folder: Path) -> None:
    """Write the model `bench` below `folder`: what plain_script.py does, as a declaration."""
    numbers = {"YEAR_BUILT": "int", "SQUARE_FEET": "float", "NUM_BEDROOMS": "int", "NUM_BATHROOMS": "float"}
    numbers |= {"LOT_ACRES": "float", "GARAGE_SPACES": "int", "FRONT_PORCH": "int", "DECK": "int"}
    numbers |= {"PRICE": "float", **{f"EXTRA_{number:02d}": "float" for number in range(1, _EXTRA + 1)}}
    columns = {name.lower(): {"type": kind, "source": name} for name, kind in numbers.items()}
    attributes = {
        "name": "bench",
        "arrivals": {
            "prefix": "landing/bench/",
            "columns": {"listing_id": "int", "listed_at": "timestamp", **columns},
            "checks": [
                {"column": "listing_id", "not_null": True},
                {"column": "listed_at", "not_null": True},
                {"column": "price", "not_null": True, "min": 1},
                {"column": "square_feet", "not_null": True, "min": 100, "max": 50_000},
                {"column": "year_built", "not_null": True, "min": 1700, "max": 2100},
                {"column": "num_bedrooms", "not_null": True, "min": 0, "max": 50},
                {"column": "garage_spaces", "not_null": True, "min": 0, "max": 20},
            ],
        },
        "tables": "sql/",
        "dataset": {"from": "listing_features", "split": {"by": "hash", "key": "listing_id"}},
        "training": {
            "task": "regression",
            "target": "price",
            "estimator": "sklearn.ensemble.HistGradientBoostingRegressor",
            "parameters": {name: value for name, value in PARAMETERS.items() if name != "random_state"},
            "preprocessing": {"numeric_impute": "none"},
        },
        "gates": [{"metric": "r2", "min": 0.8}, {"metric": "rmse", "baseline": {"better_by": 0.3}}],
        "endpoint": {"enabled": False},
    }
    (folder / "bench" / "sql").mkdir(parents=True)
    document = {"type": "mlops_assets.components.ModelPipeline", "attributes": attributes}
    (folder / "bench" / "defs.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    (folder / "bench" / "sql" / "listing_features.sql").write_text(_SQL)


def make_file(folder: Path, rows: int) -> Path:
    """One file of listings, made by a process of its own, so that this one stays small."""
    code = (
        "import sys; from pathlib import Path; from mlops_assets.sample_data import housing_batches; "
        "print(housing_batches(Path(sys.argv[1]), days=1, rows_per_day=int(sys.argv[2]), bad_rows=0.0, "
        f"extra_columns={_EXTRA})[0])"
    )
    return Path(timed([sys.executable, "-c", code, str(folder), str(rows)]).output.strip())


@dataclass(frozen=True)
class Compared:
    """Medians over rounds taken in turn."""

    ours: Figure
    script: Figure

    def row(self, rows: int, promised: float) -> str:
        """A row of the report's table."""
        ours, script = self.ours, self.script
        r2 = (json.loads(ours.output)["metrics"]["r2"], json.loads(script.output)["r2"])
        cells = (
            f"{rows:,}",
            f"{ours.seconds:.1f}",
            f"{script.seconds:.1f}",
            f"{ours.seconds / script.seconds:.2f}",
            f"{promised} ({verdict(ours.seconds / script.seconds, promised)})",
            f"{ours.cpu:.1f}",
            f"{script.cpu:.1f}",
            f"{ours.megabytes:.0f}",
            f"{script.megabytes:.0f}",
            f"{r2[0]:.4f}",
            f"{r2[1]:.4f}",
        )
        return f"| {' | '.join(cells)} |"


def compare(rows: int, runs: int) -> Compared:
    """Ours and the script on the same file."""
    ours: list[Figure] = []
    script: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        file = make_file(folder / "data", rows)
        declare(folder / "defs")
        for _ in range(runs):
            script.append(_script(file, folder / "out"))
            ours.append(_ours(file, folder))
    return Compared(median(ours), median(script))


def _script(file: Path, out: Path) -> Figure:
    # As our own training process is started.
    return timed([sys.executable, "-m", "benchmarks.plain_script", str(file), str(out)], env=WAITING)


def _ours(file: Path, folder: Path) -> Figure:
    root = folder / "root"
    shutil.rmtree(root, ignore_errors=True)
    landing = root / "store" / "landing" / "bench"
    landing.mkdir(parents=True)
    (landing / file.name).hardlink_to(file)
    command = [str(Path(sys.executable).with_name("mlops-assets")), "run", "bench", "--json"]
    environment = {
        "MLOPS_ROOT": str(root),
        "MLOPS_DEFS": str(folder / "defs"),
        "DAGSTER_HOME": "",
        "DAGSTER_DISABLE_TELEMETRY": "1",
    }
    return timed([*command, "--upto", "registered_model"], env=environment)


def run() -> list[str]:
    """Lines of the report."""
    small, large = compare(SMALL, 7), compare(LARGE, 3)
    growth = large.ours.megabytes / small.ours.megabytes
    heads = ("rows", "s", "script s", "ratio", "promised", "CPU s", "script CPU s")
    heads += ("MB", "script MB", "r2", "script r2")
    return [
        "## (b) A whole run up to the registered model",
        "",
        "`mlops-assets run bench --upto registered_model` in an empty folder, against",
        "benchmarks/plain_script.py: the same CSV of 20 columns, the same checks and features, the same",
        "estimator and parameters (the shipped model's). The features are a view, which the dataset computes",
        "once. Ours also keeps quarantine and ledger, profiles the data, bootstraps intervals, draws plots,",
        "writes the model card, judges gates and registers. Both train with threads that wait as",
        "job_environment.WAITING says. MB is the peak of the orchestrator's process, and of",
        "the script's. CPU s counts children.",
        "",
        f"| {' | '.join(heads)} |",
        f"|{' --- |' * len(heads)}",
        small.row(SMALL, 3.0),
        large.row(LARGE, 1.0),
        "",
        f"The orchestrator's peak memory grows by {growth:.2f} between the two (promised: at most",
        f"1.2; {verdict(growth, 1.2)}). The embedded warehouse takes up to MLOPS_MEMORY_LIMIT, 2 GB by default, and",
        "the training process what its rows take, each beside it.",
    ]
