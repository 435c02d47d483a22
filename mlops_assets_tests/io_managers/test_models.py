"""Assets as models: data that is checked before it is parsed, and never code."""

from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mlops_assets.errors import ArtifactError, DataError, UntrustedModelError
from mlops_assets.io_managers.pointers import Pointers
from mlops_assets.platforms.ports import Platform
from mlops_assets_tests.io_managers.conftest import Materialise, on_local_and_aws

X = np.random.default_rng(0).normal(size=(60, 3))
Y = X @ [1.0, -2.0, 0.5]


class HomeMade(BaseEstimator):
    """A type of somebody's own, which nobody trusts yet."""

    def fit(self, x: Any, y: Any) -> "HomeMade":
        self.mean_ = float(np.mean(y))
        return self


@pytest.mark.parametrize(
    "model",
    [
        RandomForestRegressor(n_estimators=5, random_state=0).fit(X, Y),
        make_pipeline(StandardScaler(), LogisticRegression()).fit(X, Y > 0),
    ],
    ids=["forest", "pipeline"],
)
def test_a_fitted_estimator_predicts_the_same_after_it_was_stored(
    materialise: Materialise, model: Any
) -> None:
    seen: list[Any] = []

    @dg.asset(io_manager_key="models")
    def trained():
        return model

    @dg.asset
    def asked(trained: BaseEstimator) -> None:
        seen.append(trained)

    assert materialise([trained, asked]).success
    assert seen[0] is not model
    np.testing.assert_array_equal(seen[0].predict(X), model.predict(X))


@on_local_and_aws
def test_the_same_model_is_the_same_version(materialise: Materialise, platform: Platform) -> None:
    @dg.asset(io_manager_key="models")
    def trained():
        return RandomForestRegressor(n_estimators=3, random_state=0).fit(X, Y)

    versions = set()
    for _ in range(2):
        materialise([trained])
        versions.add(Pointers(platform.store).required(["trained"], None).version)
    assert len(versions) == 1


@on_local_and_aws
@pytest.mark.parametrize(
    ("made", "error", "message"),
    [
        (LogisticRegression, DataError, "not fitted"),
        (lambda: {"weights": [1]}, DataError, "dict is no estimator"),
        (lambda: HomeMade().fit(X, Y), UntrustedModelError, "HomeMade"),
    ],
    ids=["unfitted", "dictionary", "untrusted"],
)
def test_what_could_not_be_loaded_is_not_stored_and_the_old_version_stays(
    materialise: Materialise, platform: Platform, made: Any, error: type[Exception], message: str
) -> None:
    models: list[Any] = [LogisticRegression().fit(X, Y > 0)]

    @dg.asset(io_manager_key="models")
    def trained():
        return models.pop()

    materialise([trained])
    before = Pointers(platform.store).required(["trained"], None)
    models.append(made())
    with pytest.raises(error, match=message):
        materialise([trained])
    assert Pointers(platform.store).required(["trained"], None) == before


@on_local_and_aws
def test_a_model_file_that_was_exchanged_is_refused_before_it_is_parsed(
    materialise: Materialise, platform: Platform
) -> None:
    @dg.asset(io_manager_key="models")
    def trained():
        return LogisticRegression().fit(X, Y > 0)

    @dg.asset
    def asked(trained: BaseEstimator) -> None: ...

    materialise([trained])
    stored = Pointers(platform.store).required(["trained"], None)
    path: Path = platform.store.local(stored.file("model.skops"))
    path.chmod(0o644)
    path.write_bytes(b"not even an archive")
    with pytest.raises(ArtifactError, match="not the one that was stored"):
        materialise([trained, asked], selection=[asked])


@on_local_and_aws
def test_each_partition_has_its_own_model(materialise: Materialise) -> None:
    definition = dg.StaticPartitionsDefinition(["1", "2"])
    seen: list[float] = []

    @dg.asset(io_manager_key="models", partitions_def=definition)
    def trained(context: dg.AssetExecutionContext):
        return LogisticRegression(C=float(context.partition_key)).fit(X, Y > 0)

    @dg.asset(partitions_def=definition)
    def asked(trained: LogisticRegression) -> None:
        seen.append(trained.C)

    for key in ("1", "2"):
        materialise([trained, asked], partition_key=key)
    assert seen == [1.0, 2.0]
