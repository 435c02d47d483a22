"""The training program: splits in, a stored model and its signature out.

An estimator by name is trained behind preprocessing (preprocessing.py); a user's program returns its own.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import pandas as pd

from mlops_assets.errors import DataError, JobFailedError
from mlops_assets.runtime.archive import dump_archive, load_archive
from mlops_assets.runtime.estimators import build_estimator
from mlops_assets.runtime.frames import Frame, answers, read_frame, rows_with_target
from mlops_assets.runtime.metrics import score
from mlops_assets.runtime.model import MODEL_FILE, SIGNATURE_FILE, LoadedModel
from mlops_assets.runtime.preprocessing import build_pipeline
from mlops_assets.runtime.program import Progress, Request, main
from mlops_assets.runtime.signature import Baseline, Delimited, Feature, Signature, Target
from mlops_assets.runtime.threads import FIT, threads_for
from mlops_assets.runtime.user_program import train_by_program

PACKAGES = ("scikit-learn", "numpy", "scipy", "skops", "pandas", "pyarrow")
_MOST_CATEGORIES = 50
# Validation metrics tell a person how training went (gates judge the whole test split): their sampling error
# at this many rows is below a per cent of what they measure.
_MEASURED = 50_000


def train(request: Request, progress: Progress) -> dict[str, Any]:
    """Fit, store, and measure on the validation split; what `result.json` holds."""
    arguments = request.arguments
    features = tuple(Feature.model_validate(item) for item in arguments["features"])
    target = Feature.model_validate(arguments["target"])
    validation = rows_with_target(request.inputs["validation"], target, arguments["task"])
    fit = read_frame(request.inputs["train"], features, target, arguments["task"])
    progress.log(
        f"{arguments['model']}: {len(fit.y):,} rows to train on, {validation:,} to validate, "
        f"{len(features)} features, {arguments.get('estimator') or arguments['program']}"
    )
    classes = _classes(fit.y, target) if arguments["task"] == "classification" else None
    with progress.step("fitting"):
        estimator = _fitted(request, fit, features, target)
    signature = Signature(
        model=arguments["model"],
        task=arguments["task"],
        target=Target(name=target.name, type=target.type, classes=classes),
        features=tuple(_seen(feature, fit.x) for feature in features),
        aliases=arguments.get("aliases", {}),
        csv=Delimited.model_validate(arguments.get("csv", {})),
        estimator=arguments.get("estimator") or arguments["program"],
        parameters=arguments.get("parameters", {}),
        preprocessing=arguments.get("preprocessing", {}) if arguments.get("estimator") else {},
        seed=arguments.get("seed", 0),
        dataset_version=arguments["dataset_version"],
        baseline=_baseline(fit.y, classes),
        libraries={name: _version(name) for name in PACKAGES},
    )
    every = max(1, -(-validation // _MEASURED))
    measured = read_frame(request.inputs["validation"], features, target, arguments["task"], every=every)
    rows = {"train": len(fit.y), "validation": validation}
    return _store(request, progress, LoadedModel(signature, estimator), measured, rows)


def _store(
    request: Request, progress: Progress, model: LoadedModel, measured: Frame, rows: dict[str, int]
) -> dict[str, Any]:
    request.output.mkdir(parents=True, exist_ok=True)
    path = request.output / MODEL_FILE
    dump_archive(model.estimator, path)
    # What cannot be loaded again under our trusted types must not become a candidate.
    stored = LoadedModel(
        model.signature, load_archive(path, trusted_types=request.arguments.get("trusted_types", ()))
    )
    metrics = score(answers(stored, measured)) if len(measured.y) else {}
    progress.metrics("validation", metrics)
    signature = model.signature.model_copy(update={"metrics": metrics})
    (request.output / SIGNATURE_FILE).write_bytes(signature.to_json())
    return {
        "metrics": metrics,
        "rows": rows | {"measured": len(measured.y)},
        "estimator": signature.estimator,
    }


def _classes(labels: np.ndarray, target: Feature) -> tuple[Any, ...]:
    classes = tuple(np.unique(labels).tolist())
    if len(classes) < 2:
        raise DataError(
            f"The training split holds {len(classes)} class(es) of the target; a classifier needs two.",
            where=f"column {target.name}",
            mend="Bring rows of another class, or check the split and the filters in the SQL.",
        )
    return classes


def _fitted(request: Request, fit: Frame, features: tuple[Feature, ...], target: Feature) -> Any:
    arguments = request.arguments
    if not len(fit.y):
        raise DataError(
            "The training split holds no row with a target.",
            where=f"column {target.name}",
            mend="Check the arrivals, the SQL and the split.",
        )
    if arguments.get("estimator") is None:
        check = read_frame(request.inputs["validation"], features, target, arguments["task"])
        return train_by_program(request, fit, check, target)
    estimator = build_estimator(
        arguments["estimator"],
        arguments.get("parameters", {}),
        task=arguments["task"],
        seed=arguments.get("seed", 0),
        allowed=arguments.get("allowed_estimators", ()),
    )
    pipeline = build_pipeline(features, arguments.get("preprocessing", {}), estimator)
    try:
        with threads_for(len(fit.y), FIT):
            return pipeline.fit(fit.x, fit.y)
    except (ValueError, TypeError) as error:
        raise JobFailedError(
            f"{arguments['estimator']} could not be fitted: {error}",
            where="training",
            mend="Correct its parameters, or numeric_impute where it takes no missing values.",
        ) from error


def _seen(feature: Feature, frame: pd.DataFrame) -> Feature:
    """The feature with the categories that training saw, where they are few enough to read."""
    if feature.type != "string":
        return feature
    categories = sorted(frame[feature.name].dropna().unique())
    return feature.model_copy(
        update={"categories": tuple(categories) if len(categories) <= _MOST_CATEGORIES else None}
    )


def _baseline(labels: np.ndarray, classes: tuple[Any, ...] | None) -> Baseline:
    if classes is None:
        return Baseline(kind="mean", value=float(labels.mean()))
    _, counts = np.unique(labels, return_counts=True)
    return Baseline(kind="prior", prior=tuple((counts / counts.sum()).tolist()))


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


def run() -> None:
    """The program, as this process's command line asks for it."""
    main(train)


if __name__ == "__main__":
    run()
