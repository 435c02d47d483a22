"""What a run came to: read from its events and from what its stages handed on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from mlops_assets.artifacts import Candidate, Dataset, Deployment, Evaluation, ModelVersion
from mlops_assets.pipeline.accounts import Accounts
from mlops_assets.pipeline.handover import of_run
from mlops_assets.pipeline.names import Names

if TYPE_CHECKING:
    import dagster as dg

    from mlops_assets.cli.execution import Executed
    from mlops_assets.platforms.ports import Platform

Status = Literal["registered", "refused", "failed", "partial"]


@dataclass(frozen=True)
class Report:
    """A run's outcome, JSON-like apart from the attributes.

    Attributes:
        status: `registered`; `refused` by a gate; `failed`; `partial`: ended before registration, as asked.
        rows: of everything that ever arrived: `in`, `loaded`, `quarantined`; `objects`, and the `new` ones.
        serving: version that the endpoint answers with: the champion, which after a rollback is an older one.
        stopped: why nothing serves, where a person stopped the endpoint.
        gates: one entry per gate judged.
        uris: where dataset, candidate, evaluation, model card and endpoint are.
    """

    model: str
    status: Status
    run_id: str | None = None
    version: int | None = None
    approval: str | None = None
    serving: int | None = None
    stopped: str | None = None
    metrics: dict[str, float | None] = field(default_factory=dict)
    gates: list[dict[str, Any]] = field(default_factory=list)
    dataset: dict[str, Any] | None = None
    rows: dict[str, int] = field(default_factory=dict)
    uris: dict[str, str] = field(default_factory=dict)
    error: str | None = None

    @property
    def exit_status(self) -> int:
        """0 registered or partial, 3 refused, 1 failed."""
        return {"registered": 0, "partial": 0, "refused": 3, "failed": 1}[self.status]


def report(platform: Platform, model: str, executed: Executed) -> Report:
    """The outcome of `executed`."""
    result, names = executed.result, Names(model)
    gates, errors = _gates(result, names), _errors(result, names)
    refused = [gate for gate in gates if not gate["passed"] and gate["severity"] == "error"]
    version = _handed(platform, names, "registered_model", result, ModelVersion) if not refused else None
    if refused:
        status: Status = "refused"
    elif not result.success:
        status = "failed"
    else:
        status = "registered" if "registered_model" in executed.stages else "partial"
    return Report(
        model=model,
        status=status,
        run_id=result.run_id,
        version=version.version if version else None,
        approval=version.approval if version else None,
        gates=gates,
        rows=_rows(platform, names, executed),
        error="\n".join(errors) or None if status == "failed" else None,
        **_values(platform, names, executed),
    )


def _values(platform: Platform, names: Names, executed: Executed) -> dict[str, Any]:
    result = executed.result
    dataset = _handed(platform, names, "dataset", result, Dataset)
    candidate = _handed(platform, names, "candidate", result, Candidate)
    evaluation = _handed(platform, names, "evaluation", result, Evaluation)
    deployment = _handed(platform, names, "endpoint", result, Deployment)
    uris = {
        "dataset": dataset and str(dataset.uri),
        "candidate": candidate and str(candidate.uri),
        "evaluation": evaluation and str(evaluation.uri),
        "model_card": evaluation and str(evaluation.uri.join("model_card.md")),
        "endpoint": deployment and deployment.url,
    }
    found: dict[str, Any] = {"uris": {name: uri for name, uri in uris.items() if uri}}
    if deployment is not None and deployment.stopped_by is not None:
        found["stopped"] = deployment.message
    elif deployment is not None:
        found["serving"] = deployment.version
    if dataset is not None:
        splits = {split.name: split.rows for split in dataset.splits}
        found["dataset"] = {"version": dataset.version, "rows": splits, "features": list(dataset.features)}
    if evaluation is not None:
        found["metrics"] = {name: item.value for name, item in evaluation.metrics.items()}
    return found


def _handed(platform: Platform, names: Names, stage: str, result: Any, returns: Any) -> Any:
    """What `stage` handed on in this run; None where it did not get that far."""
    return of_run(platform, names.asset(stage), result.run_id, returns)


def _rows(platform: Platform, names: Names, executed: Executed) -> dict[str, int]:
    totals = Accounts(platform.warehouse, names).totals()
    return {
        "in": totals["rows_in"],
        "loaded": totals["loaded"],
        "quarantined": totals["quarantined"],
        "objects": totals["objects"],
        "new": len(executed.discovery.keys),
    }


def _gates(result: dg.ExecuteInProcessResult, names: Names) -> list[dict[str, Any]]:
    return [
        _gate(check)
        for check in result.get_asset_check_evaluations()
        if check.asset_key == names.asset("evaluation")
    ]


def _gate(check: dg.AssetCheckEvaluation) -> dict[str, Any]:
    metadata = {key: value.value for key, value in check.metadata.items()}
    return {
        "name": check.check_name,
        "passed": check.passed,
        "severity": check.severity.value.lower(),
        "value": metadata.get("value"),
        "threshold": metadata.get("threshold"),
        "message": check.description,
    }


def _errors(result: dg.ExecuteInProcessResult, names: Names) -> list[str]:
    """One message per failed step, the innermost cause's; and each failed check that stopped the run."""
    messages: list[str] = []
    for event in result.get_step_failure_events():
        failure = event.step_failure_data
        described = failure.user_failure_data.description if failure.user_failure_data else None
        messages.append(described or _innermost(failure.error) or f"{event.step_key} failed.")
    messages += [
        f"{check.asset_key.to_user_string()}, {check.check_name}: {check.description}"
        for check in result.get_asset_check_evaluations()
        if check.blocking and not check.passed and check.asset_key != names.asset("evaluation")
    ]
    failed = result.get_run_failure_event() if not result.success and not messages else None
    return messages or ([failed.message or "The run failed."] if failed else [])


def _innermost(error: Any) -> str | None:
    while error is not None and error.cause is not None:
        error = error.cause
    if error is None:
        return None
    text = str(error.message).strip()
    prefix, _, rest = text.partition(": ")
    # `mlops_assets.errors.DataError: what was wrong`: our own messages say all without the class.
    return rest if prefix.startswith("mlops_assets.errors.") else text
