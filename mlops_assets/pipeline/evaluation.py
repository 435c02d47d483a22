"""The evaluation: a candidate, or the champion, measured on a dataset's test split."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg

from mlops_assets.artifacts import ArtifactUri, Candidate, Dataset, Evaluation, Interval, digest_of
from mlops_assets.artifacts.metrics import brief, in_order, shown
from mlops_assets.declaration.loaded import LoadedDeclaration
from mlops_assets.errors import ArtifactError
from mlops_assets.pipeline.candidate import PACKAGES
from mlops_assets.pipeline.memo import Made, Outcome, Step, once
from mlops_assets.pipeline.names import Names
from mlops_assets.pipeline.presentation import of_job, table
from mlops_assets.platforms.ports import JobRequest, ObjectStore, Platform

_CODE = tuple(
    f"mlops_assets.runtime.{name}"
    for name in (
        "archive",
        "bootstrap",
        "card",
        "casting",
        "cells",
        "evaluate",
        "frames",
        "importance",
        "metrics",
        "model",
        "outcomes",
        "plots",
        "slices",
        "splits",
    )
)
_LARGEST_PLOT = 60_000
_SLICE_METRICS = 4


@dataclass(frozen=True)
class Subject:
    """What is measured on what: a stored model by folder and digest of its files, and a dataset."""

    uri: ArtifactUri
    digest: str
    dataset: Dataset


def evaluation_asset(loaded: LoadedDeclaration) -> dg.AssetsDefinition:
    """The asset `<model>/evaluation`; hands on the `Evaluation`, whose digest is its data version."""
    names, spec = Names(loaded.name), loaded.spec

    @dg.asset(
        key=names.asset("evaluation"),
        ins={
            stage: dg.AssetIn(key=names.asset(stage), input_manager_key="handover")
            for stage in ("candidate", "dataset")
        },
        io_manager_key="handover",
        group_name=loaded.name,
        kinds={"python", "scikitlearn"},
        owners=list(spec.owners) or None,
        tags=dict(spec.tags),
        description="The candidate on the test split: metrics with intervals, slices, plots, model card.",
    )
    def evaluation(
        context: dg.AssetExecutionContext,
        platform: dg.ResourceParam[Platform],
        candidate: Candidate,
        dataset: Dataset,
    ) -> dg.MaterializeResult:
        outcome = _measured(context, platform, loaded, Subject(candidate.uri, candidate.digest, dataset))
        return dg.MaterializeResult(
            value=outcome.value,
            data_version=dg.DataVersion(outcome.value.digest),
            metadata={**_describe(platform.store, outcome.value), **outcome.metadata},
        )

    return evaluation


def measure(
    context: Any,
    platform: Platform,
    loaded: LoadedDeclaration,
    *,
    candidate_uri: ArtifactUri,
    candidate_digest: str,
    dataset: Dataset,
) -> Evaluation:
    """The evaluation of any stored model on the test split of `dataset`; a second call finds the first's.

    Args:
        context: an execution context of Dagster, for logs and Pipes.
        platform: where it runs.
        loaded: the declaration, for what is measured.
        candidate_uri: folder of the model's files.
        candidate_digest: digest of those files; checked before they are parsed.
        dataset: whose test split is used.

    Raises:
        ArtifactError: where the model's files are not those of `candidate_digest`.
        JobFailedError: where the measuring itself failed.
    """
    return _measured(context, platform, loaded, Subject(candidate_uri, candidate_digest, dataset)).value


def _measured(
    context: Any, platform: Platform, loaded: LoadedDeclaration, subject: Subject
) -> Outcome[Evaluation]:
    def work(key: str) -> Made[Evaluation]:
        return _evaluate(context, platform, _request(platform, loaded, subject, key), subject.dataset)

    return once(
        context,
        platform,
        _step(platform, loaded, subject),
        Evaluation,
        work=work,
        exists=lambda value: platform.store.published(value.uri) is not None,
    )


def _step(platform: Platform, loaded: LoadedDeclaration, subject: Subject) -> Step:
    dataset = subject.dataset
    return Step(
        model=loaded.name,
        stage="evaluation",
        code=_CODE,
        configuration={
            "evaluation": loaded.spec.evaluation.model_dump(mode="json"),
            "description": loaded.spec.description,
            "smoke_rows": loaded.spec.endpoint.smoke_rows,
            "trusted_types": sorted(platform.settings.trusted_types),
        },
        inputs={"candidate": subject.digest, "test": dataset.data_digest, "dataset": dataset.version},
        packages=(*PACKAGES, "matplotlib"),
    )


def _request(platform: Platform, loaded: LoadedDeclaration, subject: Subject, key: str) -> JobRequest:
    uri, digest, dataset = subject.uri, subject.digest, subject.dataset
    files = platform.store.published(uri)
    if files is None or digest_of(dict(files)) != digest:
        raise ArtifactError(
            f"The model's files are not those of candidate {digest[:12]}.",
            where=str(uri),
            mend="Materialise the candidate again.",
        )
    spec = loaded.spec.evaluation
    arguments = {
        "model": loaded.name,
        "candidate": digest,
        "files": dict(files),
        "metrics": list(spec.metrics) if spec.metrics else None,
        "slices": list(spec.slices),
        "bootstrap": spec.bootstrap,
        "confidence": spec.confidence,
        "importance": spec.importance,
        "seed": loaded.spec.training.seed,
        "smoke_rows": loaded.spec.endpoint.smoke_rows,
        "description": loaded.spec.description,
        "dataset_version": dataset.version,
        "trusted_types": sorted(platform.settings.trusted_types),
    }
    return JobRequest(
        program="evaluate",
        name=loaded.name,
        arguments=arguments,
        inputs={"model": uri, "test": dataset.uri.join("test")},
        output=Names(loaded.name).evaluations(platform.store.root).join(key[:16]),
        digest=key,
        timeout=loaded.spec.training.timeout,
        force=platform.settings.force,
    )


def _evaluate(context: Any, platform: Platform, request: JobRequest, dataset: Dataset) -> Made[Evaluation]:
    with platform.registry.opening():  # takes a second, as long as the program runs
        job = platform.trainer.run(context, request)
    report = _report(platform.store, request.output)
    value = Evaluation(
        model=request.name,
        digest="",
        candidate_digest=request.arguments["candidate"],
        dataset_version=dataset.version,
        data_digest=dataset.data_digest,
        rows=report["rows"],
        metrics={name: Interval.model_validate(item) for name, item in report["metrics"].items()},
        slices=report["slices"],
        slice_rows=report["slice_rows"],
        baseline=report["baseline"],
        uri=request.output,
    )
    value = value.model_copy(update={"digest": value.content_digest("digest", "uri")})
    return Made(value, of_job(job.metadata))


def _report(store: ObjectStore, folder: ArtifactUri) -> Mapping[str, Any]:
    return json.loads(store.read(folder.join("evaluation.json")))


# --- what people see --------------------------------------------------------------------------------------


def _describe(store: ObjectStore, evaluation: Evaluation) -> dict[str, Any]:
    report = _report(store, evaluation.uri)
    card = store.read(evaluation.uri.join("model_card.md")).decode()
    described: dict[str, Any] = {
        "metrics": _metrics_table(evaluation),
        "model_card": dg.MetadataValue.md(card),
        "rows": evaluation.rows,
        "dagster/uri": str(evaluation.uri),
        "digest": dg.MetadataValue.text(evaluation.digest),
        "candidate": dg.MetadataValue.text(evaluation.candidate_digest),
    }
    if evaluation.slices:
        described["slices"] = _slices_table(evaluation)
    plots = [_plot(store, evaluation.uri, name) for name in report["plots"]]
    if any(plots):
        described["plots"] = dg.MetadataValue.md("\n\n".join(filter(None, plots)))
    values = {name: evaluation.metrics[name].value for name in in_order(evaluation.metrics)}
    return described | {name: brief(value) for name, value in values.items() if value is not None}


def _metrics_table(evaluation: Evaluation) -> dg.MetadataValue:
    rows = [
        {
            "metric": name,
            "value": shown(evaluation.metrics[name].value),
            "interval": _interval(evaluation.metrics[name]),
            "baseline": shown(evaluation.baseline.get(name)),
        }
        for name in in_order(evaluation.metrics)
    ]
    return table(rows, ("metric", "value", "baseline", "interval"))


def _interval(item: Interval) -> str:
    return "none" if item.low is None else f"{shown(item.low)} to {shown(item.high)}"


def _slices_table(evaluation: Evaluation) -> dg.MetadataValue:
    """Each slice in the metrics that people ask for first; evaluation.json has all of them."""
    names = in_order(evaluation.metrics)[:_SLICE_METRICS]
    rows = [
        {"slice": label, "rows": f"{evaluation.slice_rows[label]:,}"}
        | {name: shown(values.get(name)) for name in names}
        for label, values in evaluation.slices.items()
    ]
    return table(rows, ("slice", "rows", *names))


def _plot(store: ObjectStore, folder: ArtifactUri, name: str) -> str:
    """A plot inside the metadata itself: the UI has no way to an object store's files."""
    data = store.read(folder.join("plots", f"{name}.png"))
    if len(data) > _LARGEST_PLOT:
        return ""
    return f"![{name.replace('_', ' ')}](data:image/png;base64,{base64.b64encode(data).decode()})"
