"""The trainer on Vertex AI: the contract, and what only jobs elsewhere can show."""

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
from mlops_assets.platforms.gcp.object_store import CloudStorageObjectStore
from mlops_assets.platforms.gcp.settings import GcpSettings
from mlops_assets.platforms.gcp.trainer import VertexTrainer
from mlops_assets.platforms.gcp.vertex_settings import VertexSettings
from mlops_assets.platforms.local import build_platform
from mlops_assets.settings import Settings
from mlops_assets_tests.platforms.contracts.trainer import (
    TrainerContract,
    evaluation_request,
    train_request,
    waiting_request,
    write_splits,
)
from mlops_assets_tests.standins.faults import Fault
from mlops_assets_tests.standins.gcp.fixtures import Gcp
from mlops_assets_tests.standins.gcp.server import LOCATION, PROJECT
from mlops_assets_tests.waiting import eventually


@pytest.fixture
def store(gcp: Gcp, tmp_path: Path) -> CloudStorageObjectStore:
    return CloudStorageObjectStore(Settings(root=tmp_path / "mlops"), GcpSettings())  # type: ignore[call-arg]


@pytest.fixture
def trainer(store: CloudStorageObjectStore) -> VertexTrainer:
    return made(store)


def made(store: CloudStorageObjectStore, **changed: Any) -> VertexTrainer:
    """A trainer with some settings changed."""
    return VertexTrainer(store, GcpSettings(), VertexSettings(**changed))  # type: ignore[call-arg]


class TestVertexTrainer(TrainerContract):
    """The contract, in containers."""


def jobs_of(gcp: Gcp) -> list[Any]:
    """Jobs of this test's bucket, oldest first."""
    found = gcp.server.vertex.resources.of(f"projects/{PROJECT}/locations/{LOCATION}/customJobs")
    return [job for job in reversed(found) if gcp.bucket in str(job.job_spec)]


def states(gcp: Gcp) -> list[str]:
    return [job.state.name.removeprefix("JOB_STATE_") for job in jobs_of(gcp)]


def test_model_and_metrics_are_those_of_the_local_platform(
    gcp: Gcp, store: CloudStorageObjectStore, trainer: VertexTrainer, tmp_path: Path
) -> None:
    local = build_platform(Settings(root=tmp_path / "local"))
    files, reports = [], []
    for number, (its_store, its_trainer) in enumerate(((store, trainer), (local.store, local.trainer))):
        dataset = write_splits(its_store, tmp_path / str(number))
        forest = {"estimator": "sklearn.ensemble.RandomForestRegressor", "parameters": {"n_estimators": 20}}
        candidate = its_trainer.run(None, train_request(its_store, dataset, **forest))
        evaluated = its_trainer.run(None, evaluation_request(its_store, candidate.output, dataset))
        files.append((candidate.files, evaluated.files.keys()))
        reports.append(json.loads(its_store.read(evaluated.output.join("evaluation.json"))))
    assert files[0] == files[1]
    assert reports[0]["metrics"].keys() == reports[1]["metrics"].keys()
    for name, interval in reports[0]["metrics"].items():
        assert interval == pytest.approx(reports[1]["metrics"][name], abs=1e-9), name
    assert [job.display_name for job in jobs_of(gcp)] == ["train-m", "evaluate-m"]


def test_what_jobs_leave_is_their_output_and_a_record(
    gcp: Gcp, store: CloudStorageObjectStore, trainer: VertexTrainer, tmp_path: Path
) -> None:
    request = train_request(store, write_splits(store, tmp_path))
    trainer.run(None, request)
    left = [store.root.relative(item.uri) for item in store.list(store.root)]
    assert [key for key in left if key.startswith("jobs/")] == [f"jobs/m/{request.digest}.json"]
    (job,) = jobs_of(gcp)
    container = job.job_spec.worker_pool_specs[0].container_spec
    assert [item.name for item in container.env] == ["GOOGLE_CLOUD_PROJECT"]


def test_logs_metrics_and_the_bill_reach_dagster(
    store: CloudStorageObjectStore, trainer: VertexTrainer, tmp_path: Path
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
    assert seen["instance"] == "1 x n2-standard-4"
    assert seen["billable_seconds"] > 0
    assert not [message for message in logged if "PRIVATE KEY" in message]


def test_a_run_after_the_orchestrator_was_killed_attaches_to_its_job(
    gcp: Gcp, store: CloudStorageObjectStore, trainer: VertexTrainer, tmp_path: Path
) -> None:
    dataset = write_splits(store, tmp_path)
    request = waiting_request(store, dataset, tmp_path)
    script = f"""
from pathlib import Path
from mlops_assets.artifacts import ArtifactUri
from mlops_assets.platforms.gcp.object_store import CloudStorageObjectStore
from mlops_assets.platforms.gcp.settings import GcpSettings
from mlops_assets.settings import Settings
from mlops_assets_tests.platforms.contracts.trainer import waiting_request
from mlops_assets_tests.platforms.gcp.test_trainer import made
store = CloudStorageObjectStore(Settings(root=Path({str(tmp_path / "other")!r})), GcpSettings())
request = waiting_request(store, ArtifactUri({str(dataset)!r}), Path({str(tmp_path)!r}))
made(store).run(None, request)
"""
    orchestrator = subprocess.Popen([sys.executable, "-c", script], cwd=Path(__file__).parents[3])
    try:
        eventually((tmp_path / "started").exists)
    finally:
        orchestrator.send_signal(signal.SIGKILL)
        orchestrator.wait()
    assert states(gcp) == ["RUNNING"]
    (tmp_path / "go").touch()
    result = trainer.run(None, request)
    assert result.metadata["attached"] is True
    assert result.result["metrics"]["r2"] > 0.9
    assert states(gcp) == ["SUCCEEDED"]


def test_a_succeeded_job_whose_orchestrator_died_before_publishing_is_taken(
    gcp: Gcp,
    store: CloudStorageObjectStore,
    trainer: VertexTrainer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    request = train_request(store, write_splits(store, tmp_path))

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(CloudStorageObjectStore, "publish", die)
        with pytest.raises(KeyboardInterrupt):
            trainer.run(None, request)
    assert store.published(request.output) is None
    result = trainer.run(None, request)
    assert store.published(request.output) == result.files
    assert states(gcp) == ["SUCCEEDED"]


def test_two_runs_at_once_share_one_job(
    gcp: Gcp, store: CloudStorageObjectStore, trainer: VertexTrainer, tmp_path: Path
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
    assert states(gcp) == ["SUCCEEDED"]


def test_an_interrupted_run_cancels_the_job_and_its_processes_end(
    gcp: Gcp, store: CloudStorageObjectStore, trainer: VertexTrainer, tmp_path: Path
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
    eventually(lambda: states(gcp) == ["CANCELLED"])
    assert [item for item in of_jobs() if item not in before] == []
    (tmp_path / "go").touch()
    assert trainer.run(None, request).metadata["attached"] is False
    assert states(gcp) == ["CANCELLED", "SUCCEEDED"]


def test_a_service_that_is_away_for_a_while_costs_no_second_job(
    gcp: Gcp, store: CloudStorageObjectStore, trainer: VertexTrainer, tmp_path: Path
) -> None:
    gcp.server.faults.add(Fault("aiplatform.CreateCustomJob", 503, "UNAVAILABLE", afterwards=True))
    gcp.server.faults.add(Fault("aiplatform.GetCustomJob", 503, "UNAVAILABLE", times=2))
    result = trainer.run(None, train_request(store, write_splits(store, tmp_path)))
    assert result.result["metrics"]["r2"] > 0.8
    assert states(gcp) == ["SUCCEEDED"]


def test_a_spot_job_goes_on_after_it_was_interrupted(
    gcp: Gcp, store: CloudStorageObjectStore, tmp_path: Path
) -> None:
    trainer = made(store, spot=True, accelerator="NVIDIA_TESLA_T4")
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
        gcp.server.vertex.jobs.interrupt(jobs_of(gcp)[0].name)

    interrupter = Thread(target=interrupt)
    interrupter.start()
    result = trainer.run(None, request)
    interrupter.join()
    assert result.result["metrics"]["r2"] > 0.9
    assert result.metadata["instance"] == "1 x n2-standard-4 + 1 x NVIDIA_TESLA_T4 (spot)"
    assert states(gcp) == ["SUCCEEDED"]


def test_keys_networks_and_machines_are_those_of_the_settings(
    gcp: Gcp, store: CloudStorageObjectStore, tmp_path: Path
) -> None:
    key = f"projects/{PROJECT}/locations/europe-west4/keyRings/r/cryptoKeys/k"
    settings = VertexSettings(
        network="projects/1/global/networks/n",
        service_account="jobs@p.iam.gserviceaccount.com",
        training_machine="c3-standard-8",
        disk_size=200,
    )
    gcp_settings = GcpSettings(kms_key=key)  # type: ignore[call-arg]
    request = train_request(store, write_splits(store, tmp_path), timeout=77)
    VertexTrainer(store, gcp_settings, settings).run(None, request)
    (job,) = jobs_of(gcp)
    pool = job.job_spec.worker_pool_specs[0]
    assert job.encryption_spec.kms_key_name == key
    assert job.job_spec.network == "projects/1/global/networks/n"
    assert job.job_spec.service_account == "jobs@p.iam.gserviceaccount.com"
    assert job.job_spec.scheduling.timeout.total_seconds() == 77
    assert (pool.machine_spec.machine_type, pool.disk_spec.boot_disk_size_gb) == ("c3-standard-8", 200)


def test_a_job_that_fails_before_its_container_starts_is_reported_with_its_link(
    store: CloudStorageObjectStore, tmp_path: Path
) -> None:
    trainer = made(store, image="europe-west4-docker.pkg.dev/testing/mlops/missing:1")
    with pytest.raises(JobFailedError, match=r"before its container started: Image.*console\.cloud"):
        trainer.run(None, train_request(store, write_splits(store, tmp_path)))


def test_a_quota_that_is_used_up_is_named(
    gcp: Gcp, store: CloudStorageObjectStore, trainer: VertexTrainer, tmp_path: Path
) -> None:
    gcp.server.faults.add(Fault("aiplatform.CreateCustomJob", 403, "PERMISSION_DENIED"))
    with pytest.raises(SettingsError, match="denies the call"):
        trainer.run(None, train_request(store, write_splits(store, tmp_path)))


def test_without_an_image_nothing_is_started(
    gcp: Gcp, store: CloudStorageObjectStore, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match="MLOPS_VERTEX_IMAGE is not set"):
        made(store, image=None).run(None, train_request(store, write_splits(store, tmp_path)))
    assert jobs_of(gcp) == []
