"""A step runs once per key, says why it runs again, and never trusts a result that is gone."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest

from mlops_assets.artifacts import TableRef
from mlops_assets.pipeline.memo import Made, Outcome, Step, once, source_digest
from mlops_assets.platforms.ports import Platform
from mlops_assets_tests.factories import local_platform

RUN = SimpleNamespace(run_id="0123456789")
CONTEXT = SimpleNamespace(log=logging.getLogger("test"), run=RUN, op_execution_context=RUN)


def step(**changes) -> Step:
    arguments = {"code": ("mlops_assets.errors",), "configuration": {"a": {"b": 1}}, "inputs": {"x": "v1"}}
    return Step(model="homes", stage="thing", **{**arguments, **changes})


class Counter:
    def __init__(self) -> None:
        self.keys: list[str] = []

    def __call__(self, key: str) -> Made[TableRef]:
        self.keys.append(key)
        return Made(TableRef(relation="homes.thing", version=key), {"job/seconds": len(self.keys)})


@pytest.fixture
def platform(tmp_path) -> Platform:
    return local_platform(tmp_path)


def run(
    platform: Platform, work: Counter, this: Step | None = None, *, exists=lambda _: True, **options
) -> Outcome:
    return once(CONTEXT, platform, this or step(), TableRef, work=work, exists=exists, **options)


def reason(outcome: Outcome) -> str:
    return outcome.metadata["mlops/reason"].text


def test_the_second_time_nothing_runs_and_the_first_run_is_named(platform):
    work = Counter()
    first, second = run(platform, work), run(platform, work)
    assert (first.skipped, second.skipped, len(work.keys)) == (False, True, 1)
    assert reason(first) == "first run"
    assert reason(second) == "unchanged since run 01234567"
    assert first.value == second.value


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"configuration": {"a": {"b": 2}}}, "changed: configuration.a.b 1 → 2"),
        ({"inputs": {"x": "v2"}}, "changed: inputs.x v1 → v2"),
        ({"packages": ("duckdb",)}, "changed: environment.duckdb (none) →"),
        ({"code": ("mlops_assets.settings",)}, "changed: code "),
    ],
)
def test_what_changed_is_named(platform, change, why):
    work = Counter()
    run(platform, work)
    again = run(platform, work, step(**change))
    assert not again.skipped
    assert reason(again).startswith(why)


def test_force_runs_it_again(tmp_path):
    work = Counter()
    run(local_platform(tmp_path), work)
    again = run(local_platform(tmp_path, force=True), work)
    assert (again.skipped, reason(again), len(work.keys)) == (False, "forced", 2)


def test_what_the_work_says_of_itself_is_shown_where_it_ran_and_not_where_it_was_skipped(platform):
    work = Counter()
    first, second = run(platform, work), run(platform, work)
    assert first.metadata["job/seconds"] == 1
    assert "job/seconds" not in second.metadata


def test_a_result_that_is_gone_is_made_again(platform):
    work = Counter()
    run(platform, work)
    again = run(platform, work, exists=lambda _: False)
    assert (again.skipped, reason(again)) == (False, "its result is no longer there")


def test_a_table_that_was_replaced_meanwhile_is_built_again(platform):
    work = Counter()
    run(platform, work, mutable=True)
    run(platform, work, step(inputs={"x": "v2"}), mutable=True)
    back = run(platform, work, mutable=True)
    assert not back.skipped
    assert run(platform, work, mutable=True).skipped


def test_an_artifact_that_is_named_by_content_is_found_again_after_a_change_back(platform):
    work = Counter()
    run(platform, work)
    run(platform, work, step(inputs={"x": "v2"}))
    assert run(platform, work).skipped


def test_a_crash_while_a_table_is_replaced_leaves_no_record_to_trust(platform):
    work = Counter()
    run(platform, work, mutable=True)

    def crash(key: str) -> Made[TableRef]:
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        once(
            CONTEXT,
            platform,
            step(inputs={"x": "v2"}),
            TableRef,
            work=crash,
            exists=lambda _: True,
            mutable=True,
        )
    back = run(platform, work, mutable=True)
    assert (back.skipped, reason(back)) == (False, "the last attempt did not finish")


def test_a_record_that_was_damaged_costs_a_run_and_nothing_else(platform):
    work = Counter()
    first = run(platform, work)
    folder = platform.store.root.join("memo", "homes", "thing")
    platform.store.write(folder.join(f"{work.keys[0]}.json"), b'{"value": {"nonsense": 1}')
    again = run(platform, work)
    assert (again.skipped, again.value) == (False, first.value)


def test_comments_docstrings_and_formatting_are_not_code():
    plain = "def f(x):\n    return x + 1\n"
    dressed = '"""Module."""\n# why\ndef f( x ):\n    """Doc."""\n    return x+1\n'
    assert source_digest(plain) == source_digest(dressed)
    assert source_digest(plain) != source_digest(plain.replace("1", "2"))
