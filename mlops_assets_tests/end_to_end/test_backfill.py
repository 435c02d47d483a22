"""Backfills of the arrivals by the real daemon, started as the UI does: the gate holds there as well."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mlops_assets_tests.commands import Deployment
from mlops_assets_tests.end_to_end.small import declare, deliver, run, unfinished
from mlops_assets_tests.end_to_end.watching import processes_below, until
from mlops_assets_tests.end_to_end.web import ENDED, Ui, running_ui
from mlops_assets_tests.factories import csv_text, home_rows

# The daemon looks at backfills every 30 seconds.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

STAGES = ("arrivals", "home_features", "dataset", "candidate", "evaluation", "registered_model")
ASSETS = [f"homes/{stage}" for stage in STAGES]
FILES = ["first.csv", "second.csv", "third.csv"]
IMPOSSIBLE, EASY = [{"metric": "r2", "min": 0.9999}], [{"metric": "r2", "min": 0.5}]


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    """Three files that have arrived and become partitions, of a model that nothing has trained."""
    deployment = Deployment(tmp_path)
    declare(deployment, endpoint={"enabled": False}, gates=IMPOSSIBLE)
    for number, name in enumerate(FILES):
        deliver(deployment, name, csv_text(home_rows(150, seed=number, first_id=1 + 1_000 * number)))
    loaded = run(deployment, "--upto", "arrivals")
    assert loaded.status == 0, loaded.stderr
    yield deployment
    assert processes_below(deployment.folder) == []


def test_a_backfill_whose_gate_fails_registers_nothing(deployment: Deployment) -> None:
    with running_ui(deployment) as ui:
        assert _ended(ui, ui.backfill(ASSETS, FILES)) == ["SUCCESS", "FAILURE"]
    assert deployment.json("models") == []
    assert unfinished(deployment) == []


def test_two_backfills_at_once_that_pass_register_one_version(deployment: Deployment) -> None:
    declare(deployment, endpoint={"enabled": False}, gates=EASY)
    with running_ui(deployment) as ui:
        both = [ui.backfill(ASSETS, FILES), ui.backfill(ASSETS, FILES[1:])]
        for started in both:
            assert _ended(ui, started) == ["SUCCESS", "SUCCESS"]
        loads = ui.loads("homes")
    versions = deployment.json("models")
    assert [(item["version"], item["aliases"]) for item in versions] == [(1, ["champion"])]
    assert loads == dict.fromkeys(FILES, 1)
    assert unfinished(deployment) == []


def _ended(ui: Ui, backfill: str) -> list[str]:
    """How the two runs of a backfill ended: the arrivals' over the range, and that of what follows."""

    def statuses() -> list[str]:
        return [item["status"] for item in ui.runs() if item["tags"].get("dagster/backfill") == backfill]

    until(lambda: len(statuses()) == 2 and set(statuses()) <= set(ENDED), 200, pause=1)
    return statuses()
