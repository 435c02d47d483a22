"""A decision lets exactly its own candidate pass; what is edited, forged or missing is refused by name."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_assets.artifacts import Candidate, Decision, Evaluation, GateResult, Interval, digest_of
from mlops_assets.artifacts.decisions import changed_file, seal, sealed, verify
from mlops_assets.artifacts.uri import ArtifactUri
from mlops_assets.errors import ArtifactError, GateRefusedError

KEY = b"k" * 64
ROOT = ArtifactUri("file:///store")
BYTES = {"model.skops": b"weights", "model.json": b"{}"}
POLICY: list[dict[str, object]] = [
    {"metric": "rmse", "max": 10.0, "severity": "error"},
    {"metric": "r2", "min": 0.5, "severity": "warn"},
]


def _sha(data: bytes) -> str:
    import hashlib

    return hashlib.sha256(data).hexdigest()


def _candidate(**changes: Any) -> Candidate:
    files = {name: _sha(data) for name, data in BYTES.items()}
    return Candidate(
        model="homes",
        digest=digest_of(files),
        uri=ROOT.join("candidates"),
        files=files,
        recipe="r",
        dataset_version="v1",
        dataset_uri=ROOT.join("datasets"),
        estimator="e",
    ).model_copy(update=changes)


def _evaluation(**changes: Any) -> Evaluation:
    made = Evaluation(
        model="homes",
        digest="",
        candidate_digest=_candidate().digest,
        dataset_version="v1",
        data_digest="rows",
        rows=100,
        metrics={"rmse": Interval(value=5.0), "r2": Interval(value=0.75)},
        uri=ROOT.join("evaluations"),
    ).model_copy(update=changes)
    return made.model_copy(update={"digest": made.content_digest("digest", "uri")})


def _decision(**changes: Any) -> Decision:
    gates = (
        GateResult(name="rmse_max", passed=True, message="rmse 5 is at most 10"),
        GateResult(name="r2_min", passed=True, severity="warn", message="r2 0.75 is at least 0.5"),
    )
    made = Decision(
        model="homes",
        digest="",
        candidate_digest=_candidate().digest,
        evaluation_digest=_evaluation().digest,
        data_digest="rows",
        policy_digest=digest_of(POLICY),
        policy=POLICY,
        metrics={"rmse": 5.0, "r2": 0.75},
        gates=gates,
        champion=3,
        passed=True,
    ).model_copy(update=changes)
    return seal(made, KEY)


def _verify(decision: Decision | None, **changes: Any) -> None:
    given: dict[str, Any] = {
        "candidate": _candidate(),
        "evaluation": _evaluation(),
        "policy_digest": digest_of(POLICY),
        "champion": 3,
        "registered": None,
        "files": _candidate().files,
        "open_file": lambda name: io.BytesIO(BYTES[name]),
        "key": KEY,
    }
    verify(decision, **{**given, **changes})


def _refusal(decision: Decision | None, **changes: Any) -> str:
    with pytest.raises(GateRefusedError) as refused:
        _verify(decision, **changes)
    assert refused.value.mend
    return str(refused.value)


def test_a_passing_decision_lets_its_candidate_through() -> None:
    _verify(_decision())


def test_without_a_decision_nothing_passes() -> None:
    assert "gates have not been run" in _refusal(None)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("metrics", {"rmse": 1.0, "r2": 0.75}),
        ("passed", False),
        ("champion", None),
        ("candidate_digest", "f" * 64),
        ("policy", []),
        ("gates", ()),
        ("run_id", "another"),
        ("signature", "0" * 64),
        ("digest", "0" * 64),
    ],
)
def test_a_record_edited_after_sealing_is_refused(field: str, value: object) -> None:
    assert "edited after it was sealed" in _refusal(_decision().model_copy(update={field: value}))


def test_recomputing_the_digest_after_an_edit_does_not_help() -> None:
    edited = _decision().model_copy(update={"metrics": {"rmse": 1.0, "r2": 0.75}})
    recomputed = edited.model_copy(update={"digest": edited.content_digest("digest", "signature")})
    assert "edited after it was sealed" in _refusal(recomputed)


def test_sealing_with_another_key_does_not_help() -> None:
    assert "edited after it was sealed" in _refusal(seal(_decision(), b"x" * 64))


def test_a_metric_of_nan_in_the_record_is_refused_and_does_not_break() -> None:
    edited = _decision().model_copy(update={"metrics": {"rmse": float("nan")}})
    assert "edited after it was sealed" in _refusal(edited)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_metric_that_is_no_number_in_the_evaluation_is_refused(value: float) -> None:
    bad = _evaluation().model_copy(update={"metrics": {"rmse": Interval(value=value)}})
    assert "evaluation was edited" in _refusal(_decision(), evaluation=bad)


def test_a_sealed_decision_on_a_metric_without_a_value_is_refused() -> None:
    empty = _evaluation(metrics={"rmse": Interval(value=None), "r2": Interval(value=0.75)})
    made = _decision(evaluation_digest=empty.digest, metrics={"rmse": None, "r2": 0.75})
    assert "rmse is not a number" in _refusal(made, evaluation=empty)


def test_the_verdict_on_another_candidate_is_refused() -> None:
    assert "about another candidate" in _refusal(_decision(candidate_digest="f" * 64))


def test_the_verdict_on_another_model_is_refused() -> None:
    assert "about another candidate" in _refusal(_decision(model="flats"))


def test_an_evaluation_edited_after_the_verdict_is_refused() -> None:
    edited = _evaluation().model_copy(update={"metrics": {"rmse": Interval(value=1.0)}})
    assert "evaluation was edited" in _refusal(_decision(), evaluation=edited)


def test_an_evaluation_edited_with_its_digest_recomputed_is_refused() -> None:
    edited = _evaluation(metrics={"rmse": Interval(value=1.0), "r2": Interval(value=0.75)})
    assert "another evaluation" in _refusal(_decision(), evaluation=edited)


def test_an_evaluation_of_another_candidate_is_refused() -> None:
    other = _evaluation(candidate_digest="f" * 64)
    assert "of another candidate" in _refusal(_decision(evaluation_digest=other.digest), evaluation=other)


def test_an_evaluation_on_another_dataset_is_refused() -> None:
    other = _evaluation(dataset_version="v2")
    assert "evaluation data" in _refusal(_decision(evaluation_digest=other.digest), evaluation=other)


def test_gates_changed_after_the_verdict_are_refused() -> None:
    assert "gates were changed" in _refusal(_decision(), policy_digest=digest_of([]))


def test_a_record_whose_policy_is_not_the_one_it_names_is_refused() -> None:
    assert "gates were changed" in _refusal(_decision(policy=[{"metric": "rmse", "max": 99.0}]))


def test_a_record_with_fewer_results_than_gates_is_refused() -> None:
    assert "0 results for 2 gates" in _refusal(_decision(gates=()))


def test_a_failed_gate_is_named_in_the_refusal() -> None:
    failed = GateResult(name="rmse_max", passed=False, message="rmse 12 is above the most allowed 10")
    made = _decision(gates=(failed, failed.model_copy(update={"severity": "warn"})), passed=False)
    assert "rmse 12 is above the most allowed 10" in _refusal(made)


def test_a_record_that_claims_to_pass_with_a_failed_gate_is_refused() -> None:
    failed = GateResult(name="rmse_max", passed=False, message="rmse 12 is above the most allowed 10")
    assert "a gate refused it" in _refusal(_decision(gates=(failed, failed), passed=True))


def test_a_failed_gate_of_severity_warn_lets_it_through() -> None:
    gates = (
        GateResult(name="rmse_max", passed=True, message="fine"),
        GateResult(name="r2_min", passed=False, severity="warn", message="low"),
    )
    _verify(_decision(gates=gates))


@pytest.mark.parametrize("champion", [None, 4])
def test_another_champion_than_the_one_compared_with_is_refused(champion: int | None) -> None:
    assert f"the champion is now {champion or 'none'}" in _refusal(_decision(), champion=champion)


def test_a_candidate_registered_already_passes_whatever_the_champion_is_now() -> None:
    _verify(_decision(), champion=7, registered=4)


def test_a_model_file_swapped_after_the_verdict_is_refused() -> None:
    swapped = {**BYTES, "model.skops": b"evil"}
    assert "model.skops was changed" in _refusal(
        _decision(), open_file=lambda name: io.BytesIO(swapped[name])
    )


def test_a_model_file_that_cannot_be_opened_is_refused() -> None:
    def missing(name: str) -> io.BytesIO:
        raise ArtifactError(f"{name} is not there")

    assert "cannot be read" in _refusal(_decision(), open_file=missing)


def test_an_unpublished_candidate_is_refused() -> None:
    assert "no longer in the store" in _refusal(_decision(), files=None)


def test_a_file_added_beside_the_model_is_refused() -> None:
    files = {**_candidate().files, "extra.py": "0" * 64}
    assert "not the ones that were judged" in _refusal(_decision(), files=files)


def test_a_candidate_whose_files_are_not_what_its_digest_names_is_refused() -> None:
    swapped = {"model.skops": _sha(b"evil"), "model.json": _sha(b"{}")}
    forged = _candidate(files=swapped)
    text = _refusal(
        _decision(),
        candidate=forged,
        files=swapped,
        open_file=lambda name: io.BytesIO({"model.skops": b"evil", "model.json": b"{}"}[name]),
    )
    assert "digest names" in text


def test_changed_file_is_none_for_files_as_recorded() -> None:
    files = _candidate().files
    assert changed_file(files, files, lambda name: io.BytesIO(BYTES[name])) is None


@given(st.text(alphabet="0123456789abcdef", min_size=64, max_size=64))
def test_no_guessed_signature_seals_a_record(guess: str) -> None:
    assert not sealed(_decision().model_copy(update={"signature": guess}), KEY)


@given(st.binary(max_size=20))
def test_any_other_bytes_of_the_model_are_refused(data: bytes) -> None:
    if data != BYTES["model.skops"]:
        swapped = {**BYTES, "model.skops": data}
        assert "was changed" in _refusal(_decision(), open_file=lambda name: io.BytesIO(swapped[name]))
