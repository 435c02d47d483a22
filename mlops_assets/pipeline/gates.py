"""The gates as people see them: blocking asset checks on the evaluation, and the decision record they leave.

The checks stop a run; what stops everything else is that registration asks for the record (registration.py).
"""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from mlops_assets.artifacts import Candidate, Dataset, Decision, Evaluation, GateResult, ModelVersion
from mlops_assets.artifacts.decisions import changed_file
from mlops_assets.declaration.loaded import LoadedDeclaration
from mlops_assets.declaration.schema import Gate
from mlops_assets.errors import GateRefusedError
from mlops_assets.pipeline.evaluation import measure
from mlops_assets.pipeline.judgement import judge
from mlops_assets.pipeline.names import Names
from mlops_assets.pipeline.verdicts import Case, decide
from mlops_assets.platforms.ports import Platform

__all__ = ["gate_checks", "judge"]


def gate_checks(loaded: LoadedDeclaration) -> dg.AssetChecksDefinition:
    """One asset check per declared gate, on `<model>/evaluation`, all judged together in one step.

    A gate of severity error blocks what comes after the evaluation in its run; one of severity warn does not.
    """
    names = Names(loaded.name)
    evaluated = names.asset("evaluation")

    @dg.multi_asset_check(
        name=f"{loaded.name}_gates",
        specs=[_spec(gate, names) for gate in loaded.spec.gates],
        ins={stage: dg.AssetIn(key=names.asset(stage)) for stage in ("candidate", "evaluation", "dataset")},
        can_subset=False,
        description="Judges the candidate by the declared gates and writes the decision record.",
    )
    def gates(
        context: dg.AssetCheckExecutionContext,
        platform: dg.ResourceParam[Platform],
        candidate: Candidate,
        evaluation: Evaluation,
        dataset: Dataset,
    ) -> Iterator[dg.AssetCheckResult]:
        try:
            decision, uri = _decision(context, platform, Case(loaded, candidate, evaluation, dataset))
        except GateRefusedError as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        for result in decision.gates:
            yield _check_result(result, decision, uri, evaluated)

    return gates


def _spec(gate: Gate, names: Names) -> dg.AssetCheckSpec:
    return dg.AssetCheckSpec(
        gate.name,
        asset=names.asset("evaluation"),
        additional_deps=[names.asset("candidate"), names.asset("dataset")],
        blocking=gate.severity == "error",
        description=_asked(gate),
        metadata={"mlops/severity": gate.severity},
    )


def _asked(gate: Gate) -> str:
    """What the gate asks, in a sentence."""
    parts = [
        f"at least {gate.min:g}" if gate.min is not None else "",
        f"at most {gate.max:g}" if gate.max is not None else "",
        f"better than the naive baseline{_by(' by at least', gate.baseline.better_by)}"
        if gate.baseline
        else "",
        f"not worse than the champion{_by(' by more than', gate.champion.tolerance)}"
        if gate.champion
        else "",
    ]
    where = f" in {gate.slice}" if gate.slice else ""
    return f"{gate.metric}{where}: {', '.join(part for part in parts if part)}."


def _by(words: str, share: float) -> str:
    return f"{words} {100 * share:g} %" if share else ""


def _decision(context: Any, platform: Platform, case: Case) -> tuple[Decision, str]:
    case.check()
    champion = platform.registry.champion(case.loaded.name)

    def judged() -> tuple[GateResult, ...]:
        other = _champion_evaluation(context, platform, case, champion)
        return judge(case.loaded.spec.gates, case.evaluation, other)

    decision, uri = decide(platform, case, champion, run_id=context.run.run_id, judged=judged)
    return decision, str(uri)


def _champion_evaluation(
    context: Any, platform: Platform, case: Case, champion: ModelVersion | None
) -> Evaluation | None:
    """The champion measured on the same test rows, where a gate asks for it and it is another model."""
    if champion is None or champion.candidate_digest == case.candidate.digest:
        return None
    if not any(gate.champion for gate in case.loaded.spec.gates):
        return None
    store = platform.store
    changed = changed_file(
        champion.files, store.published(champion.uri), lambda name: store.open(champion.uri.join(name))
    )
    if changed:
        raise GateRefusedError(
            f"The champion cannot be compared with: {changed}",
            where=f"{champion.model} version {champion.version}",
            mend=f"Restore {champion.uri}, or roll back: mlops-assets rollback {champion.model}.",
        )
    return measure(
        context,
        platform,
        case.loaded,
        candidate_uri=champion.uri,
        candidate_digest=champion.candidate_digest,
        dataset=case.dataset,
    )


def _check_result(
    result: GateResult, decision: Decision, uri: str, asset: dg.AssetKey
) -> dg.AssetCheckResult:
    numbers = {"value": result.value, "threshold": result.threshold}
    return dg.AssetCheckResult(
        passed=result.passed,
        check_name=result.name,
        asset_key=asset,
        severity=dg.AssetCheckSeverity.ERROR if result.severity == "error" else dg.AssetCheckSeverity.WARN,
        description=result.message,
        metadata={
            **{name: number for name, number in numbers.items() if number is not None},
            "message": result.message,
            "decision": dg.MetadataValue.text(uri),
            "champion": decision.champion or "none",
        },
    )
