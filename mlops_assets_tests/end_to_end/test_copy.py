"""One model moved between clouds: trained and registered on AWS, copied to Google Cloud, served there."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from mlops_assets_tests.commands import Deployment
from mlops_assets_tests.end_to_end.cloud import bucket_of, running
from mlops_assets_tests.end_to_end.small import declare, run
from mlops_assets_tests.factories import csv_text, home_rows

KEPT = (
    "candidate_digest", "files", "metrics", "parameters", "dataset_version", "dataset_uri", "recipe",
    "estimator", "run_id", "git_commit", "signature",
)  # fmt: skip
FEATURES = ("region", "square_feet", "bedrooms", "feet_per_room")


def to_score() -> list[dict[str, Any]]:
    """Rows that no split has seen."""
    rows = [row[2:5] for row in home_rows(5, seed=1, first_id=900)]
    return [dict(zip(FEATURES, [*row, row[1] / row[2]], strict=True)) for row in rows]


def offline(deployment: Deployment, **environment: Any) -> list[float]:
    """The champion's answers to the same rows, scored on this machine."""
    data, out = deployment.folder / "rows.csv", deployment.folder / "scored.csv"
    data.write_text(csv_text([list(row.values()) for row in to_score()], FEATURES))
    deployment.json("predict", "homes", "--data", str(data), "--out", str(out), **environment)
    with out.open() as scored:
        return [float(row["prediction"]) for row in csv.DictReader(scored)]


def served(endpoint: dict[str, Any], credentials: str) -> list[float]:
    """What the endpoint answers to a client of Google's that knows nothing of this package."""
    from google.auth.transport.requests import AuthorizedSession
    from google.oauth2.service_account import Credentials

    scopes = ["https://www.googleapis.com/auth/cloud-platform"]
    session = AuthorizedSession(Credentials.from_service_account_file(credentials, scopes=scopes))
    address = f"{endpoint['url']}{endpoint['route']}"
    reply = session.post(address, json={"instances": to_score()}, timeout=60)
    reply.raise_for_status()
    return reply.json()["predictions"]


@pytest.mark.timeout(900)
def test_a_version_registered_on_aws_serves_on_google_cloud_with_the_same_answers(
    exported: dict[str, Any], tmp_path: Path
) -> None:
    deployment = Deployment(tmp_path)
    declare(deployment, endpoint={"enabled": True})
    bucket, prefix = bucket_of(exported)
    bucket.put_object(Key=f"{prefix}/landing/homes/a.csv", Body=csv_text(home_rows(300)).encode())
    with running(tmp_path, "gcp", file="GOOGLE_APPLICATION_CREDENTIALS") as google:
        both: dict[str, Any] = {**google.settings, **exported}
        on_google: dict[str, Any] = {**both, "MLOPS_PLATFORM": "gcp"}
        trained = run(deployment, "--upto", "registered_model", **both)
        assert (trained.status, trained.report["version"]) == (0, 1), trained.stderr
        (original,) = deployment.json("models", "homes", **both)
        answers = offline(deployment, **both)

        done = deployment.command("copy", "homes", "1", "--to", "gcp", "--deploy", "--json", **both)
        assert done.returncode == 0, done.stderr
        report = json.loads(done.stdout)
        assert "checksums verified on aws and gcp" in done.stderr
        assert (report["version"], report["approval"]) == (1, "approved")
        (copied,) = deployment.json("models", "homes", **on_google)
        assert {name: copied[name] for name in KEPT} == {name: original[name] for name in KEPT}
        assert copied["signature"]["target"]["name"] == "price"
        came = copied["copied_from"]
        assert (came["platform"], came["version"], came["uri"]) == ("aws", 1, original["uri"])
        assert copied["uri"].startswith(google.settings["MLOPS_GCP_ROOT"])

        credentials = google.settings["GOOGLE_APPLICATION_CREDENTIALS"]
        assert report["endpoint"]["status"] == "serving"
        assert served(report["endpoint"], credentials) == pytest.approx(answers, rel=1e-9)
        assert offline(deployment, **on_google) == answers
        again = deployment.command("copy", "homes", "1", "--to", "gcp", **both)
        said = "homes version 1 on gcp is approved and champion, copied from aws version 1."
        assert (again.returncode, again.stdout.splitlines()[0]) == (0, said)
        declare(deployment, gates=[{"metric": "r2", "min": 0.999}])
        refused = deployment.command("copy", "homes", "1", "--to", "gcp", **both)
        assert (refused.returncode, "gates were changed" in refused.stderr) == (3, True), refused.stderr
