"""Runs that the UI starts and ends: the training process ends with them, and the next run goes on."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from mlops_assets_tests.commands import Deployment
from mlops_assets_tests.end_to_end.small import declare_waiting, deliver, run, unfinished
from mlops_assets_tests.end_to_end.watching import processes_below, until
from mlops_assets_tests.end_to_end.web import ENDED, Ui, running_ui

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("executor", ["in_process", "multiprocess"])
def test_a_terminated_run_ends_its_training_and_the_next_one_goes_on(tmp_path: Path, executor: str) -> None:
    deployment = Deployment(tmp_path)
    declare_waiting(deployment)
    deliver(deployment)
    prepared = run(deployment, "--upto", "tables")
    assert prepared.status == 0, prepared.stderr

    with running_ui(deployment, MLOPS_EXECUTOR=executor) as ui:
        first = ui.launch("homes_retrain")
        trainer = _training(deployment, ui, first)
        ui.terminate(first)
        assert ui.ended(first) == "CANCELED"
        assert not psutil.pid_exists(trainer)
        assert processes_below(deployment.folder, "--watch-stdin") == []
        assert list((deployment.root / "jobs").iterdir()) == []
        assert list((deployment.root / "store").glob("candidates/homes/*")) == []
        assert unfinished(deployment) == []
        assert deployment.json("models") == []

        (deployment.folder / "go").touch()
        assert ui.ended(ui.launch("homes_retrain")) == "SUCCESS"
        assert [(item["version"], item["aliases"]) for item in deployment.json("models")] == [
            (1, ["champion"])
        ]
        assert unfinished(deployment) == []
    assert processes_below(deployment.folder) == []


def _training(deployment: Deployment, ui: Ui, launched: str) -> int:
    """Wait until the training has begun; its process id."""
    marker = deployment.folder / "training"
    until(lambda: (marker.exists() and marker.read_text()) or ui.status(launched) in ENDED, pause=0.5)
    assert marker.exists(), "the run failed before it trained"
    return int(marker.read_text())
