"""The landing sensor under the real daemon: files that appear while it runs become rows and a champion."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlops_assets_tests.commands import Deployment
from mlops_assets_tests.end_to_end.small import declare, deliver, unfinished
from mlops_assets_tests.end_to_end.watching import processes_below, until
from mlops_assets_tests.end_to_end.web import ENDED, Ui, running_ui
from mlops_assets_tests.factories import csv_text, home_rows, local_platform

pytestmark = pytest.mark.slow


def rows(count: int, seed: int) -> str:
    """A file whose listings no other seed has."""
    return csv_text(home_rows(count, seed=seed, first_id=1 + 1_000 * seed))


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    deployment = Deployment(tmp_path)
    yield deployment
    assert processes_below(deployment.folder) == []


def test_every_file_is_loaded_once_in_its_latest_version_whenever_it_arrives(deployment: Deployment) -> None:
    declare(deployment, endpoint={"enabled": False}, gates=[{"metric": "r2", "min": 0.5}])
    with running_ui(deployment, MLOPS_AUTOMATION="true", MLOPS_SENSOR_INTERVAL="1") as ui:
        deliver(deployment, "b.csv", rows(200, 1))
        deliver(deployment, "c.csv", rows(150, 2))
        _settled(ui, {"b.csv": 1, "c.csv": 1})
        first = deployment.json("models")

        deliver(deployment, "b.csv", rows(250, 3))  # written again
        _settled(ui, {"b.csv": 2, "c.csv": 1})
        deliver(deployment, "a.csv", rows(100, 4))  # late: before everything that the sensor has seen
        deliver(deployment, "d.csv", rows(120, 5))
        _settled(ui, {"a.csv": 1, "b.csv": 2, "c.csv": 1, "d.csv": 1})
        versions = deployment.json("models")
    assert [item["aliases"] for item in first] == [["champion"]]
    assert [item["version"] for item in versions if item["aliases"]] == [len(versions)] > [len(first)]
    assert _rows(deployment) == {"a.csv": 100, "b.csv": 250, "c.csv": 150, "d.csv": 120}
    assert unfinished(deployment) == []


def _settled(ui: Ui, loads: dict[str, int]) -> None:
    """Wait until every partition was loaded as often as `loads` says, and every run has ended well."""
    until(lambda: ui.loads("homes") == loads, pause=1)
    until(lambda: {run["status"] for run in ui.runs()} <= set(ENDED), pause=1)
    assert {run["status"] for run in ui.runs()} == {"SUCCESS"}, ui.runs()
    assert ui.loads("homes") == loads


def _rows(deployment: Deployment) -> dict[str, Any]:
    """Rows in the warehouse by the object they came from."""
    counted = local_platform(deployment.folder).warehouse.query(
        'SELECT "_object", count(*) AS rows FROM homes.arrivals GROUP BY 1'
    )
    return {row["_object"]: row["rows"] for row in counted}
