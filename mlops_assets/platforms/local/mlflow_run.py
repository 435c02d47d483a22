"""What people see of a version in MLflow: one run with its metrics and parameters, and the version's tags."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mlops_assets.artifacts import Candidate, Decision, Evaluation
from mlops_assets.artifacts.digest import finite_or_none
from mlops_assets.platforms.registry_records import signature

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from mlops_assets.platforms.ports import ObjectStore

_CANDIDATE = "mlops.candidate"
_PARAMETER_CHARACTERS = 6000  # MLflow's own limit


def version_tags(
    store: ObjectStore, candidate: Candidate, evaluation: Evaluation, decision: Decision
) -> dict[str, str]:
    """Tags that lead from a version to everything it came from."""
    described = signature(store, candidate.uri)  # for people; serving reads model.json itself
    tags = {
        "mlops.dataset_version": candidate.dataset_version,
        "mlops.decision": decision.digest,
        "mlops.evaluation": str(evaluation.uri),
        "mlops.estimator": candidate.estimator,
        "dagster.run_id": candidate.run_id,
        "git.commit": candidate.git_commit,
        "signature": json.dumps(described) if described else None,
    }
    return {name: value for name, value in tags.items() if value}


def log_run(
    client: MlflowClient,
    store: ObjectStore,
    candidate: Candidate,
    evaluation: Evaluation,
    tags: Mapping[str, str],
) -> str:
    """The id of the candidate's run, made or completed: logging the same values again changes nothing."""
    from mlflow.entities import Metric, Param, RunTag

    experiment = _experiment(client, store, candidate.model)
    found = client.search_runs([experiment], f"tags.`{_CANDIDATE}` = '{candidate.digest}'", max_results=1)
    run = (
        found[0]
        if found
        else client.create_run(
            experiment,
            tags={_CANDIDATE: candidate.digest},
            run_name=f"{candidate.model} {candidate.digest[:12]}",
        )
    )
    moment = run.info.start_time
    metrics = {name: item.value for name, item in evaluation.metrics.items()}
    metrics |= {f"validation_{name}": value for name, value in candidate.metrics.items()}
    metrics |= {f"baseline_{name}": value for name, value in evaluation.baseline.items()}
    shown = {name: value for name, value in metrics.items() if finite_or_none(value) is not None}
    extra = {"mlflow.source.git.commit": candidate.git_commit or ""} if candidate.git_commit else {}
    client.log_batch(
        run.info.run_id,
        metrics=[Metric(name, float(value), moment, 0) for name, value in shown.items() if value is not None],
        params=[Param(name, _text(value)) for name, value in candidate.parameters.items()],
        tags=[RunTag(name, value) for name, value in {**tags, **extra}.items()],
    )
    client.set_terminated(run.info.run_id)
    return run.info.run_id


def _experiment(client: MlflowClient, store: ObjectStore, model: str) -> str:
    """The model's experiment. Its artifact folder stays empty: a version's source is the candidate itself."""
    found = client.get_experiment_by_name(model)
    if found is not None:
        return found.experiment_id
    return client.create_experiment(model, artifact_location=str(store.root.join("mlflow", model)))


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return text[:_PARAMETER_CHARACTERS]
