"""A stage reads the value of its own run, else of the run it re-executes, else the latest."""

from __future__ import annotations

import dagster as dg
import pytest

from mlops_assets.artifacts import TableRef
from mlops_assets.errors import ArtifactError
from mlops_assets.pipeline import handover
from mlops_assets.platforms.ports import Platform
from mlops_assets_tests.factories import local_platform

KEY = dg.AssetKey(["homes", "thing"])


@pytest.fixture
def platform(tmp_path) -> Platform:
    return local_platform(tmp_path)


def ref(version: str) -> TableRef:
    return TableRef(relation="homes.thing", version=version)


def materialise(platform: Platform, version: str | None, instance: dg.DagsterInstance) -> list[str]:
    """Run a reader, behind a writer where a version is given; what the reader read."""
    read: list[str] = []

    @dg.asset(key=KEY, io_manager_key="handover")
    def thing() -> TableRef:
        return ref(version or "never")

    @dg.asset(ins={"thing": dg.AssetIn(KEY)})
    def reader(thing: TableRef) -> None:
        read.append(thing.version)

    resources = {
        "platform": platform,
        "handover": handover.handover_io_manager,
        "io_manager": dg.mem_io_manager,
    }
    dg.materialize(
        [thing, reader],
        selection=None if version else [reader],
        resources=resources,
        instance=instance,
        raise_on_error=True,
    )
    return read


def test_a_value_reaches_the_next_stage_of_the_same_run(platform):
    with dg.DagsterInstance.ephemeral() as instance:
        assert materialise(platform, "v1", instance) == ["v1"]


def test_a_stage_run_alone_reads_the_latest(platform):
    with dg.DagsterInstance.ephemeral() as instance:
        materialise(platform, "v1", instance)
        materialise(platform, "v2", instance)
        assert materialise(platform, None, instance) == ["v2"]


def test_a_stage_without_anything_above_it_names_the_mend(platform):
    with (
        dg.DagsterInstance.ephemeral() as instance,
        pytest.raises(ArtifactError, match="has not been materialised"),
    ):
        materialise(platform, None, instance)


def test_two_runs_at_once_do_not_read_each_other(platform):
    handover.save(platform, KEY, "run-a", ref("a"))
    handover.save(platform, KEY, "run-b", ref("b"))
    own = handover.of_lineage(platform, KEY, ["run-a"], TableRef)
    retried = handover.of_lineage(platform, KEY, ["run-c", "run-a"], TableRef)
    other = handover.of_lineage(platform, KEY, ["run-d"], TableRef)
    assert [value.version for value in (own, retried, other) if value] == ["a", "a", "b"]


def test_a_value_of_another_kind_is_refused_by_name(platform):
    platform.store.write(
        platform.store.root.join("handover", "homes", "thing", "latest.json"), b'{"version": 1}'
    )
    with pytest.raises(ArtifactError, match="not a TableRef"):
        handover.latest(platform, KEY, TableRef)
