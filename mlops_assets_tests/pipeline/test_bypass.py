"""Every way round the gates that we could think of: each ends with no registry write and says why."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from mlops_assets.artifacts import Decision, Interval, digest_of
from mlops_assets.artifacts.decisions import seal
from mlops_assets.declaration.loaded import LoadedDeclaration
from mlops_assets.errors import GateRefusedError
from mlops_assets.pipeline import handover
from mlops_assets.pipeline.judgement import policy_digest
from mlops_assets.platforms.ports import Platform
from mlops_assets_tests.judged import candidate, decision, evaluation, registry_platform
from mlops_assets_tests.pipeline.bypass_graph import (
    NAMES,
    ROWS,
    definitions,
    hand_on,
    homes_job,
    record,
    small,
)

REGISTERED = NAMES.asset("registered_model")
REFUSED = "rmse 12 is above the most allowed 10"


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    return registry_platform(tmp_path)


@pytest.fixture
def loaded(tmp_path: Path) -> LoadedDeclaration:
    return small(tmp_path)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as made:
        yield made


def _run(
    loaded: LoadedDeclaration,
    platform: Platform,
    instance: dg.DagsterInstance,
    selection: Any = None,
    **options: Any,
) -> dg.ExecuteInProcessResult:
    job = dg.define_asset_job("some", selection or dg.AssetSelection.all())
    made = dg.Definitions.merge(definitions(loaded, platform), dg.Definitions(jobs=[job]))
    return made.resolve_job_def("some").execute_in_process(instance=instance, raise_on_error=False, **options)


def _said(result: Any) -> str:
    """What the failed steps of a run said."""
    failures = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    texts = [item.user_failure_data.description for item in failures if item.user_failure_data]
    return "\n".join([*texts, *(item.error.message for item in failures if item.error)])


def _versions(platform: Platform) -> int:
    """Versions in MLflow's own table, finished or not."""
    return len(platform.registry._file.rows())  # type: ignore[attr-defined]


def _alone(loaded: LoadedDeclaration, platform: Platform, instance: dg.DagsterInstance) -> str:
    """Materialise the registered model and nothing else; what it said."""
    result = _run(loaded, platform, instance, dg.AssetSelection.assets(REGISTERED))
    assert not result.success
    return _said(result)


def _judged_only(loaded: LoadedDeclaration, platform: Platform, instance: dg.DagsterInstance) -> bool:
    """Run all but the registration; whether the gates passed."""
    return _run(
        loaded, platform, instance, dg.AssetSelection.all() - dg.AssetSelection.assets(REGISTERED)
    ).success


def test_what_passes_its_gates_is_registered_and_again_is_the_same_version(
    platform: Platform, loaded: LoadedDeclaration, instance: dg.DagsterInstance
) -> None:
    hand_on(platform, "good")
    assert _run(loaded, platform, instance).success
    assert _run(loaded, platform, instance).success
    assert _run(loaded, platform, instance, dg.AssetSelection.assets(REGISTERED)).success
    assert [item.version for item in platform.registry.versions()] == [1]


def test_a_failed_gate_stops_its_run_and_nothing_is_registered(
    platform: Platform, loaded: LoadedDeclaration, instance: dg.DagsterInstance
) -> None:
    hand_on(platform, "bad", rmse=12.0)
    result = _run(loaded, platform, instance)
    assert not result.success
    (check,) = result.get_asset_check_evaluations()
    assert (check.passed, check.description) == (False, REFUSED)
    assert not result.asset_materializations_for_node("homes__registered_model")
    assert _versions(platform) == 0


def test_registering_alone_before_any_gate_ran(
    platform: Platform, loaded: LoadedDeclaration, instance: dg.DagsterInstance
) -> None:
    hand_on(platform, "bad", rmse=12.0)
    assert "gates have not been run" in _alone(loaded, platform, instance)
    assert _versions(platform) == 0


def test_registering_alone_after_the_gate_failed(
    platform: Platform, loaded: LoadedDeclaration, instance: dg.DagsterInstance
) -> None:
    hand_on(platform, "bad", rmse=12.0)
    _run(loaded, platform, instance)
    assert REFUSED in _alone(loaded, platform, instance)
    assert _versions(platform) == 0


def test_a_run_with_the_checks_deselected(
    platform: Platform, loaded: LoadedDeclaration, instance: dg.DagsterInstance
) -> None:
    hand_on(platform, "bad", rmse=12.0)
    result = _run(loaded, platform, instance, dg.AssetSelection.all() - dg.AssetSelection.all_asset_checks())
    assert "gates have not been run" in _said(result)
    assert _versions(platform) == 0


@pytest.mark.parametrize("steps", [None, ["homes__registered_model"]])
def test_re_execution_from_failure(
    platform: Platform,
    tmp_path: Path,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
    steps: list[str] | None,
) -> None:
    monkeypatch.setenv("BYPASS_FOLDER", str(tmp_path))
    hand_on(platform, "bad", rmse=12.0)
    job = dg.reconstructable(homes_job)
    with dg.execute_job(job, instance, raise_on_error=False) as first:
        assert not first.success
    options = (
        dg.ReexecutionOptions(first.run_id, step_selection=steps)
        if steps
        else dg.ReexecutionOptions.from_failure(first.run_id, instance)
    )
    with dg.execute_job(job, instance, reexecution_options=options, raise_on_error=False) as again:
        assert not again.success
        failed = {event.step_key for event in again.all_events if event.is_step_failure}
        assert failed == {"homes__registered_model" if steps else "homes_gates"}
        if steps:
            assert REFUSED in _said(again)
    assert _versions(platform) == 0


def test_a_run_as_a_backfill_launches_it(
    platform: Platform, loaded: LoadedDeclaration, instance: dg.DagsterInstance
) -> None:
    hand_on(platform, "bad", rmse=12.0)
    result = _run(
        loaded,
        platform,
        instance,
        dg.AssetSelection.assets(REGISTERED),
        tags={"dagster/backfill": "everything"},
    )
    assert "gates have not been run" in _said(result)
    assert _versions(platform) == 0


def test_automation_that_does_not_wait_for_checks(
    platform: Platform, loaded: LoadedDeclaration, instance: dg.DagsterInstance
) -> None:
    made = definitions(loaded, platform, eager=True)
    tick = dg.evaluate_automation_conditions(made, instance)
    hand_on(platform, "bad", rmse=12.0)
    _run(loaded, platform, instance)
    tick = dg.evaluate_automation_conditions(made, instance, cursor=tick.cursor)
    assert tick.total_requested == 1, "the plain eager condition does ask for it: the hole is there"
    assert REFUSED in _alone(loaded, platform, instance)
    assert _versions(platform) == 0


def test_the_registry_called_directly_without_a_decision(
    platform: Platform, loaded: LoadedDeclaration
) -> None:
    one, measured = hand_on(platform, "bad", rmse=12.0)
    with pytest.raises(GateRefusedError, match="gates have not been run"):
        platform.registry.register(
            one, measured, None, policy_digest=policy_digest(loaded.spec.gates), approval="automatic"
        )
    assert _versions(platform) == 0


def test_the_registry_called_directly_with_a_forged_decision(
    platform: Platform, loaded: LoadedDeclaration
) -> None:
    one, measured = hand_on(platform, "bad", rmse=12.0)
    policy = [gate.model_dump(mode="json") for gate in loaded.spec.gates]
    forged = seal(decision(platform, one, measured, policy=policy), b"guessed" * 10)
    with pytest.raises(GateRefusedError, match="edited after it was sealed"):
        platform.registry.register(
            one, measured, forged, policy_digest=policy_digest(loaded.spec.gates), approval="automatic"
        )
    assert _versions(platform) == 0


def test_a_decision_edited_in_the_store(
    platform: Platform, loaded: LoadedDeclaration, instance: dg.DagsterInstance
) -> None:
    hand_on(platform, "bad", rmse=12.0)
    _run(loaded, platform, instance)
    _edit(platform, passed=True, gates=())
    assert "edited after it was sealed" in _alone(loaded, platform, instance)
    again = _run(loaded, platform, instance)
    assert "not what the gates wrote there" in _said(again)
    assert _versions(platform) == 0


def test_a_decision_edited_with_its_digest_recomputed(
    platform: Platform, loaded: LoadedDeclaration, instance: dg.DagsterInstance
) -> None:
    hand_on(platform, "bad", rmse=12.0)
    _run(loaded, platform, instance)
    edited = _edit(platform, passed=True, metrics={"rmse": 5.0, "r2": 0.9})
    _edit(platform, digest=edited.content_digest("digest", "signature"))
    assert "edited after it was sealed" in _alone(loaded, platform, instance)
    assert _versions(platform) == 0


def _edit(platform: Platform, **changes: Any) -> Decision:
    uri = record(platform)
    edited = Decision.model_validate_json(platform.store.read(uri)).model_copy(update=changes)
    platform.store.write(uri, edited.model_dump_json().encode())
    return edited


@pytest.mark.parametrize("recomputed", [False, True])
def test_metrics_edited_in_the_evaluation_handed_on(
    platform: Platform, loaded: LoadedDeclaration, instance: dg.DagsterInstance, recomputed: bool
) -> None:
    _, measured = hand_on(platform, "bad", rmse=12.0)
    _run(loaded, platform, instance)
    edited = measured.model_copy(update={"metrics": {**measured.metrics, "rmse": Interval(value=5.0)}})
    if recomputed:
        edited = edited.model_copy(update={"digest": edited.content_digest("digest", "uri")})
    handover.save(platform, NAMES.asset("evaluation"), "edited", edited)
    said = _alone(loaded, platform, instance)
    assert ("gates have not been run" if recomputed else "evaluation was edited") in said
    assert _versions(platform) == 0


def test_evaluation_and_decision_both_edited_with_every_digest_recomputed(
    platform: Platform, loaded: LoadedDeclaration, instance: dg.DagsterInstance
) -> None:
    _, measured = hand_on(platform, "bad", rmse=12.0)
    _run(loaded, platform, instance)
    edited = measured.model_copy(update={"metrics": {**measured.metrics, "rmse": Interval(value=5.0)}})
    edited = edited.model_copy(update={"digest": edited.content_digest("digest", "uri")})
    handover.save(platform, NAMES.asset("evaluation"), "edited", edited)
    verdict = Decision.model_validate_json(platform.store.read(record(platform)))
    forged = verdict.model_copy(
        update={
            "evaluation_digest": edited.digest,
            "passed": True,
            "metrics": {"rmse": 5.0, "r2": 0.9},
            "gates": tuple(gate.model_copy(update={"passed": True}) for gate in verdict.gates),
        }
    )
    forged = seal(forged, b"x" * 64).model_copy(update={"signature": verdict.signature})
    target = NAMES.decision(
        platform.store.root, edited.candidate_digest, edited.digest, verdict.policy_digest, None
    )
    platform.store.write(target, forged.model_dump_json().encode())
    assert "edited after it was sealed" in _alone(loaded, platform, instance)
    assert _versions(platform) == 0


def test_gates_tightened_after_the_verdict(
    platform: Platform, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    hand_on(platform, "bad", rmse=12.0)
    assert _judged_only(small(tmp_path, {"metric": "rmse", "max": 20.0}), platform, instance)
    tightened = small(tmp_path)
    assert "gates have not been run" in _alone(tightened, platform, instance)
    verdict = Decision.model_validate_json(platform.store.read(record(platform)))
    one, measured = hand_on(platform, "bad", rmse=12.0)
    with pytest.raises(GateRefusedError, match="gates were changed after the decision"):
        platform.registry.register(
            one, measured, verdict, policy_digest=policy_digest(tightened.spec.gates), approval="automatic"
        )
    assert _versions(platform) == 0


def test_the_verdict_of_another_candidate(
    platform: Platform, loaded: LoadedDeclaration, instance: dg.DagsterInstance
) -> None:
    hand_on(platform, "good")
    assert _judged_only(loaded, platform, instance)
    good = record(platform)
    bad, measured = hand_on(platform, "bad", rmse=12.0)
    digest = policy_digest(loaded.spec.gates)
    target = NAMES.decision(platform.store.root, bad.digest, measured.digest, digest, None)
    platform.store.write(target, platform.store.read(good))
    assert "about another candidate" in _alone(loaded, platform, instance)
    assert _versions(platform) == 0


def test_the_evaluation_of_another_candidate(
    platform: Platform, loaded: LoadedDeclaration, instance: dg.DagsterInstance
) -> None:
    _, measured = hand_on(platform, "good")
    assert _judged_only(loaded, platform, instance)
    hand_on(platform, "bad", rmse=12.0)
    handover.save(platform, NAMES.asset("evaluation"), "borrowed", measured)
    assert "of another candidate" in _alone(loaded, platform, instance)
    assert _versions(platform) == 0


def test_a_model_file_swapped_after_the_verdict(
    platform: Platform, loaded: LoadedDeclaration, instance: dg.DagsterInstance
) -> None:
    one, _ = hand_on(platform, "good")
    assert _judged_only(loaded, platform, instance)
    platform.store.write(one.uri.join("model.skops"), b"swapped")
    assert "model.skops was changed" in _alone(loaded, platform, instance)
    assert _versions(platform) == 0


def test_a_candidate_handed_on_with_another_model_in_its_place(
    platform: Platform, loaded: LoadedDeclaration, instance: dg.DagsterInstance
) -> None:
    one, _ = hand_on(platform, "good")
    assert _judged_only(loaded, platform, instance)
    other = candidate(platform, content="other")
    swapped = one.model_copy(update={"uri": other.uri, "files": other.files})
    handover.save(platform, NAMES.asset("candidate"), "swapped", swapped)
    assert "not the ones that its digest names" in _alone(loaded, platform, instance)
    assert _versions(platform) == 0


@pytest.mark.parametrize("value", [math.nan, math.inf, None])
def test_a_metric_that_is_not_a_number(
    platform: Platform, loaded: LoadedDeclaration, instance: dg.DagsterInstance, value: float | None
) -> None:
    hand_on(platform, "bad", rmse=None, metrics={"rmse": Interval(value=None), "r2": Interval(value=0.9)})
    result = _run(loaded, platform, instance)
    (check,) = result.get_asset_check_evaluations()
    assert check.description == "rmse is not a number"
    assert "rmse is not a number" in _alone(loaded, platform, instance)
    one = candidate(platform, content="bad")
    measured = evaluation(one, data_digest=ROWS).model_copy(
        update={"metrics": {"rmse": Interval(value=value)}}
    )
    verdict = decision(platform, one, evaluation(one, data_digest=ROWS))
    with pytest.raises(GateRefusedError, match="evaluation was edited"):
        platform.registry.register(
            one, measured, verdict, policy_digest=digest_of(verdict.policy), approval="automatic"
        )
    assert _versions(platform) == 0


@pytest.mark.parametrize("slice_", ["region", "region=north"])
def test_a_slice_that_is_missing(
    platform: Platform, tmp_path: Path, instance: dg.DagsterInstance, slice_: str
) -> None:
    sliced = small(tmp_path, {"metric": "rmse", "max": 10.0, "slice": slice_})
    hand_on(platform, "good")
    assert not _run(sliced, platform, instance).success
    assert f"the evaluation has no slice {slice_}" in _alone(sliced, platform, instance)
    assert _versions(platform) == 0


def test_a_champion_that_changed_since_the_verdict(
    platform: Platform, loaded: LoadedDeclaration, instance: dg.DagsterInstance
) -> None:
    one, measured = hand_on(platform, "late")
    assert _judged_only(loaded, platform, instance)
    verdict = Decision.model_validate_json(platform.store.read(record(platform)))
    hand_on(platform, "early")
    assert _run(loaded, platform, instance).success
    hand_on(platform, "late")
    assert "gates have not been run" in _alone(loaded, platform, instance)
    with pytest.raises(GateRefusedError, match="compared with champion none, but the champion is now 1"):
        platform.registry.register(
            one, measured, verdict, policy_digest=policy_digest(loaded.spec.gates), approval="automatic"
        )
    assert _versions(platform) == 1


def test_two_promotions_at_once(
    platform: Platform, loaded: LoadedDeclaration, instance: dg.DagsterInstance
) -> None:
    cases = []
    for content in ("one", "other"):
        cases.append(hand_on(platform, content))
        assert _judged_only(loaded, platform, instance)
    verdicts = [
        Decision.model_validate_json(platform.store.read(item.uri))
        for item in platform.store.list(platform.store.root.join("decisions"))
    ]
    by_candidate = {item.candidate_digest: item for item in verdicts}
    start = threading.Barrier(2)

    def promote(case: Any) -> str:
        start.wait()
        one, measured = case
        try:
            made = platform.registry.register(
                one,
                measured,
                by_candidate[one.digest],
                policy_digest=policy_digest(loaded.spec.gates),
                approval="automatic",
            )
        except GateRefusedError as error:
            return str(error)
        return f"version {made.version}"

    with ThreadPoolExecutor(2) as pool:
        outcomes = sorted(pool.map(promote, cases))
    assert "the champion is now 1" in outcomes[0]
    assert outcomes[1] == "version 1"
    assert _versions(platform) == 1


def test_a_decision_replaced_by_something_else(
    platform: Platform, loaded: LoadedDeclaration, instance: dg.DagsterInstance
) -> None:
    hand_on(platform, "good")
    assert _judged_only(loaded, platform, instance)
    platform.store.write(record(platform), b'{"passed": true}')
    assert "not what the gates wrote there" in _alone(loaded, platform, instance)
    assert "not what the gates wrote there" in _said(_run(loaded, platform, instance))
    assert _versions(platform) == 0


def test_a_decision_deleted_from_the_store(
    platform: Platform, loaded: LoadedDeclaration, instance: dg.DagsterInstance
) -> None:
    hand_on(platform, "good")
    assert _judged_only(loaded, platform, instance)
    platform.store.delete(record(platform))
    assert "gates have not been run" in _alone(loaded, platform, instance)
    assert _versions(platform) == 0


def test_a_dataset_that_changed_since_the_evaluation(
    platform: Platform, loaded: LoadedDeclaration, instance: dg.DagsterInstance
) -> None:
    from mlops_assets_tests.pipeline.bypass_graph import dataset

    hand_on(platform, "good")
    assert _judged_only(loaded, platform, instance)
    newer = dataset(platform).model_copy(update={"version": "f" * 64})
    handover.save(platform, NAMES.asset("dataset"), "newer", newer)
    assert "trained on another dataset than the latest" in _alone(loaded, platform, instance)
    assert _versions(platform) == 0


def test_a_gate_of_severity_warn_reports_and_lets_through(
    platform: Platform, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    warned = small(
        tmp_path, {"metric": "rmse", "max": 10.0, "severity": "warn"}, {"metric": "r2", "min": 0.5}
    )
    hand_on(platform, "bad", rmse=12.0)
    result = _run(warned, platform, instance)
    assert result.success
    checks = {item.check_name: (item.passed, item.severity) for item in result.get_asset_check_evaluations()}
    assert checks["rmse_max"] == (False, dg.AssetCheckSeverity.WARN)
    assert _versions(platform) == 1
