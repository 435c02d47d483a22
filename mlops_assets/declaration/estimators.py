"""The estimators that a declaration may name: scikit-learn's, by task, without importing it.

Left out: those that need another estimator to be made (stacking, voting, chains), multi-target ones, those
that take one feature only, and those that scikit-learn deprecates.
"""

from __future__ import annotations

from collections.abc import Sequence

from mlops_assets.artifacts.metrics import Task

_REGRESSORS = {
    "dummy": "DummyRegressor",
    "ensemble": "AdaBoostRegressor BaggingRegressor ExtraTreesRegressor GradientBoostingRegressor "
    "HistGradientBoostingRegressor RandomForestRegressor",
    "gaussian_process": "GaussianProcessRegressor",
    "kernel_ridge": "KernelRidge",
    "linear_model": "ARDRegression BayesianRidge ElasticNet ElasticNetCV GammaRegressor HuberRegressor Lars "
    "LarsCV Lasso LassoCV LassoLars LassoLarsCV LassoLarsIC LinearRegression OrthogonalMatchingPursuit "
    "OrthogonalMatchingPursuitCV PoissonRegressor QuantileRegressor RANSACRegressor Ridge RidgeCV "
    "SGDRegressor TheilSenRegressor TweedieRegressor",
    "neighbors": "KNeighborsRegressor RadiusNeighborsRegressor",
    "neural_network": "MLPRegressor",
    "svm": "LinearSVR NuSVR SVR",
    "tree": "DecisionTreeRegressor ExtraTreeRegressor",
}

_CLASSIFIERS = {
    "discriminant_analysis": "LinearDiscriminantAnalysis QuadraticDiscriminantAnalysis",
    "dummy": "DummyClassifier",
    "ensemble": "AdaBoostClassifier BaggingClassifier ExtraTreesClassifier GradientBoostingClassifier "
    "HistGradientBoostingClassifier RandomForestClassifier",
    "gaussian_process": "GaussianProcessClassifier",
    "linear_model": "LogisticRegression LogisticRegressionCV Perceptron RidgeClassifier RidgeClassifierCV "
    "SGDClassifier",
    "naive_bayes": "BernoulliNB CategoricalNB ComplementNB GaussianNB MultinomialNB",
    "neighbors": "KNeighborsClassifier NearestCentroid RadiusNeighborsClassifier",
    "neural_network": "MLPClassifier",
    "svm": "LinearSVC NuSVC SVC",
    "tree": "DecisionTreeClassifier ExtraTreeClassifier",
}


def _paths(names: dict[str, str]) -> tuple[str, ...]:
    return tuple(f"sklearn.{module}.{name}" for module, text in names.items() for name in text.split())


ALLOWED_ESTIMATORS: dict[Task, tuple[str, ...]] = {
    "regression": _paths(_REGRESSORS),
    "classification": _paths(_CLASSIFIERS),
}


def allowed_for(task: Task, extra: Sequence[str] = ()) -> tuple[str, ...]:
    """Import paths that a declaration of `task` may name: scikit-learn's own and the operator's `extra`."""
    return (*ALLOWED_ESTIMATORS[task], *extra)


def other_task(path: str, task: Task) -> Task | None:
    """The other task, where `path` is one of its estimators: the mistake is then the task, not the name."""
    for other, paths in ALLOWED_ESTIMATORS.items():
        if other != task and path in paths:
            return other
    return None
