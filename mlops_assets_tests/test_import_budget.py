"""Loading the code location, its definitions built, imports no data library, registry or cloud SDK."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

HEAVY = [
    "sklearn", "pandas", "numpy", "scipy", "mlflow", "skops", "polars", "pyarrow", "duckdb", "matplotlib",
    "boto3", "botocore", "google.cloud.storage", "google.cloud.aiplatform", "sagemaker", "redshift_connector",
    "dagster_aws", "dagster_gcp", "uvicorn",
]  # fmt: skip

PROGRAM = """
import json, sys
import mlops_assets.definitions as location
built = location.defs()
print(json.dumps({"heavy": [name for name in sys.argv[1].split(",") if name in sys.modules],
                  "assets": len(list(built.resolve_all_asset_specs()))}))
"""


# What a cloud needs to be named; nothing is asked there.
PLATFORMS = {
    "local": {},
    "aws": {"MLOPS_AWS_ROOT": "s3://bucket/mlops"},
    "gcp": {"MLOPS_GCP_ROOT": "gs://bucket/mlops", "MLOPS_GCP_PROJECT": "project"},
}


@pytest.fixture(scope="module", params=PLATFORMS)
def loaded(request: pytest.FixtureRequest, tmp_path_factory) -> dict:
    environment = {
        **os.environ,
        "MLOPS_ROOT": str(tmp_path_factory.mktemp("root")),
        "MLOPS_PLATFORM": request.param,
        **PLATFORMS[request.param],
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, ",".join(HEAVY)],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_the_shipped_models_are_in_the_code_location(loaded):
    assert loaded["assets"] > 10


def test_nothing_heavy_is_imported(loaded):
    assert loaded["heavy"] == []
