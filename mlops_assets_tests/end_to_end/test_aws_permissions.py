"""deploy/aws allows every call that a deployment makes, and hardly anything else."""

from __future__ import annotations

import json
import re
import urllib.request
from pathlib import Path

import pytest

from mlops_assets_tests.commands import Deployment
from mlops_assets_tests.end_to_end.cloud import bucket_of
from mlops_assets_tests.end_to_end.small import declare, run
from mlops_assets_tests.factories import csv_text, home_rows
from mlops_assets_tests.standins.aws.faults import ASKED
from mlops_assets_tests.standins.aws.permissions import ORCHESTRATOR, REDSHIFT, ROLE, Asked, Policy

pytestmark = pytest.mark.timeout(1_200)  # the deployment's whole life is set up in the first test
DEPLOY = Path(__file__).parents[2] / "deploy" / "aws"
FILES = {ORCHESTRATOR: "orchestrator.json", ROLE: "sagemaker-role.json", REDSHIFT: "redshift-role.json"}
TO_SCORE = b"region,square_feet,bedrooms,feet_per_room\nnorth,1000,2,500\n"
# What no request names here, and why it is allowed.
NOT_SEEN = {
    ORCHESTRATOR: {
        "iam:PassRole": "asked of IAM by SageMaker, in the name of who creates the job",
        "s3:AbortMultipartUpload": "an upload of more than 8 MiB that breaks off",
        "sagemaker:StopProcessingJob": "a run is cancelled (platforms/aws/test_trainer.py)",
        "sagemaker:StopTrainingJob": "a run is cancelled (platforms/aws/test_trainer.py)",
        "sagemaker:StopTransformJob": "scoring is interrupted",
    },
    ROLE: {
        "logs:DescribeLogStreams": "the service's own agent looks for its stream",
        "ecr:GetAuthorizationToken": "images are not pulled here",
        "ecr:BatchCheckLayerAvailability": "images are not pulled here",
        "ecr:GetDownloadUrlForLayer": "images are not pulled here",
        "ecr:BatchGetImage": "images are not pulled here",
    },
    REDSHIFT: {
        "s3:GetBucketLocation": "COPY looks where the bucket lies",
        "s3:DeleteObject": "UNLOAD with CLEANPATH, over what an interrupted one left",
    },
}


@pytest.fixture(scope="module")
def calls(services, tmp_path_factory: pytest.TempPathFactory) -> set[Asked]:
    """What a deployment's life asks for: two runs, every command that changes something, doctor."""
    exported = services.own()
    deployment = Deployment(tmp_path_factory.mktemp("life"))
    declare(deployment, endpoint={"enabled": True})
    bucket, prefix = bucket_of(exported)
    for name, rows in (("a.csv", 300), ("b.csv", 400)):
        body = csv_text(home_rows(rows)).encode()
        bucket.put_object(Key=f"{prefix}/landing/homes/{name}", Body=body)
        assert run(deployment, **exported).status == 0
    root = exported["MLOPS_AWS_ROOT"]
    bucket.put_object(Key=f"{prefix}/to_score/rows.csv", Body=TO_SCORE)
    for command in (
        ("models",), ("rollback", "homes"), ("reject", "homes", "2"), ("endpoints", "stop", "homes"),
        ("endpoints", "restart", "homes"), ("quarantine", "homes"), ("doctor",),
        ("predict", "homes", "--data", f"{root}/to_score/rows.csv", "--out", f"{root}/scored/rows.csv"),
    ):  # fmt: skip
        done = deployment.command(*command, **exported)
        assert done.returncode == 0, done.stdout + done.stderr
    with urllib.request.urlopen(f"{exported['AWS_ENDPOINT_URL']}{ASKED}") as answer:
        found = {Asked(*item) for item in json.load(answer)}
    return {item for item in found if not item.resource or item.resource.split("/")[0] == bucket.name}


def policy(caller: str) -> Policy:
    names = {"BUCKET": "mlops-assets", "PREFIX": "mlops", "REGION": "eu-central-1"}
    names |= {"ACCOUNT": "123456789012", "SAGEMAKER_ROLE": "sagemaker", "REPOSITORY": "mlops-assets"}
    return Policy.read(DEPLOY / FILES[caller], **names)


@pytest.mark.parametrize("caller", FILES)
def test_every_call_is_allowed(calls: set[Asked], caller: str) -> None:
    free = {"sts:GetCallerIdentity"}  # nobody can be denied it
    made = {item for item in calls if item.caller == caller and item.action not in free}
    assert made
    allowed = policy(caller)
    assert {(item.action, item.resource) for item in made if not allowed.allows(item)} == set()


@pytest.mark.parametrize("caller", FILES)
def test_what_is_allowed_is_needed(calls: set[Asked], caller: str) -> None:
    asked = {item.action for item in calls if item.caller == caller}
    assert policy(caller).actions - asked == set(NOT_SEEN[caller])


@pytest.mark.parametrize("file", sorted(DEPLOY.glob("*.json")), ids=lambda path: path.stem)
def test_a_policy_is_one_that_iam_takes(file: Path) -> None:
    document = json.loads(file.read_text())
    assert document["Version"] == "2012-10-17"
    names = [item["Sid"] for item in document["Statement"]]
    assert all(name.isalnum() for name in names)
    assert len(set(names)) == len(names)


def test_what_the_options_allow_is_called_somewhere() -> None:
    source = "".join(path.read_text() for path in (DEPLOY.parents[1] / "mlops_assets").rglob("*.py"))
    document = json.loads((DEPLOY / "options.json").read_text())
    for statement in document["Statement"]:
        for action in statement["Action"]:
            operation = re.sub("(?<!^)(?=[A-Z])", "_", action.split(":")[1]).lower()
            assert operation in source, action
