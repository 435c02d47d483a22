"""The stages that AWS has so far, by the command line on the services that `make cloud-aws` starts."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mlops_assets.artifacts import ModelVersion
from mlops_assets_tests.commands import Deployment
from mlops_assets_tests.end_to_end.cloud import bucket_of
from mlops_assets_tests.end_to_end.small import declare, deliver, run
from mlops_assets_tests.factories import csv_text, home_rows

BAD = "x,2026-01-01,south,1,1,1\n"


def landed(rows: list[Any]) -> bytes:
    return (csv_text(rows) + BAD).encode()


def test_a_file_becomes_the_same_dataset_on_s3_and_redshift_as_on_one_machine(
    exported: dict[str, str], tmp_path: Path
) -> None:
    data = landed(home_rows(300))
    here, there = Deployment(tmp_path / "here"), Deployment(tmp_path / "there")
    for deployment in (here, there):
        declare(deployment)
    deliver(here, "a.csv", data.decode())
    bucket, prefix = bucket_of(exported)
    bucket.put_object(Key=f"{prefix}/landing/homes/a.csv", Body=data)
    local, cloud = run(here, "--upto", "dataset"), run(there, "--upto", "dataset", **exported)
    assert (cloud.status, cloud.report["rows"]) == (0, local.report["rows"])
    assert cloud.report["rows"]["quarantined"] == 1
    assert cloud.report["dataset"]["rows"] == local.report["dataset"]["rows"]
    for split in ("train", "validation", "test"):
        (file,) = (here.root / "store" / "datasets" / "homes").glob(f"*/{split}/data.parquet")
        rows = pq.read_table(file).to_pylist()
        stored = [
            item
            for item in bucket.objects.filter(Prefix=f"{prefix}/datasets/homes/")
            if f"/{split}/" in item.key
        ]
        parts = [pq.read_table(io.BytesIO(item.get()["Body"].read())) for item in stored]
        assert pa.concat_tables(parts).to_pylist() == rows
    again = run(there, "--upto", "dataset", **exported)
    assert "dataset" not in again.done
    assert again.report["dataset"]["version"] == cloud.report["dataset"]["version"]


def test_a_file_becomes_a_registered_version_listed_as_on_one_machine(
    exported: dict[str, str], tmp_path: Path
) -> None:
    there = Deployment(tmp_path / "there")
    declare(there)
    bucket, prefix = bucket_of(exported)
    bucket.put_object(Key=f"{prefix}/landing/homes/a.csv", Body=landed(home_rows(300)))
    done = run(there, **exported)
    assert (done.status, done.report["status"]) == (0, "registered")
    listed = there.command("models", "homes", "--json", **exported)
    (version,) = json.loads(listed.stdout)
    assert set(version) == {*ModelVersion.model_fields, "signature"}
    assert (version["version"], version["approval"], version["aliases"]) == (1, "approved", ["champion"])
    assert version["uri"].startswith(exported["MLOPS_AWS_ROOT"])
    refused = there.command("reject", "homes", "1", **exported)
    assert refused.returncode == 1
    assert "homes version 1 is the champion" in refused.stderr
