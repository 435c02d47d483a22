"""An estimator from its import path and parameters, both checked so that a mistake names its mend."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from sklearn.base import is_classifier, is_regressor

from mlops_assets.artifacts.metrics import Task
from mlops_assets.errors import DeclarationError


def build_estimator(
    path: str, parameters: Mapping[str, Any], *, task: Task, seed: int, allowed: Sequence[str] = ()
) -> Any:
    """The unfitted estimator at `path` with `parameters`.

    Args:
        path: import path of a class, scikit-learn's own or one of `allowed`.
        parameters: keyword arguments of its constructor.
        task: what it must be able to do.
        seed: its `random_state`, where it takes one and `parameters` has none.
        allowed: import paths beside scikit-learn's own.

    Raises:
        DeclarationError: for a path that is not allowed, no estimator, the wrong task, an unknown parameter.
    """
    kind = _estimator_class(path, allowed)
    valid = [
        name for name in inspect.signature(kind.__init__).parameters if name not in ("self", "args", "kwargs")
    ]
    for name in parameters:
        if name not in valid:
            raise _unknown_parameter(path, name, valid)
    settings = dict(parameters)
    if "random_state" in valid and "random_state" not in settings:
        settings["random_state"] = seed
    try:
        estimator = kind(**settings)
    except (TypeError, ValueError) as error:
        raise DeclarationError(
            f"{path} cannot be made: {error}", where="training.parameters", mend="Correct the parameters."
        ) from None
    if not (is_regressor if task == "regression" else is_classifier)(estimator):
        raise DeclarationError(
            f"{path} does no {task}.", where="training.estimator", mend=f"Name an estimator for {task}."
        )
    return estimator


def _estimator_class(path: str, allowed: Sequence[str]) -> type[Any]:
    if not path.startswith("sklearn.") and path not in allowed:
        raise DeclarationError(
            f"The estimator {path!r} is not allowed.",
            where="training.estimator",
            mend="Name one of scikit-learn, or add its path to MLOPS_ALLOWED_ESTIMATORS (a JSON list).",
        )
    module, _, name = path.rpartition(".")
    try:
        kind = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError):
        raise DeclarationError(
            f"There is no estimator {path!r}.", where="training.estimator", mend="Check its import path."
        ) from None
    if not (inspect.isclass(kind) and hasattr(kind, "fit") and hasattr(kind, "predict")):
        raise DeclarationError(
            f"{path} is not an estimator.",
            where="training.estimator",
            mend="Name a class with fit and predict.",
        )
    return kind


def _unknown_parameter(path: str, name: str, valid: Sequence[str]) -> DeclarationError:
    close = get_close_matches(name, valid, n=1)
    hint = f"Did you mean {close[0]!r}? " if close else ""
    return DeclarationError(
        f"{path} has no parameter {name!r}.",
        where=f"training.parameters.{name}",
        mend=f"{hint}It takes {', '.join(valid)}.",
    )
