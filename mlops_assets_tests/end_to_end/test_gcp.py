"""The stages that Google Cloud has, by the command line on the services that `make cloud-gcp` starts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from random import Random
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
    here, there = Deployment(tmp_path / "here"), Deployment(tmp_path / "there")
    data = tmp_path / "birds.csv"
    data.write_text(birds(150))
    for deployment, settings in ((here, {}), (there, exported)):
        deployment.defs.mkdir(parents=True)
        asked = ("init", "birds", "--data", str(data), "--target", "species")
        written = deployment.command(*asked, **settings)
        assert written.returncode == 0, written.stderr
    looked = there.json("doctor", **exported)
    assert {item["subject"] for item in looked} > {"bucket", "warehouse", "transfer", "registry", "image"}
    # Servers of one machine have tests of their own.
    declared = here.defs / "birds" / "defs.yaml"
    declared.write_text(declared.read_text().replace("endpoint: {enabled: true", "endpoint: {enabled: false"))
    local, cloud = run(here, model="birds"), run(there, model="birds", **exported)
    assert (local.status, cloud.status) == (0, 0), cloud.stderr
    assert cloud.report["dataset"] == local.report["dataset"]
    assert cloud.report["metrics"] == pytest.approx(local.report["metrics"], rel=1e-9)
    assert (cloud.report["version"], cloud.report["serving"]) == (1, 1)
    (served,) = there.json("endpoints", **exported)
    assert (served["model"], served["version"], served["status"]) == ("birds", 1, "serving")
    assert "lineage" not in cloud.stderr
    (rows,) = (here.root / "store" / "datasets" / "birds").glob("*/test/data.parquet")
    scored, root = tmp_path / "scored.csv", exported["MLOPS_GCP_ROOT"]
    bucket, prefix = bucket_of(exported)
    here.json("predict", "birds", "--data", str(rows), "--out", str(scored))
    bucket.blob(f"{prefix}/in.parquet").upload_from_filename(str(rows))
    asked = ("--data", f"{root}/in.parquet", "--out", f"{root}/scored.csv")
    there.json("predict", "birds", *asked, **exported)
    assert bucket.blob(f"{prefix}/scored.csv").download_as_bytes() == scored.read_bytes()


def birds(rows: int) -> str:
    """A file of three species that can be told apart, mostly; a few values are missing."""
    random, lines = Random(0), ["species,island,bill_length_mm,flipper_length_mm,body_mass_g,sex"]
    for number in range(rows):
        kind = number % 3
        bill, flipper = (
            f"{random.gauss(38 + 5 * kind, 3):.1f}",
            random.randint(180 + 10 * kind, 205 + 10 * kind),
        )
        mass, sex = 50 * random.randint(60 + 10 * kind, 90 + 10 * kind), random.choice(["MALE", "FEMALE", ""])
        values = [bill, flipper, mass] if number % 50 else ["", "", ""]
        island = random.choice(["Biscoe", "Dream"])
        lines.append(",".join(map(str, [("Adelie", "Chinstrap", "Gentoo")[kind], island, *values, sex])))
    return "\n".join(lines) + "\n"


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
