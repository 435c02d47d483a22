"""The steps before the estimator, from scikit-learn's own transformers alone: the file loads with it alone.

Everything here is fitted on the training split, is stored with the model, and never sees the target.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from mlops_assets.runtime.signature import Feature

# Codes of OrdinalEncoder for a category that training never saw, and for a missing one.
UNKNOWN, MISSING = -1, -2


def build_pipeline(features: Sequence[Feature], options: Mapping[str, Any], estimator: Any) -> Pipeline:
    """Preprocessing for `features` followed by `estimator`.

    Columns keep their order where all are numeric, so that a forest grows the trees it would grow without
    preprocessing; else the categorical ones follow the numeric ones. Empty and constant columns stay.

    Args:
        features: names and logical types; everything but `string` is numeric by now (casting.py).
        options: `numeric_impute`, `scale`, `encode`, `max_categories` as in the declaration.
        estimator: unfitted.
    """
    numeric = [feature.name for feature in features if feature.type != "string"]
    categorical = [feature.name for feature in features if feature.type == "string"]
    steps = _numeric_steps(options)
    if categorical:
        parts: list[tuple[str, Any, list[str]]] = [("categories", _encoder(options), categorical)]
        if numeric:
            parts.insert(0, ("numbers", Pipeline(steps) if steps else "passthrough", numeric))
        steps = [("features", ColumnTransformer(parts, sparse_threshold=0.0))]
    return Pipeline([*steps, ("estimator", estimator)])


def _numeric_steps(options: Mapping[str, Any]) -> list[tuple[str, Any]]:
    steps: list[tuple[str, Any]] = []
    strategy = options.get("numeric_impute", "median")
    if strategy == "zero":
        steps.append(("impute", SimpleImputer(strategy="constant", fill_value=0.0, keep_empty_features=True)))
    elif strategy != "none":
        steps.append(("impute", SimpleImputer(strategy=strategy, keep_empty_features=True)))
    if options.get("scale", False):
        steps.append(("scale", StandardScaler()))
    return steps


def _encoder(options: Mapping[str, Any]) -> Any:
    most = int(options.get("max_categories", 50))
    if options.get("encode", "onehot") == "onehot":
        return OneHotEncoder(handle_unknown="infrequent_if_exist", max_categories=most, sparse_output=False)
    return OrdinalEncoder(
        handle_unknown="use_encoded_value",
        unknown_value=UNKNOWN,
        encoded_missing_value=MISSING,
        max_categories=most,
    )
