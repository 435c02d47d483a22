"""What is unchanged is not done again, what a change touches is, and every stage says why."""

from __future__ import annotations

import pytest

from mlops_assets_tests.commands import Deployment
from mlops_assets_tests.end_to_end.small import Run, declare, deliver, run
from mlops_assets_tests.factories import HOMES_SQL, csv_text, home_rows

pytestmark = pytest.mark.slow

MODELLING = {"candidate", "evaluation"}
LOWER = [{"metric": "r2", "min": 0.4}, {"metric": "rmse", "champion": {"tolerance": 0.05}}]
COMMENTED = f"-- Written by somebody with another taste.\n{HOMES_SQL}".replace("SELECT ", "select\n   ")
DEEPER = {"max_depth": 8}


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """One model's runs, each after one more change."""
    deployment = Deployment(tmp_path_factory.mktemp("skipping"))
    runs: dict[str, Run] = {}
    declare(deployment)
    deliver(deployment)
    runs["first"] = run(deployment)
    runs["again"] = run(deployment)
    declare(deployment, sql=COMMENTED)
    runs["comment"] = run(deployment)
    declare(deployment, sql=COMMENTED, gates=LOWER)
    runs["gate"] = run(deployment)
    declare(deployment, sql=COMMENTED, gates=LOWER, parameters=DEEPER)
    runs["parameter"] = run(deployment)
    rows = home_rows(300)
    rows[17][-1] += 1
    deliver(deployment, text=csv_text(rows))
    runs["cell"] = run(deployment)
    runs["forced"] = run(deployment, "--force")
    return runs


def test_every_run_ended_well(story: dict[str, Run]) -> None:
    assert {name: ended.status for name, ended in story.items() if ended.status} == {}
    assert story["first"].done >= {"arrivals", "home_features", "dataset", *MODELLING}
    assert set(story["first"].reasons.values()) >= {"first run"}


@pytest.mark.parametrize("change", ["again", "comment"])
def test_nothing_is_done_where_nothing_that_counts_changed(story: dict[str, Run], change: str) -> None:
    ended, first = story[change], story["first"]
    assert {"home_features", "dataset", *MODELLING} <= set(ended.report["skipped"])
    assert f"unchanged since run {first.report['run_id'][:8]}" in ended.reasons["candidate"]
    assert ended.report["version"] == 1
    assert ended.report["uris"] == first.report["uris"]


def test_a_changed_gate_judges_the_same_candidate_again(story: dict[str, Run]) -> None:
    ended = story["gate"]
    assert {"home_features", "dataset", *MODELLING} <= set(ended.report["skipped"])
    assert ended.report["uris"] == story["first"].report["uris"]
    assert [gate["threshold"] for gate in story["first"].report["gates"]] != [
        gate["threshold"] for gate in ended.report["gates"]
    ]


def test_a_changed_parameter_trains_again_on_the_same_dataset(story: dict[str, Run]) -> None:
    ended = story["parameter"]
    assert {"home_features", "dataset"} <= set(ended.report["skipped"])
    assert ended.done >= MODELLING
    assert "max_depth 6 → 8" in ended.reasons["candidate"]
    assert ended.report["dataset"] == story["first"].report["dataset"]
    assert ended.report["version"] == 2


def test_one_changed_cell_goes_all_the_way(story: dict[str, Run]) -> None:
    ended = story["cell"]
    assert ended.done >= {"arrivals", "home_features", "dataset", *MODELLING}
    assert ended.report["rows"] == {"in": 300, "loaded": 300, "quarantined": 0, "objects": 1, "new": 1}
    assert ended.report["dataset"]["version"] != story["first"].report["dataset"]["version"]
    assert "inputs" in ended.reasons["candidate"]
    assert ended.report["version"] == 3


def test_force_does_everything_again_and_comes_to_the_same(story: dict[str, Run]) -> None:
    ended, before = story["forced"], story["cell"]
    assert ended.report["skipped"] == []
    assert ended.done >= {"arrivals", "home_features", "dataset", *MODELLING}
    assert set(ended.reasons[stage] for stage in MODELLING) == {"forced"}
    assert ended.report["version"] == 3
    assert ended.report["uris"] == before.report["uris"]
    assert ended.report["metrics"] == before.report["metrics"]
    assert ended.report["rows"] == before.report["rows"] | {"new": 0}
    # Nor did the trainer answer with what it had made before: that takes as long as skipping does.
    again = story["again"]
    assert min(ended.seconds[stage] for stage in MODELLING) > max(again.seconds[stage] for stage in MODELLING)
