"""The stages that Google Cloud has, by the command line on the services that `make cloud-gcp` starts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlops_assets_tests.commands import Deployment
from mlops_assets_tests.end_to_end.cloud import running
from mlops_assets_tests.end_to_end.small import declare, deliver, run
from mlops_assets_tests.factories import csv_text, home_rows


@pytest.fixture
def exported(tmp_path: Path) -> Iterator[dict[str, Any]]:
    credentials = "GOOGLE_APPLICATION_CREDENTIALS"
    with running(tmp_path, "gcp", file=credentials) as found:
        yield found.settings


def test_a_file_is_registered_served_and_scored_as_on_one_machine(
    exported: dict[str, Any], tmp_path: Path
) -> None:
    data = csv_text(home_rows(300))
    here, there = Deployment(tmp_path / "here"), Deployment(tmp_path / "there")
    declare(here)
    declare(there, endpoint={"enabled": True})
    deliver(here, "a.csv", data)
    bucket, prefix = bucket_of(exported)
    bucket.blob(f"{prefix}/landing/homes/a.csv").upload_from_string(data.encode())
    looked = there.json("doctor", **exported)
    assert {item["subject"] for item in looked} > {"bucket", "warehouse", "transfer", "registry", "image"}
    local, cloud = run(here), run(there, **exported)
    assert (local.status, cloud.status) == (0, 0), cloud.stderr
    assert cloud.report["metrics"] == pytest.approx(local.report["metrics"], rel=1e-9)
    assert (cloud.report["version"], cloud.report["serving"]) == (1, 1)
    (served,) = there.json("endpoints", **exported)
    assert (served["model"], served["version"], served["status"]) == ("homes", 1, "serving")
    assert "lineage" not in cloud.stderr
    (rows,) = (here.root / "store" / "datasets" / "homes").glob("*/test/data.parquet")
    scored, root = tmp_path / "scored.csv", exported["MLOPS_GCP_ROOT"]
    here.json("predict", "homes", "--data", str(rows), "--out", str(scored))
    bucket.blob(f"{prefix}/in.parquet").upload_from_filename(str(rows))
    asked = ("--data", f"{root}/in.parquet", "--out", f"{root}/scored.csv")
    there.json("predict", "homes", *asked, **exported)
    assert bucket.blob(f"{prefix}/scored.csv").download_as_bytes() == scored.read_bytes()


def bucket_of(settings: dict[str, Any]) -> tuple[Any, str]:
    """The bucket of these settings, and the prefix in it."""
    from google.auth.credentials import AnonymousCredentials
    from google.cloud.storage import Client

    name, _, prefix = settings["MLOPS_GCP_ROOT"].removeprefix("gs://").partition("/")
    options = {"api_endpoint": settings["STORAGE_EMULATOR_HOST"]}
    client = Client(project="p", credentials=AnonymousCredentials(), client_options=options)
    return client.bucket(name), prefix


def test_a_file_becomes_the_same_dataset_on_cloud_storage_and_bigquery_as_on_one_machine(
    exported: dict[str, Any], tmp_path: Path
) -> None:
    data = csv_text(home_rows(300)) + "x,2026-01-01,south,1,1,1\n"
    here, there = Deployment(tmp_path / "here"), Deployment(tmp_path / "there")
    for deployment in (here, there):
        declare(deployment)
    deliver(here, "a.csv", data)
    bucket, prefix = bucket_of(exported)
    bucket.blob(f"{prefix}/landing/homes/a.csv").upload_from_string(data.encode())
    local, cloud = run(here, "--upto", "dataset"), run(there, "--upto", "dataset", **exported)
    assert (cloud.status, cloud.report["rows"]) == (0, local.report["rows"])
    assert cloud.report["rows"]["quarantined"] == 1
    # Not only the same rows: the same bytes, and so the same version.
    assert cloud.report["dataset"] == local.report["dataset"]
    for split in ("train", "validation", "test"):
        (file,) = (here.root / "store" / "datasets" / "homes").glob(f"*/{split}/data.parquet")
        version = file.parent.parent.name
        stored = bucket.blob(f"{prefix}/datasets/homes/{version}/{split}/data.parquet").download_as_bytes()
        assert hashlib.sha256(stored).digest() == hashlib.sha256(file.read_bytes()).digest()
    again = run(there, "--upto", "dataset", **exported)
    assert "dataset" not in again.done
    assert again.report["dataset"]["version"] == cloud.report["dataset"]["version"]
