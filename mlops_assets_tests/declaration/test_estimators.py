"""The allow-list against scikit-learn's own list."""

from __future__ import annotations

import importlib
import inspect
import warnings

import pytest
from sklearn.base import is_classifier, is_regressor
from sklearn.utils import all_estimators

from mlops_assets.declaration.estimators import ALLOWED_ESTIMATORS, allowed_for, other_task

PATHS = [(task, path) for task, paths in ALLOWED_ESTIMATORS.items() for path in paths]


@pytest.mark.parametrize(("task", "path"), PATHS)
def test_each_exists_is_public_and_has_its_task(task: str, path: str) -> None:
    module, name = path.rsplit(".", 1)
    kind = getattr(importlib.import_module(module), name)
    listed = dict(all_estimators(type_filter="regressor" if task == "regression" else "classifier"))
    assert listed[name] is kind
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = kind()
    assert (is_regressor if task == "regression" else is_classifier)(made)


@pytest.mark.parametrize(
    ("task", "kind", "left_out"),
    [
        (
            "regression",
            "regressor",
            {"CCA", "IsotonicRegression", "PLSCanonical", "PLSRegression", "TransformedTargetRegressor"}
            | {"MultiTaskElasticNet", "MultiTaskElasticNetCV", "MultiTaskLasso", "MultiTaskLassoCV"}
            | {"PassiveAggressiveRegressor"},
        ),
        (
            "classification",
            "classifier",
            {"CalibratedClassifierCV", "LabelPropagation", "LabelSpreading", "SelfTrainingClassifier"}
            | {"PassiveAggressiveClassifier"},
        ),
    ],
)
def test_none_of_scikit_learns_is_forgotten(task: str, kind: str, left_out: set[str]) -> None:
    listed = {
        name
        for name, estimator in all_estimators(type_filter=kind)
        if all(
            parameter.default is not inspect.Parameter.empty or parameter.kind == parameter.VAR_KEYWORD
            for parameter in inspect.signature(estimator).parameters.values()
        )
    }
    ours = {path.rsplit(".", 1)[1] for path in ALLOWED_ESTIMATORS[task]}  # type: ignore[index]
    assert listed - ours <= left_out


def test_an_operators_own_are_allowed_for_either_task() -> None:
    assert "xgboost.XGBRegressor" in allowed_for("regression", ["xgboost.XGBRegressor"])
    assert "xgboost.XGBRegressor" in allowed_for("classification", ["xgboost.XGBRegressor"])


def test_a_name_of_the_other_task_is_recognised() -> None:
    assert other_task("sklearn.svm.SVC", "regression") == "classification"
    assert other_task("sklearn.svm.SVR", "regression") is None
    assert other_task("os.system", "regression") is None
