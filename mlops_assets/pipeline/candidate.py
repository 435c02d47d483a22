"""The candidate: a model trained by the runtime's program on one dataset, which nothing has judged yet."""

import json
import subprocess
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import dagster as dg

from mlops_assets.artifacts import ArtifactUri, Candidate, Dataset, digest_of
from mlops_assets.artifacts.metrics import brief, in_order
from mlops_assets.declaration.loaded import LoadedDeclaration
from mlops_assets.pipeline.memo import Made, Step, once, source_digest
from mlops_assets.pipeline.names import Names
from mlops_assets.pipeline.presentation import of_job, table
from mlops_assets.platforms.ports import JobRequest, ObjectStore, Platform

PACKAGES = ("scikit-learn", "numpy", "scipy", "skops", "pandas", "pyarrow")
# What the stored model depends on; how the job is started and reported does not.
_CODE = tuple(
    f"mlops_assets.runtime.{name}"
    for name in (
        "archive",
        "casting",
        "cells",
        "estimators",
        "frames",
        "metrics",
        "model",
        "outcomes",
        "preprocessing",
        "signature",
        "splits",
        "train",
        "user_program",
    )
)


def candidate_asset(loaded: LoadedDeclaration) -> dg.AssetsDefinition:
    """The asset `<model>/candidate`; hands on the `Candidate`, whose digest is its data version."""
    names, spec = Names(loaded.name), loaded.spec

    @dg.asset(
        key=names.asset("candidate"),
        ins={"dataset": dg.AssetIn(key=names.asset("dataset"), input_manager_key="handover")},
        io_manager_key="handover",
        group_name=loaded.name,
        kinds={"python", "scikitlearn"},
        owners=list(spec.owners) or None,
        tags=dict(spec.tags),
        description=f"{spec.training.estimator or spec.training.program} trained for {spec.training.target}.",
    )
    def candidate(
        context: dg.AssetExecutionContext, platform: dg.ResourceParam[Platform], dataset: Dataset
    ) -> dg.MaterializeResult:
        outcome = once(
            context,
            platform,
            _step(platform, loaded, dataset),
            Candidate,
            work=lambda key: _train(context, platform, loaded, dataset, key),
            exists=lambda value: platform.store.published(value.uri) == value.files,
        )
        return dg.MaterializeResult(
            value=outcome.value,
            data_version=dg.DataVersion(outcome.value.digest),
            metadata={**_describe(platform.store, outcome.value, dataset), **outcome.metadata},
        )

    return candidate


def _step(platform: Platform, loaded: LoadedDeclaration, dataset: Dataset) -> Step:
    training = loaded.spec.training.model_dump(mode="json", exclude={"timeout", "features", "exclude"})
    return Step(
        model=loaded.name,
        stage="candidate",
        code=_CODE,
        configuration={
            "training": training,
            "program": source_digest(loaded.program) if loaded.program is not None else None,
            "aliases": _aliases(loaded, dataset),
            "csv": _csv(loaded),
            "trusted_types": sorted(platform.settings.trusted_types),
        },
        inputs={"dataset": dataset.version},
        packages=PACKAGES,
    )


def _train(
    context: Any, platform: Platform, loaded: LoadedDeclaration, dataset: Dataset, key: str
) -> Made[Candidate]:
    request = _request(platform, loaded, dataset, key)
    platform.registry.warm()  # importing and opening it takes seconds that overlap with the training
    job = platform.trainer.run(context, request)
    context.log.info(f"candidate: {request.output}, {job.metadata}")
    stored = _model_json(platform.store, request.output)
    candidate = Candidate(
        model=loaded.name,
        digest=digest_of(dict(job.files)),
        uri=request.output,
        files=dict(job.files),
        recipe=key,
        dataset_version=dataset.version,
        dataset_uri=dataset.uri,
        estimator=stored["estimator"],
        parameters=stored["parameters"],
        metrics={name: value for name, value in stored["metrics"].items() if value is not None},
        run_id=context.run.run_id,
        git_commit=_git_commit(loaded.folder),
    )
    return Made(candidate, of_job(job.metadata))


def _request(platform: Platform, loaded: LoadedDeclaration, dataset: Dataset, key: str) -> JobRequest:
    training = loaded.spec.training
    types = {column.name: column.type for column in dataset.columns}
    arguments = {
        "model": loaded.name,
        "task": training.task,
        "target": {"name": dataset.target, "type": types[dataset.target]},
        "features": [{"name": name, "type": types[name]} for name in dataset.features],
        "aliases": _aliases(loaded, dataset),
        "csv": _csv(loaded),
        "estimator": training.estimator,
        "allowed_estimators": [training.estimator] if training.estimator else [],
        "program": training.program,
        "parameters": training.parameters,
        "preprocessing": training.preprocessing.model_dump(mode="json"),
        "seed": training.seed,
        "dataset_version": dataset.version,
        "trusted_types": sorted(platform.settings.trusted_types),
    }
    code = {training.program: loaded.program} if training.program and loaded.program is not None else {}
    return JobRequest(
        program="train",
        name=loaded.name,
        arguments=arguments,
        inputs={name: dataset.uri.join(name) for name in ("train", "validation")},
        output=Names(loaded.name).candidates(platform.store.root).join(key[:16]),
        digest=key,
        code=code,
        timeout=training.timeout,
        force=platform.settings.force,
    )


def _csv(loaded: LoadedDeclaration) -> dict[str, Any]:
    """How arriving files are written; nothing where they are no CSV."""
    arrivals = loaded.spec.arrivals
    if arrivals.format != "csv":
        return {}
    return {"delimiter": arrivals.delimiter, "null_values": list(arrivals.null_values)}


def _aliases(loaded: LoadedDeclaration, dataset: Dataset) -> dict[str, str]:
    """Column name in arriving files -> the feature that copies it unchanged, where the two differ."""
    arrivals = loaded.spec.arrivals.columns
    found: dict[str, str] = {}
    for feature in dataset.features:
        column = dataset.passthrough.get(feature)
        if column is not None and column in arrivals:
            source = arrivals[column].source or column
            if source != feature and source not in dataset.features:
                found.setdefault(source, feature)
    return found


@lru_cache(maxsize=8)
def _git_commit(folder: Path) -> str | None:
    """The commit that the declaration's repository is at; None where there is no repository or no git."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None


def _model_json(store: ObjectStore, folder: ArtifactUri) -> Mapping[str, Any]:
    return json.loads(store.read(folder.join("model.json")))


def _describe(store: ObjectStore, candidate: Candidate, dataset: Dataset) -> dict[str, Any]:
    stored = _model_json(store, candidate.uri)
    parameters = [{"parameter": name, "value": value} for name, value in sorted(candidate.parameters.items())]
    features = [{"feature": item["name"], "type": item["type"]} for item in stored["features"]]
    return {
        "estimator": candidate.estimator,
        "parameters": table(parameters, ("parameter", "value")),
        "features": table(features, ("feature", "type")),
        "libraries": dg.MetadataValue.json(stored["libraries"]),
        "dagster/uri": str(candidate.uri),
        "digest": dg.MetadataValue.text(candidate.digest),
        "dataset_version": dg.MetadataValue.text(candidate.dataset_version),
        "train_rows": dataset.split("train").rows,
        "validation_rows": dataset.split("validation").rows,
        "git_commit": candidate.git_commit or "none",
        **{f"validation_{name}": brief(candidate.metrics[name]) for name in in_order(candidate.metrics)},
    }
