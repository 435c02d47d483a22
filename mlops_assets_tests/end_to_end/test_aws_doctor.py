"""`mlops-assets doctor` on AWS: what is well, and what is wrong with its mend and without a secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlops_assets_tests.commands import Deployment
from mlops_assets_tests.end_to_end.cloud import bucket_of

SUBJECTS = ("credentials", "region", "bucket", "role", "image", "warehouse", "transfer", "quotas")


def findings(
    exported: dict[str, str], folder: Path, status: int, **changed: str
) -> dict[str, dict[str, str]]:
    deployment = Deployment(folder)
    found = deployment.json("doctor", status=status, **{**exported, **changed})
    assert exported["MLOPS_REDSHIFT_PASSWORD"] not in str(found)
    return {item["subject"]: item for item in found}


def test_everything_is_looked_at_and_nothing_is_left(exported: dict[str, str], tmp_path: Path) -> None:
    found = findings(exported, tmp_path, 1)
    assert {name: found[name]["mend"] for name in SUBJECTS} == dict.fromkeys(SUBJECTS, "")
    assert "20 ml.m5.large for training job usage" in found["quotas"]["found"]
    bucket, prefix = bucket_of(exported)
    assert [item.key for item in bucket.objects.filter(Prefix=prefix)] == []


@pytest.mark.parametrize(
    ("subject", "changed", "said", "mend"),
    [
        ("bucket", {"MLOPS_AWS_ROOT": "s3://nobodys/mlops"}, "NoSuchBucket", "Create the bucket"),
        (
            "role",
            {"MLOPS_AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/nobody"},
            "there is no arn",
            "docs/aws.md",
        ),
        ("role", {"MLOPS_AWS_ROLE_ARN": ""}, "MLOPS_AWS_ROLE_ARN is not set", "deploy/aws"),
        (
            "warehouse",
            {"MLOPS_REDSHIFT_PASSWORD": "wr0ng"},
            "does not let us in",
            "MLOPS_REDSHIFT_USER",
        ),
        ("warehouse", {"MLOPS_REDSHIFT_PORT": "1"}, "refused", "security group"),
        (
            "quotas",
            {"MLOPS_AWS_TRAINING_INSTANCE": "ml.g5.xlarge"},
            "no ml.g5.xlarge for training job usage",
            "MLOPS_AWS_TRAINING_INSTANCE",
        ),
        ("platform", {"MLOPS_AWS_ROOT": "s3://only-a-bucket"}, "MLOPS_AWS_ROOT", "docs/settings.md"),
    ],
)
def test_what_is_wrong_comes_with_its_mend(
    exported: dict[str, str], tmp_path: Path, subject: str, changed: dict[str, str], said: str, mend: str
) -> None:
    found = findings(exported, tmp_path, 1, **changed)[subject]
    assert said in found["found"]
    assert mend in found["mend"]
    assert "wr0ng" not in str(found)
