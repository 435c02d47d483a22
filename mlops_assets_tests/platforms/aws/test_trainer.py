"""The trainer on SageMaker: the contract, and what only jobs elsewhere can show."""

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any

import dagster as dg
import psutil
import pytest

from mlops_assets.errors import JobFailedError, SettingsError
from mlops_assets.platforms.aws.object_store import S3ObjectStore
from mlops_assets.platforms.aws.settings import AwsSettings
from mlops_assets.platforms.aws.trainer import SageMakerTrainer
from mlops_assets.platforms.local import build_platform
from mlops_assets.settings import Settings
from mlops_assets_tests.platforms.contracts.trainer import (
    TrainerContract,
    evaluation_request,
    train_request,
    waiting_request,
    write_splits,
)
from mlops_assets_tests.standins.aws.faults import Fault
from mlops_assets_tests.standins.aws.fixtures import Aws
from mlops_assets_tests.standins.aws.jobs import Job
from mlops_assets_tests.standins.aws.limits import KINDS
from mlops_assets_tests.waiting import eventually


@pytest.fixture
def store(aws: Aws, tmp_path: Path) -> S3ObjectStore:
    return S3ObjectStore(Settings(root=tmp_path / "mlops"), AwsSettings())  # type: ignore[call-arg]


@pytest.fixture
def trainer(store: S3ObjectStore) -> SageMakerTrainer:
    return SageMakerTrainer(store, AwsSettings())  # type: ignore[call-arg]


class TestSageMakerTrainer(TrainerContract):
    """The contract, in containers."""


def jobs_of(aws: Aws) -> list[Job]:
    """Jobs of this test's bucket, oldest first."""
    found = [job for kind in KINDS for job in aws.server.jobs.of(kind)]
    return [job for job in found if aws.bucket in json.dumps(job.describe(), default=str)]


def test_model_and_metrics_are_those_of_the_local_platform(
    aws: Aws, store: S3ObjectStore, trainer: SageMakerTrainer, tmp_path: Path
) -> None:
    local = build_platform(Settings(root=tmp_path / "local"))
    files, reports = [], []
    for number, (its_store, its_trainer) in enumerate(((store, trainer), (local.store, local.trainer))):
        dataset = write_splits(its_store, tmp_path / str(number))
        candidate = its_trainer.run(
            None,
            train_request(
                its_store,
                dataset,
                estimator="sklearn.ensemble.RandomForestRegressor",
                parameters={"n_estimators": 20},
            ),
        )
        evaluated = its_trainer.run(None, evaluation_request(its_store, candidate.output, dataset))
        files.append((candidate.files, evaluated.files.keys()))
        reports.append(json.loads(its_store.read(evaluated.output.join("evaluation.json"))))
    assert files[0] == files[1]
    assert reports[0]["metrics"].keys() == reports[1]["metrics"].keys()
    for name, interval in reports[0]["metrics"].items():
        assert interval == pytest.approx(reports[1]["metrics"][name], abs=1e-9), name
    assert [job.kind.prefix for job in jobs_of(aws)] == ["Training", "Processing"]


def test_what_jobs_leave_is_their_output_and_a_record(
    aws: Aws, store: S3ObjectStore, trainer: SageMakerTrainer, tmp_path: Path
) -> None:
    request = train_request(store, write_splits(store, tmp_path))
    trainer.run(None, request)
    left = [store.root.relative(item.uri) for item in store.list(store.root)]
    assert [key for key in left if key.startswith("jobs/")] == [f"jobs/m/{request.digest}.json"]
    (job,) = jobs_of(aws)
    description = job.describe()
    assert {"AWS_SECRET_ACCESS_KEY", "MLOPS_ENDPOINT_TOKEN"}.isdisjoint(description.get("Environment") or {})
    assert description["OutputDataConfig"]["CompressionType"] == "NONE"


def test_logs_metrics_and_the_bill_reach_dagster(
    store: S3ObjectStore, trainer: SageMakerTrainer, tmp_path: Path
) -> None:
    request = train_request(store, write_splits(store, tmp_path))
    seen: dict[str, Any] = {}

    @dg.asset
    def candidate(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        seen.update(trainer.run(context, request).metadata)
        return dg.MaterializeResult(metadata=seen)

    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([candidate], instance=instance)
        logged = [record.user_message for record in instance.all_logs(result.run_id)]
    assert any("300 rows to train on" in message for message in logged)
    assert seen["validation"]["r2"] > 0.8
    assert seen["instance"] == "1 x ml.m5.large"
    assert seen["billable_seconds"] > 0
    assert not [message for message in logged if "testing-secret-access-key" in message]


def test_a_run_after_the_orchestrator_was_killed_attaches_to_its_job(
    aws: Aws, store: S3ObjectStore, trainer: SageMakerTrainer, tmp_path: Path
) -> None:
    dataset = write_splits(store, tmp_path)
    request = waiting_request(store, dataset, tmp_path)
    script = f"""
from pathlib import Path
from mlops_assets.artifacts import ArtifactUri
from mlops_assets.platforms.binding import build_platform
from mlops_assets.settings import Settings
from mlops_assets_tests.platforms.contracts.trainer import waiting_request
platform = build_platform(Settings(root=Path({str(tmp_path / "other")!r})))
request = waiting_request(platform.store, ArtifactUri({str(dataset)!r}), Path({str(tmp_path)!r}))
platform.trainer.run(None, request)
"""
    orchestrator = subprocess.Popen([sys.executable, "-c", script], cwd=Path(__file__).parents[3])
    try:
        eventually((tmp_path / "started").exists)
    finally:
        orchestrator.send_signal(signal.SIGKILL)
        orchestrator.wait()
    (job,) = jobs_of(aws)
    assert job.status == "InProgress"
    (tmp_path / "go").touch()
    result = trainer.run(None, request)
    assert result.metadata["attached"] is True
    assert result.result["metrics"]["r2"] > 0.9
    assert len(jobs_of(aws)) == 1


def test_a_completed_job_whose_orchestrator_died_before_publishing_is_taken(
    aws: Aws, store: S3ObjectStore, trainer: SageMakerTrainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = train_request(store, write_splits(store, tmp_path))

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(S3ObjectStore, "publish", die)
        with pytest.raises(KeyboardInterrupt):
            trainer.run(None, request)
    assert store.published(request.output) is None
    result = trainer.run(None, request)
    assert store.published(request.output) == result.files
    assert len(jobs_of(aws)) == 1


def test_two_runs_at_once_share_one_job(
    aws: Aws, store: S3ObjectStore, trainer: SageMakerTrainer, tmp_path: Path
) -> None:
    request = waiting_request(store, write_splits(store, tmp_path), tmp_path)
    results: list[Any] = []
    threads = [Thread(target=lambda: results.append(trainer.run(None, request))) for _ in range(2)]
    for thread in threads:
        thread.start()
    eventually((tmp_path / "started").exists)
    (tmp_path / "go").touch()
    for thread in threads:
        thread.join()
    assert results[0].files == results[1].files
    assert results[0].result == results[1].result
    assert len(jobs_of(aws)) == 1


def test_an_interrupted_run_stops_the_job_and_its_processes(
    aws: Aws, store: S3ObjectStore, trainer: SageMakerTrainer, tmp_path: Path
) -> None:
    request = waiting_request(store, write_splits(store, tmp_path), tmp_path)

    def of_jobs() -> list[psutil.Process]:
        """Living processes below this one, but for another stand-in's database of the same session."""
        found = []
        for item in psutil.Process().children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                if item.status() != psutil.STATUS_ZOMBIE and item.name() != "postgres":
                    found.append(item)
        return found

    def interrupt() -> None:
        eventually((tmp_path / "started").exists)
        os.kill(os.getpid(), signal.SIGINT)

    before = of_jobs()
    interrupter = Thread(target=interrupt)
    interrupter.start()
    with pytest.raises(KeyboardInterrupt):
        trainer.run(None, request)
    interrupter.join()
    (job,) = jobs_of(aws)
    eventually(lambda: job.status == "Stopped")
    assert [item for item in of_jobs() if item not in before] == []
    (tmp_path / "go").touch()
    assert trainer.run(None, request).metadata["attached"] is False
    assert [job.status for job in jobs_of(aws)] == ["Stopped", "Completed"]


def test_a_job_that_is_stopped_by_hand_is_no_success(
    aws: Aws, store: S3ObjectStore, trainer: SageMakerTrainer, tmp_path: Path
) -> None:
    request = waiting_request(store, write_splits(store, tmp_path), tmp_path)

    def stop() -> None:
        eventually((tmp_path / "started").exists)
        jobs_of(aws)[0].stop()

    stopper = Thread(target=stop)
    stopper.start()
    with pytest.raises(
        JobFailedError, match=r"Stopped\): It was stopped by somebody.*console\.aws"
    ) as caught:
        trainer.run(None, request)
    stopper.join()
    assert "testing-secret" not in str(caught.value)
    assert store.published(request.output) is None


def test_a_spot_job_goes_on_after_it_was_interrupted(aws: Aws, store: S3ObjectStore, tmp_path: Path) -> None:
    trainer = SageMakerTrainer(store, AwsSettings(spot=True))  # type: ignore[call-arg]
    code = (
        "import os, pathlib, threading\n"
        "from sklearn.linear_model import Ridge\n"
        "def train(train, validation, parameters):\n"
        "    saved = pathlib.Path(os.environ['MLOPS_CHECKPOINTS'], 'half')\n"
        "    if not saved.exists():\n"
        "        saved.write_text('1')\n"
        f"        pathlib.Path({str(tmp_path / 'started')!r}).touch()\n"
        "        threading.Event().wait()\n"
        "    return Ridge().fit(train[['a', 'b']], train['p'])\n"
    )
    request = train_request(
        store, write_splits(store, tmp_path), code={"train.py": code}, estimator=None, program="train.py"
    )

    def interrupt() -> None:
        eventually((tmp_path / "started").exists)
        aws.server.jobs.interrupt(jobs_of(aws)[0].name)

    interrupter = Thread(target=interrupt)
    interrupter.start()
    result = trainer.run(None, request)
    interrupter.join()
    assert result.result["metrics"]["r2"] > 0.9
    (job,) = jobs_of(aws)
    steps = [step["Status"] for step in job.describe()["SecondaryStatusTransitions"]]
    assert steps.count("Interrupted") == 1
    assert job.describe()["StoppingCondition"]["MaxWaitTimeInSeconds"] == 86_400 + 3_600


def test_keys_networks_and_instances_are_those_of_the_settings(
    aws: Aws, store: S3ObjectStore, tmp_path: Path
) -> None:
    settings = AwsSettings(  # type: ignore[call-arg]
        kms_key="key-1",
        subnets=("subnet-1",),
        security_groups=("sg-1",),
        training_instance="ml.c5.xlarge",
        volume_size=50,
    )
    SageMakerTrainer(store, settings).run(None, train_request(store, write_splits(store, tmp_path)))
    (job,) = jobs_of(aws)
    description = job.describe()
    assert description["OutputDataConfig"]["KmsKeyId"] == "key-1"
    assert description["ResourceConfig"] == {
        "InstanceType": "ml.c5.xlarge",
        "InstanceCount": 1,
        "VolumeSizeInGB": 50,
        "VolumeKmsKeyId": "key-1",
    }
    assert description["VpcConfig"] == {"Subnets": ["subnet-1"], "SecurityGroupIds": ["sg-1"]}


def test_a_quota_that_is_used_up_is_named_with_its_mend(
    aws: Aws, store: S3ObjectStore, trainer: SageMakerTrainer, tmp_path: Path
) -> None:
    aws.server.faults.add(Fault("sagemaker:CreateTrainingJob", 400, "ResourceLimitExceeded"))
    with pytest.raises(JobFailedError, match=r"ResourceLimitExceeded.*higher quota"):
        trainer.run(None, train_request(store, write_splits(store, tmp_path)))


def test_without_a_role_nothing_is_started(aws: Aws, store: S3ObjectStore, tmp_path: Path) -> None:
    trainer = SageMakerTrainer(store, AwsSettings(role_arn=None))  # type: ignore[call-arg]
    with pytest.raises(SettingsError, match="MLOPS_AWS_ROLE_ARN is not set"):
        trainer.run(None, train_request(store, write_splits(store, tmp_path)))
    assert jobs_of(aws) == []
