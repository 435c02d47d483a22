"""The Pipes client for SageMaker: Dagster outside, jobs that really run, and what may happen between them."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import dagster as dg
import pytest

from mlops_assets.errors import JobFailedError
from mlops_assets.pipes.sagemaker import PipesSageMakerClient
from mlops_assets_tests.pipes import jobs
from mlops_assets_tests.standins.aws.container import isolated
from mlops_assets_tests.standins.aws.faults import Fault
from mlops_assets_tests.standins.aws.fixtures import Aws
from mlops_assets_tests.waiting import eventually

pytestmark = pytest.mark.skipif(not isolated(), reason="unshare(1) is refused on this machine")
ROOT = Path(__file__).parents[2]


@pytest.fixture
def job(aws: Aws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Exports what `jobs` needs; the folder whose file `go` lets a waiting job end."""
    for name, value in (
        ("BUCKET", aws.bucket),
        ("STARTED", str(tmp_path / "started")),
        ("WAITS_FOR", ""),
        ("DOES", "succeed"),
    ):
        monkeypatch.setenv(name, value)
    yield tmp_path
    (tmp_path / "go").touch()


@pytest.fixture
def waiting(job: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same with a job that waits for `go`."""
    monkeypatch.setenv("WAITS_FOR", str(job / "go"))
    return job


def run(instance: dg.DagsterInstance, **options: Any) -> dg.ExecuteInProcessResult:
    return dg.materialize([jobs.model], instance=instance, raise_on_error=False, **options)


def descriptions(aws: Aws) -> list[dict[str, Any]]:
    """This test's jobs, oldest first."""
    from mlops_assets_tests.standins.aws.limits import TRAINING

    found = [item.describe() for item in aws.server.jobs.of(TRAINING)]
    return [item for item in found if aws.bucket in item["OutputDataConfig"]["S3OutputPath"]]


def failure_of(result: dg.ExecuteInProcessResult) -> tuple[str, dict[str, Any]]:
    (event,) = [event for event in result.all_events if event.is_step_failure]
    data = event.step_failure_data
    assert data.user_failure_data is not None, data.error
    return str(data.user_failure_data.description), {
        name: value.value for name, value in data.user_failure_data.metadata.items()
    }


def test_context_logs_lines_and_results_travel(
    aws: Aws, job: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        result = run(instance)
        logged = [record.user_message for record in instance.all_logs(result.run_id)]
    assert result.success
    assert "extra of 20000 characters" in logged
    assert any("Training Training image download completed" in message for message in logged)
    (event,) = result.asset_materializations_for_node("model")
    found = {name: value.value for name, value in event.metadata.items()}
    (description,) = descriptions(aws)
    assert found["rmse"] == 0.5
    assert found["sagemaker/job"] == description["TrainingJobName"]
    assert found["sagemaker/instance"] == "1 x ml.m5.large"
    assert found["sagemaker/billable_seconds"] == description["BillableTimeInSeconds"]
    assert "region=eu-central-1#/jobs/model-" in str(found["sagemaker/console"])
    assert "a line of the job" in capfd.readouterr().out
    tags = aws.server.client("sagemaker").list_tags(ResourceArn=description["TrainingJobArn"])["Tags"]
    assert {"Key": "dagster/run-id", "Value": result.run_id} in tags


def test_a_failed_job_fails_the_step_with_its_reason_and_last_lines(
    aws: Aws, job: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOES", "fail")
    with dg.DagsterInstance.ephemeral() as instance:
        first, second = run(instance), run(instance)
    description, metadata = failure_of(first)
    assert "no column 'price'" in description
    assert metadata["sagemaker/status"] == "Failed"
    assert "a line of the job" in metadata["sagemaker/log_tail"]
    assert failure_of(second)[1]["sagemaker/job"] != metadata["sagemaker/job"]  # another run, another job


def test_a_job_that_is_stopped_by_hand_or_by_its_limit_is_no_success(
    aws: Aws, waiting: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop() -> None:
        eventually((waiting / "started").exists)
        name = descriptions(aws)[0]["TrainingJobName"]
        aws.server.client("sagemaker").stop_training_job(TrainingJobName=name)

    stopper = Thread(target=stop)
    stopper.start()
    with dg.DagsterInstance.ephemeral() as instance:
        stopped = run(instance)
        stopper.join()
        monkeypatch.setenv("SECONDS", "1")
        timed_out = run(instance)
    assert "Stopped. It was stopped by somebody" in failure_of(stopped)[0]
    assert "TimedOut. It took longer than its timeout of 1 s" in failure_of(timed_out)[0]


def test_throttled_calls_and_a_lost_answer_start_no_second_job(
    aws: Aws, job: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    aws.server.faults.add(Fault("sagemaker:CreateTrainingJob", 500, "InternalFailure", afterwards=True))
    with dg.DagsterInstance.ephemeral() as instance:
        thread = Thread(
            target=lambda: (
                eventually((job / "started").exists),
                aws.server.faults.add(
                    Fault("sagemaker:DescribeTrainingJob", 400, "ThrottlingException", times=4)
                ),
            )
        )
        thread.start()
        result = run(instance)
        thread.join()
    assert result.success
    assert len(descriptions(aws)) == 1


def test_what_is_over_a_limit_is_refused_before_the_call(aws: Aws, job: Path) -> None:
    client = PipesSageMakerClient(bucket=aws.bucket)
    before = aws.server.faults.calls["sagemaker:CreateTrainingJob"]

    @dg.asset
    def large(context: dg.AssetExecutionContext) -> None:
        client.run(context=context, request=jobs.request(Environment={"NAME": "x" * 600}))

    with dg.DagsterInstance.ephemeral() as instance, pytest.raises(JobFailedError, match=r"NAME: 600"):
        dg.materialize([large], instance=instance)
    assert aws.server.faults.calls["sagemaker:CreateTrainingJob"] == before


def execute(home: Path, *arguments: str) -> subprocess.Popen[str]:
    """`dagster job execute` in a process of its own."""
    home.mkdir(exist_ok=True)
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    command = [sys.executable, "-m", "dagster", "job", "execute", "-m", "mlops_assets_tests.pipes.jobs"]
    return subprocess.Popen(
        [*command, *arguments],
        cwd=ROOT,
        env={**os.environ, "DAGSTER_HOME": str(home)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("executor", ["in_process", "multiprocess"])
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_a_cancelled_run_stops_its_job(aws: Aws, waiting: Path, executor: str, sent: signal.Signals) -> None:
    process = execute(waiting / "home", "-j", executor)
    try:
        eventually((waiting / "started").exists)
        process.send_signal(sent)
        assert process.wait(120) != 0
    finally:
        process.kill()
    eventually(lambda: descriptions(aws)[0]["TrainingJobStatus"] == "Stopped")
    assert len(descriptions(aws)) == 1


def test_after_the_orchestrator_was_killed_the_job_is_attached_to(aws: Aws, waiting: Path) -> None:
    tags = ["--tags", '{"dagster/root_run_id": "00000000-0000-0000-0000-000000000001"}']
    process = execute(waiting / "home", "-j", "in_process", *tags)
    try:
        eventually((waiting / "started").exists)
        process.kill()
        process.wait()
    finally:
        process.kill()
    assert descriptions(aws)[0]["TrainingJobStatus"] == "InProgress"
    Thread(target=(waiting / "go").touch).start()
    with dg.DagsterInstance.ephemeral() as instance:
        result = run(instance, tags={"dagster/root_run_id": "00000000-0000-0000-0000-000000000001"})
        logged = [record.user_message for record in instance.all_logs(result.run_id)]
    assert result.success
    assert len(descriptions(aws)) == 1
    (event,) = result.asset_materializations_for_node("model")
    assert event.metadata["sagemaker/attached"].value is True
    assert event.metadata["rmse"].value == 0.5
    assert "extra of 20000 characters" in logged  # said before the orchestrator died
