"""The stand-in's own fidelity: jobs that run, end and are refused as the service's documentation says."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from botocore.exceptions import ClientError

from mlops_assets_tests.standins.aws.container import isolated
from mlops_assets_tests.standins.aws.faults import Fault
from mlops_assets_tests.standins.aws.fixtures import Aws
from mlops_assets_tests.standins.aws.server import IMAGE, ROLE

HELLO = (
    "print('hello'); open('/opt/ml/model/model.txt', 'w').write(open('/opt/ml/input/data/train/x').read())"
)
HANGS = "import threading; print('up', flush=True); threading.Event().wait()"

# A container finds /opt/ml at its place only where this machine lets processes have mounts of their own.
pytestmark = pytest.mark.skipif(not isolated(), reason="unshare(1) is refused on this machine")


@pytest.fixture
def sagemaker(aws: Aws) -> Any:
    return aws.server.client("sagemaker")


@pytest.fixture
def start(aws: Aws, sagemaker: Any) -> Callable[..., str]:
    """Create a training job that runs Python code; its name."""
    aws.server.client("s3").put_object(Bucket=aws.bucket, Key="data/train/x", Body=b"42")

    def create(code: str, *, seconds: int = 60, **changes: Any) -> str:
        name = f"job-{aws.bucket}-{time.monotonic_ns()}"[:63]
        source = {"S3DataType": "S3Prefix", "S3Uri": f"s3://{aws.bucket}/data/train/"}
        request = {
            "TrainingJobName": name,
            "RoleArn": ROLE,
            "AlgorithmSpecification": {
                "TrainingImage": IMAGE,
                "TrainingInputMode": "File",
                "ContainerEntrypoint": ["python", "-c", code],
            },
            "InputDataConfig": [{"ChannelName": "train", "DataSource": {"S3DataSource": source}}],
            "OutputDataConfig": {"S3OutputPath": f"s3://{aws.bucket}/out", "CompressionType": "NONE"},
            "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
            "StoppingCondition": {"MaxRuntimeInSeconds": seconds},
            **changes,
        }
        sagemaker.create_training_job(**request)
        return name

    return create


def ended(sagemaker: Any, name: str) -> dict[str, Any]:
    """The job's description once it is over."""
    return until(sagemaker, name, lambda job: job["TrainingJobStatus"] in ("Completed", "Failed", "Stopped"))


def until(sagemaker: Any, name: str, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    deadline = time.monotonic() + 60
    while not holds(job := sagemaker.describe_training_job(TrainingJobName=name)):
        assert time.monotonic() < deadline, job
        time.sleep(0.05)
    return job


def running(job: dict[str, Any]) -> bool:
    return job["SecondaryStatus"] == "Training"


def steps(job: dict[str, Any]) -> list[str]:
    return [step["Status"] for step in job["SecondaryStatusTransitions"]]


def test_a_job_reads_its_channel_and_its_model_and_lines_arrive(
    aws: Aws, sagemaker: Any, start: Callable[..., str]
) -> None:
    job = ended(sagemaker, start(HELLO, Tags=[{"Key": "team", "Value": "ml"}]))
    assert job["TrainingJobStatus"] == "Completed"
    assert steps(job) == ["Starting", "Downloading", "Training", "Uploading", "Completed"]
    key = job["ModelArtifacts"]["S3ModelArtifacts"].removeprefix(f"s3://{aws.bucket}/") + "model.txt"
    assert aws.server.client("s3").get_object(Bucket=aws.bucket, Key=key)["Body"].read() == b"42"
    assert job["BillableTimeInSeconds"] >= 1
    assert sagemaker.list_tags(ResourceArn=job["TrainingJobArn"])["Tags"] == [{"Key": "team", "Value": "ml"}]
    logs = aws.server.client("logs")
    group = "/aws/sagemaker/TrainingJobs"
    streams = logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=f"{job['TrainingJobName']}/")
    stream = streams["logStreams"][0]["logStreamName"]
    events = logs.get_log_events(logGroupName=group, logStreamName=stream)["events"]
    assert [event["message"] for event in events] == ["hello"]
    assert not Path("/opt/ml/model").exists()


def test_a_failed_job_gives_what_it_wrote_as_its_reason(sagemaker: Any, start: Callable[..., str]) -> None:
    job = ended(
        sagemaker, start("open('/opt/ml/output/failure', 'w').write('no column'); raise SystemExit(3)")
    )
    assert job["TrainingJobStatus"] == "Failed"
    assert job["FailureReason"] == "AlgorithmError: no column, exit code: 3"
    assert "ModelArtifacts" not in job


def test_a_job_without_its_input_fails_before_it_trains(
    aws: Aws, sagemaker: Any, start: Callable[..., str]
) -> None:
    source = {"S3DataType": "S3Prefix", "S3Uri": f"s3://{aws.bucket}/nothing/"}
    channels = [{"ChannelName": "train", "DataSource": {"S3DataSource": source}}]
    job = ended(sagemaker, start(HELLO, InputDataConfig=channels))
    assert job["FailureReason"].startswith("ClientError: Data download failed:No S3 objects found")
    assert "Training" not in steps(job)


def test_a_stopped_job_and_its_process_end(sagemaker: Any, start: Callable[..., str]) -> None:
    name = start(HANGS)
    until(sagemaker, name, running)
    sagemaker.stop_training_job(TrainingJobName=name)
    job = ended(sagemaker, name)
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "Stopped")
    assert "Stopping" in steps(job)
    assert HANGS not in [argument for process in psutil.process_iter() for argument in arguments(process)]
    with pytest.raises(ClientError, match="is in status Stopped"):
        sagemaker.stop_training_job(TrainingJobName=name)


def arguments(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def test_a_job_is_ended_when_its_time_is_over(sagemaker: Any, start: Callable[..., str]) -> None:
    job = ended(sagemaker, start(HANGS, seconds=1))
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "MaxRuntimeExceeded")


def test_an_interrupted_spot_job_starts_again_from_its_checkpoint(
    aws: Aws, sagemaker: Any, start: Callable[..., str]
) -> None:
    code = (
        "import os, threading\n"
        "if os.path.exists('/opt/ml/checkpoints/half'): raise SystemExit(0)\n"
        "open('/opt/ml/checkpoints/half', 'w').write('1'); print('saved', flush=True)\n"
        "threading.Event().wait()\n"
    )
    name = start(
        code,
        EnableManagedSpotTraining=True,
        CheckpointConfig={"S3Uri": f"s3://{aws.bucket}/checkpoints/1"},
        StoppingCondition={"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 60},
    )
    until(sagemaker, name, running)
    time.sleep(0.5)
    aws.server.jobs.interrupt(name)
    job = ended(sagemaker, name)
    assert job["TrainingJobStatus"] == "Completed"
    assert "Interrupted" in steps(job)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"TrainingJobName": "x" * 64}, "trainingJobName"),
        ({"TrainingJobName": "under_score"}, "trainingJobName"),
        ({"Environment": {"LONG": "x" * 513}}, "512"),
        ({"HyperParameters": {"long": "x" * 2_501}}, "2500"),
        ({"StoppingCondition": {"MaxRuntimeInSeconds": 2_419_201}}, "maxRuntimeInSeconds"),
        ({"EnableManagedSpotTraining": True}, "MaxWaitTimeInSeconds"),
    ],
)
def test_what_the_service_refuses_is_refused(
    start: Callable[..., str], changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(ClientError, match=f"ValidationException.*{says}"):
        start(HELLO, **changes)


def test_a_name_is_used_once_and_an_unknown_one_is_not_found(
    sagemaker: Any, start: Callable[..., str]
) -> None:
    name = start(HELLO)
    with pytest.raises(ClientError, match="ResourceInUse"):
        start(HELLO, TrainingJobName=name)
    with pytest.raises(ClientError, match=r"ValidationException.*Requested resource not found\."):
        sagemaker.describe_training_job(TrainingJobName="nobody")
    with pytest.raises(ClientError, match=r"ValidationException.*Could not find requested job"):
        sagemaker.describe_processing_job(ProcessingJobName="nobody")


def test_what_is_not_served_is_an_error_that_names_it(aws: Aws, sagemaker: Any) -> None:
    for call in (sagemaker.list_labeling_jobs, aws.server.client("ec2").describe_instances):
        with pytest.raises(ClientError, match=r"UnknownOperationException.*not served"):
            call()


def test_calls_fail_on_demand_before_or_after_they_took_effect(aws: Aws) -> None:
    from botocore.config import Config

    s3 = aws.server.client("s3", Config(retries={"total_max_attempts": 1}))
    for key, afterwards in (("before", False), ("after", True)):
        aws.server.faults.add(Fault("s3:PUT", 503, "SlowDown", path=key, afterwards=afterwards))
        with pytest.raises(ClientError, match="SlowDown"):
            s3.put_object(Bucket=aws.bucket, Key=key, Body=b"1")
    found = s3.list_objects_v2(Bucket=aws.bucket)["Contents"]
    assert [item["Key"] for item in found] == ["after"]


def test_the_aws_command_line_works(aws: Aws) -> None:
    done = subprocess.run(
        [str(Path(sys.executable).parent / "aws"), "s3", "ls"],
        env={**os.environ, **aws.server.credentials},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert aws.bucket in done.stdout
