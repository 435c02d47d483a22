"""Clients that we did not write: the AWS command line, awswrangler's S3 functions, dagster-aws."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import awswrangler as wr
import dagster as dg
import pandas as pd
import pytest
from dagster_aws.s3 import S3PickleIOManager, S3Resource
from dagster_aws.s3.sensor import get_objects

from mlops_assets_tests.standins.aws.fixtures import Aws


def command_line(*words: str) -> Any:
    """What `aws` answers as JSON; the settings are this process's."""
    done = started(*words, "--output", "json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) if done.stdout.strip() else None


def started(*words: str) -> subprocess.CompletedProcess[str]:
    aws = Path(sys.executable).with_name("aws")
    return subprocess.run([sys.executable, str(aws), *words], capture_output=True, text=True, check=False)


def keys(aws: Aws) -> list[str]:
    found = aws.server.client("s3").list_objects_v2(Bucket=aws.bucket).get("Contents", [])
    return [item["Key"] for item in found]


def test_the_command_line_copies_lists_and_removes(aws: Aws, tmp_path: Path) -> None:
    large = tmp_path / "large.bin"
    large.write_bytes(bytes(range(256)) * 65_536)  # 16 MiB: sent in parts
    (tmp_path / "folder").mkdir()
    for name in ("a.csv", "b.csv"):
        (tmp_path / "folder" / name).write_text(name)
    place = f"s3://{aws.bucket}"
    for words in (
        ("cp", str(large), f"{place}/large.bin"),
        ("sync", str(tmp_path / "folder"), f"{place}/d/"),
    ):
        done = started("s3", *words)
        assert done.returncode == 0, done.stderr
    assert keys(aws) == ["d/a.csv", "d/b.csv", "large.bin"]
    assert started("s3", "cp", f"{place}/large.bin", str(tmp_path / "back.bin")).returncode == 0
    assert (tmp_path / "back.bin").read_bytes() == large.read_bytes()
    listed = started("s3", "ls", "--recursive", f"{place}/").stdout.splitlines()
    assert [line.split()[2:] for line in listed] == [
        ["5", "d/a.csv"],
        ["5", "d/b.csv"],
        ["16777216", "large.bin"],
    ]
    assert started("s3", "rm", "--recursive", f"{place}/d/").returncode == 0
    assert keys(aws) == ["large.bin"]


def test_the_command_line_asks_the_other_services(aws: Aws) -> None:
    group = f"homes-{aws.bucket}"
    command_line("sagemaker", "create-model-package-group", "--model-package-group-name", group)
    found = command_line("sagemaker", "list-model-package-groups", "--name-contains", group)
    assert [item["ModelPackageGroupName"] for item in found["ModelPackageGroupSummaryList"]] == [group]
    listed = command_line("sagemaker", "list-training-jobs", "--name-contains", "no-such-job")
    assert listed["TrainingJobSummaries"] == []
    assert command_line("sts", "get-caller-identity")["Account"] == "123456789012"
    # For queues version 1 of the command line puts a host of its own in place of AWS_ENDPOINT_URL.
    sqs = ("sqs", "--endpoint-url", aws.server.endpoint)
    url = command_line(*sqs, "create-queue", "--queue-name", aws.bucket)["QueueUrl"]
    command_line(*sqs, "send-message", "--queue-url", url, "--message-body", "hello")
    received = command_line(*sqs, "receive-message", "--queue-url", url)
    assert [message["Body"] for message in received["Messages"]] == ["hello"]
    command_line("secretsmanager", "create-secret", "--name", aws.bucket, "--secret-string", "hidden")
    secret = command_line("secretsmanager", "get-secret-value", "--secret-id", aws.bucket)
    assert secret["SecretString"] == "hidden"


def test_what_is_not_served_is_an_error_that_names_it(aws: Aws) -> None:
    done = started("sagemaker", "list-hyper-parameter-tuning-jobs")
    assert done.returncode != 0
    assert "ListHyperParameterTuningJobs" in done.stderr


@pytest.mark.parametrize("dataset", [False, True])
def test_awswrangler_writes_lists_reads_and_deletes(aws: Aws, dataset: bool) -> None:
    frame = pd.DataFrame({"id": range(1_000), "share": 0.5, "part": ["x", "y"] * 500})
    place = f"s3://{aws.bucket}/frames/"
    options: dict[str, Any] = {"dataset": True, "partition_cols": ["part"]} if dataset else {}
    path = place if dataset else f"{place}all.parquet"
    wr.s3.to_parquet(frame, path, index=False, **options)
    written = wr.s3.list_objects(place)
    assert len(written) == (2 if dataset else 1)
    found = wr.s3.read_parquet(place, dataset=dataset).sort_values("id")[list(frame.columns)]
    assert found.to_dict("list") == frame.to_dict("list")
    wr.s3.to_csv(frame, f"s3://{aws.bucket}/all.csv", index=False)
    assert wr.s3.read_csv(f"s3://{aws.bucket}/all.csv").equals(frame)
    wr.s3.delete_objects(place)
    assert keys(aws) == ["all.csv"]


def test_dagster_aws_stores_loads_and_senses(aws: Aws) -> None:
    @dg.asset
    def first() -> list[int]:
        return [1, 2]

    @dg.asset
    def second(first: list[int]) -> int:
        return sum(first)

    manager = S3PickleIOManager(s3_resource=S3Resource(), s3_bucket=aws.bucket, s3_prefix="dagster")
    result = dg.materialize([first, second], resources={"io_manager": manager})
    assert result.output_for_node("second") == 3
    assert keys(aws) == ["dagster/first", "dagster/second"]
    client = aws.server.client("s3")
    seen = get_objects(aws.bucket, "dagster/", since_key="dagster/first", client=client)
    assert [item["Key"] for item in seen] == ["dagster/second"]
