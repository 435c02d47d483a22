"""The Pipes client for Vertex AI: Dagster outside, jobs that really run, and what may happen between them."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import dagster as dg
import pytest

from mlops_assets.pipes import vertex_jobs
from mlops_assets_tests.pipes import vertex_location
from mlops_assets_tests.standins.faults import Fault
from mlops_assets_tests.standins.gcp.fixtures import Gcp
from mlops_assets_tests.waiting import eventually

ROOT = Path(__file__).parents[2]
ATTACHED = {"dagster/root_run_id": "00000000-0000-0000-0000-000000000001"}


@pytest.fixture
def job(gcp: Gcp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Exports what `vertex_location` needs; the folder whose file `go` lets a waiting job end."""
    for name, value in (
        ("BUCKET", gcp.bucket),
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
    return dg.materialize([vertex_location.model], instance=instance, raise_on_error=False, **options)


def jobs_of(gcp: Gcp) -> list[Any]:
    """This test's jobs, oldest first."""
    from mlops_assets_tests.standins.gcp.server import LOCATION, PROJECT

    found = gcp.server.vertex.resources.of(f"projects/{PROJECT}/locations/{LOCATION}/customJobs")
    return [job for job in reversed(found) if job.labels.get("bucket") == gcp.bucket]


def failure_of(result: dg.ExecuteInProcessResult) -> tuple[str, dict[str, Any]]:
    (event,) = [event for event in result.all_events if event.is_step_failure]
    data = event.step_failure_data
    assert data.user_failure_data is not None, data.error
    return str(data.user_failure_data.description), {
        name: value.value for name, value in data.user_failure_data.metadata.items()
    }


def test_context_logs_lines_and_results_travel(
    gcp: Gcp, job: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        result = run(instance)
        logged = [record.user_message for record in instance.all_logs(result.run_id)]
    assert result.success
    assert "extra of 20000 characters" in logged
    assert any(message.endswith(": SUCCEEDED") for message in logged)
    (event,) = result.asset_materializations_for_node("model")
    found = {name: value.value for name, value in event.metadata.items()}
    (made,) = jobs_of(gcp)
    assert found["rmse"] == 0.5
    assert found["vertex/job"] == made.name
    assert found["vertex/instance"] == "1 x n1-standard-4 + 1 x NVIDIA_TESLA_T4 (spot)"
    assert found["vertex/billable_seconds"] == (made.end_time - made.start_time).total_seconds()
    number = made.name.rpartition("/")[2]
    assert f"/locations/europe-west4/training/{number}?project=" in str(found["vertex/console"])
    assert capfd.readouterr().out.count("a line of the job\n") == 1
    assert made.labels["dagster-run-id"] == result.run_id
    assert made.display_name == "model"


def test_a_failed_job_fails_the_step_with_its_reason_and_last_lines(
    gcp: Gcp, job: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOES", "fail")
    with dg.DagsterInstance.ephemeral() as instance:
        first, second = run(instance), run(instance)
    description, metadata = failure_of(first)
    assert "exited with a non-zero status of 1" in description
    assert metadata["vertex/status"] == "Failed"
    assert "no column 'price'" in metadata["vertex/log_tail"]
    assert failure_of(second)[1]["vertex/job"] != metadata["vertex/job"]  # another run, another job


def test_a_job_that_fails_before_its_container_starts_is_reported(
    gcp: Gcp, job: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGE", "europe-west4-docker.pkg.dev/testing/mlops/missing:1")
    with dg.DagsterInstance.ephemeral() as instance:
        description, metadata = failure_of(run(instance))
    assert "It failed before its container started: Image" in description
    assert metadata["vertex/billable_seconds"] == 0


def test_a_job_that_is_cancelled_by_hand_or_by_its_limit_is_no_success(
    gcp: Gcp, waiting: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from google.cloud.aiplatform_v1 import JobServiceClient

    def cancel() -> None:
        eventually((waiting / "started").exists)
        gcp.server.vertex_client(JobServiceClient).cancel_custom_job(name=jobs_of(gcp)[0].name)

    canceller = Thread(target=cancel)
    canceller.start()
    with dg.DagsterInstance.ephemeral() as instance:
        cancelled = run(instance)
        canceller.join()
        monkeypatch.setenv("SECONDS", "1")
        timed_out = run(instance)
    assert "Stopped. It was stopped by somebody" in failure_of(cancelled)[0]
    assert "TimedOut. It took longer than its timeout of 1 s" in failure_of(timed_out)[0]


def test_a_service_that_is_away_for_a_while_and_a_lost_answer_start_no_second_job(
    gcp: Gcp, job: Path
) -> None:
    gcp.server.faults.add(Fault("aiplatform.CreateCustomJob", 503, "UNAVAILABLE", afterwards=True))
    gcp.server.faults.add(Fault("aiplatform.GetCustomJob", 503, "UNAVAILABLE", times=2))
    gcp.server.faults.add(Fault("aiplatform.ListCustomJobs", 0, "dropped"))
    gcp.server.faults.add(Fault("logging.entries.list", 503, "UNAVAILABLE"))
    with dg.DagsterInstance.ephemeral() as instance:
        result = run(instance)
    assert result.success
    assert len(jobs_of(gcp)) == 1


def test_without_permission_to_read_the_log_the_job_runs_on(
    gcp: Gcp, job: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gcp.server.faults.add(Fault("logging.entries.list", 403, "PERMISSION_DENIED", times=99))
    with dg.DagsterInstance.ephemeral() as instance:
        assert run(instance).success
    assert [record.getMessage() for record in caplog.records if "logging.viewer" in record.getMessage()] == [
        "the job's log cannot be read: grant roles/logging.viewer to the caller"
    ]


def test_what_the_service_refuses_is_said_at_once(gcp: Gcp, job: Path) -> None:
    client = vertex_location.client()

    @dg.asset
    def wrong(context: dg.AssetExecutionContext) -> None:
        client.run(context=context, job=vertex_location.job(labels={"Upper": "case"}))

    before = gcp.server.faults.calls["aiplatform.CreateCustomJob"]
    with dg.DagsterInstance.ephemeral() as instance, pytest.raises(Exception, match="Invalid labels: Upper"):
        dg.materialize([wrong], instance=instance)
    assert gcp.server.faults.calls["aiplatform.CreateCustomJob"] == before + 1


def test_of_two_orchestrators_that_ask_the_same_at_once_one_creates(gcp: Gcp, waiting: Path) -> None:
    start, ended = Barrier(2), []

    def follow() -> None:
        client = vertex_location.client()
        found, attempt = client.jobs.find("same")
        start.wait(60)  # neither has seen a job
        ended.append(client.follow(found, attempt, vertex_location.job(display_name="m"), report=print))

    # Nobody listens here; the program does not open Pipes either.
    threads = [Thread(target=follow) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(jobs_of(gcp)) == 1
    assert sorted(finished.attached for finished in ended) == [False, True]


def test_a_claim_whose_owner_died_is_taken_over(gcp: Gcp, job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vertex_jobs, "CLAIM_PATIENCE", 1.0)
    client = vertex_location.client()
    found, attempt = client.jobs.find("orphaned")
    bucket = gcp.server.storage_client().bucket(gcp.bucket)
    bucket.blob(f"dagster-pipes/{attempt.name}/claim-1").upload_from_string("somebody who died")
    finished = client.follow(found, attempt, vertex_location.job(display_name="m"), report=print)
    assert finished.attached is False
    assert len(jobs_of(gcp)) == 1


def execute(home: Path, *arguments: str) -> subprocess.Popen[str]:
    """`dagster job execute` in a process of its own."""
    home.mkdir(exist_ok=True)
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    location = "mlops_assets_tests.pipes.vertex_location"
    return subprocess.Popen(
        [sys.executable, "-m", "dagster", "job", "execute", "-m", location, *arguments],
        cwd=ROOT,
        env={**os.environ, "DAGSTER_HOME": str(home)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
    )


@pytest.mark.parametrize(
    ("executor", "sent"), [("in_process", signal.SIGINT), ("multiprocess", signal.SIGTERM)]
)
def test_a_cancelled_run_cancels_its_job(
    gcp: Gcp, waiting: Path, executor: str, sent: signal.Signals
) -> None:
    process = execute(waiting / "home", "-j", executor)
    try:
        eventually((waiting / "started").exists)
        process.send_signal(sent)
        assert process.wait(120) != 0
    finally:
        process.kill()
        process.wait()
    eventually(lambda: jobs_of(gcp)[0].state.name == "JOB_STATE_CANCELLED")
    assert len(jobs_of(gcp)) == 1


def test_after_the_orchestrator_was_killed_the_job_is_attached_to(gcp: Gcp, waiting: Path) -> None:
    tags = '{"dagster/root_run_id": "00000000-0000-0000-0000-000000000001"}'
    process = execute(waiting / "home", "-j", "in_process", "--tags", tags)
    try:
        eventually((waiting / "started").exists)
    finally:
        process.kill()
        process.wait()
    assert jobs_of(gcp)[0].state.name == "JOB_STATE_RUNNING"
    Thread(target=(waiting / "go").touch).start()
    with dg.DagsterInstance.ephemeral() as instance:
        result = run(instance, tags=ATTACHED)
        logged = [record.user_message for record in instance.all_logs(result.run_id)]
    assert result.success
    assert len(jobs_of(gcp)) == 1
    (event,) = result.asset_materializations_for_node("model")
    assert event.metadata["vertex/attached"].value is True
    assert event.metadata["rmse"].value == 0.5
    assert "extra of 20000 characters" in logged  # said before the orchestrator died
