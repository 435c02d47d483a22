"""The checkout as Dagster's own commands see it: checked, listed, validated, run with several processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mlops_assets.sample_data import wine_csv

CHECKOUT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent

pytestmark = pytest.mark.slow


def command(tmp_path: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run one of the virtual environment's commands in the checkout, on a root of its own."""
    variables = {
        **os.environ,
        "MLOPS_ROOT": str(tmp_path / "mlops"),
        "DAGSTER_HOME": str(tmp_path),
        "DAGSTER_DISABLE_TELEMETRY": "1",
        **environment,
    }
    done = subprocess.run(
        [str(BIN / arguments[0]), *arguments[1:]],
        cwd=CHECKOUT,
        env=variables,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_dg_checks_the_definitions(tmp_path):
    assert "successfully" in command(tmp_path, "dg", "check", "defs").stdout


def test_dg_lists_both_shipped_models(tmp_path):
    listed = json.loads(command(tmp_path, "dg", "list", "defs", "--json").stdout)
    keys = {asset["asset_key"] for asset in listed["assets"]}
    assert {"housing/arrivals", "housing/endpoint", "wine/dataset", "wine/registered_model"} <= keys
    assert {"housing", "housing_retrain", "wine", "wine_retrain"} <= {job["name"] for job in listed["jobs"]}


def test_dagster_validates_the_workspace(tmp_path):
    done = command(tmp_path, "dagster", "definitions", "validate", "-w", "workspace.yaml")
    assert "Validation successful" in done.stdout + done.stderr


def test_a_platform_that_is_not_installed_stops_the_code_location_with_its_mend(tmp_path):
    program = (
        "import sys; sys.modules['boto3'] = None; "
        "import mlops_assets.definitions as location; location.defs()"
    )
    variables = {**os.environ, "MLOPS_PLATFORM": "aws", "MLOPS_ROOT": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "pip install 'mlops-assets[aws]'" in done.stderr


def test_a_job_runs_with_a_process_per_step(tmp_path):
    landing = tmp_path / "mlops" / "store" / "landing" / "wine"
    landing.mkdir(parents=True)
    wine_csv(landing)
    command(tmp_path, "mlops-assets", "run", "wine", "--upto", "tables")
    command(
        tmp_path,
        "dagster", "job", "execute", "-m", "mlops_assets.definitions", "-j", "wine_retrain",
        MLOPS_EXECUTOR="multiprocess",
    )  # fmt: skip
    versions = json.loads(command(tmp_path, "mlops-assets", "models", "--json").stdout)
    assert [(item["model"], item["version"]) for item in versions] == [("wine", 1)]
