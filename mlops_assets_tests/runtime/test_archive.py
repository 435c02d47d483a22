"""Model files: nothing but a sound archive of trusted types is opened, and equal models give equal bytes."""

from __future__ import annotations

import json
import pickle
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.base import BaseEstimator
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LinearRegression

from mlops_assets.declaration.estimators import ALLOWED_ESTIMATORS
from mlops_assets.errors import ArtifactError, UntrustedModelError
from mlops_assets.runtime.archive import dump_archive, load_archive
from mlops_assets.runtime.estimators import build_estimator
from mlops_assets.runtime.preprocessing import build_pipeline
from mlops_assets.runtime.signature import Feature

ALLOWED = [(task, path) for task, paths in ALLOWED_ESTIMATORS.items() for path in paths]
X = np.arange(40.0).reshape(20, 2)


class Stranger(BaseEstimator):
    """An estimator of nobody's list."""

    def fit(self, x: object, y: object) -> Stranger:
        return self

    def predict(self, x: np.ndarray) -> np.ndarray:
        return np.zeros(len(x))


class Bomb:
    """Creates a file when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize(("task", "path"), ALLOWED, ids=[path.rsplit(".")[-1] for _, path in ALLOWED])
@pytest.mark.filterwarnings("ignore")
def test_every_allowed_estimator_loads_again_with_the_types_that_ship(
    tmp_path: Path, task: str, path: str
) -> None:
    draw = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"a": draw.uniform(0, 3, 80).round(), "c": draw.choice(["x", "y"], 80).astype(object)}
    )
    target = frame["a"] + 1.0 if task == "regression" else np.where(frame["a"] > 1, "hi", "lo")
    features = [Feature(name="a", type="float"), Feature(name="c", type="string")]
    parameters = {"n_neighbors": 3} if "KNeighbors" in path else {"radius": 5.0} if "RadiusN" in path else {}
    estimator = build_estimator(path, parameters, task=task, seed=0)  # type: ignore[arg-type]
    fitted = build_pipeline(features, {"encode": "ordinal"}, estimator).fit(frame, np.asarray(target))
    dump_archive(fitted, tmp_path / "m.skops")
    again = load_archive(tmp_path / "m.skops")
    assert np.array_equal(again.predict(frame), fitted.predict(frame))


def test_equal_models_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        dump_archive(RandomForestRegressor(3, random_state=0).fit(X.copy(), X[:, 0].copy()), tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_a_type_that_nobody_trusts_is_named_with_the_setting(tmp_path: Path) -> None:
    path = tmp_path / "m.skops"
    dump_archive(Stranger().fit(X, X), path)
    with pytest.raises(UntrustedModelError, match=r"test_archive\.Stranger.*MLOPS_TRUSTED_TYPES"):
        load_archive(path)
    assert isinstance(load_archive(path, trusted_types=[f"{Stranger.__module__}.Stranger"]), Stranger)


def test_a_pickle_named_skops_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    path, proof = tmp_path / "m.skops", tmp_path / "ran"
    path.write_bytes(pickle.dumps(Bomb(proof)))
    with pytest.raises(UntrustedModelError, match="a pickle is never loaded"):
        load_archive(path)
    assert not proof.exists()


def test_a_pickle_inside_a_sound_archive_runs_nothing(tmp_path: Path) -> None:
    path, proof = tmp_path / "m.skops", tmp_path / "ran"
    dump_archive(LinearRegression().fit(X, X[:, 0]), path)
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data if name == "schema.json" else pickle.dumps(Bomb(proof)))
    with pytest.raises(UntrustedModelError, match="cannot be read"):
        load_archive(path)
    assert not proof.exists()


def _zip(path: Path, *entries: tuple[str | zipfile.ZipInfo, bytes], deflate: bool = False) -> None:
    with (
        warnings.catch_warnings(),
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if deflate else 0) as archive,
    ):
        warnings.simplefilter("ignore")
        for name, data in entries:
            archive.writestr(name, data)


def _link() -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("1.npy")
    info.external_attr = 0o120777 << 16
    return info


@pytest.mark.parametrize(
    ("entries", "deflate", "reason"),
    [
        ([("schema.json", b"{}"), ("../../evil", b"x")], False, "leads out of it"),
        ([("schema.json", b"{}"), ("/etc/evil", b"x")], False, "leads out of it"),
        ([("schema.json", b"{}"), ("a\\..\\b", b"x")], False, "leads out of it"),
        ([("schema.json", b"{}"), (_link(), b"/etc/passwd")], False, "symbolic link"),
        ([("schema.json", b"{}"), ("1.npy", bytes(50_000_000))], True, "-fold"),
        ([("schema.json", b"{}"), ("schema.json", b"{}")], False, "duplicate"),
        ([("1.npy", b"x")], False, r"no schema\.json"),
        ([("schema.json", b"not json")], False, "cannot be read"),
        ([("schema.json", b"[" * 100_000)], False, "cannot be read"),
    ],
)
def test_a_crafted_archive_is_refused(
    tmp_path: Path, entries: list[tuple[str | zipfile.ZipInfo, bytes]], deflate: bool, reason: str
) -> None:
    _zip(tmp_path / "m.skops", *entries, deflate=deflate)
    with pytest.raises(UntrustedModelError, match=reason):
        load_archive(tmp_path / "m.skops")


def test_a_schema_that_names_a_function_of_the_system_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.skops"
    dump_archive(LinearRegression().fit(X, X[:, 0]), path)
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    schema = json.loads(entries["schema.json"])
    schema.update({"__class__": "system", "__module__": "os"})
    _zip(
        path,
        *(
            (name, json.dumps(schema).encode() if name == "schema.json" else data)
            for name, data in entries.items()
        ),
    )
    with pytest.raises(UntrustedModelError, match=r"os\.system"):
        load_archive(path)


@pytest.mark.parametrize("keep", [0, 3, 200, -30])
def test_a_truncated_archive_is_refused(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "m.skops"
    dump_archive(LinearRegression().fit(X, X[:, 0]), path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UntrustedModelError):
        load_archive(path)


def test_a_symlink_in_the_place_of_the_model_is_refused(tmp_path: Path) -> None:
    dump_archive(LinearRegression().fit(X, X[:, 0]), tmp_path / "elsewhere")
    (tmp_path / "m.skops").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UntrustedModelError, match="not a regular file"):
        load_archive(tmp_path / "m.skops")


def test_a_missing_model_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"m\.skops.*missing"):
        load_archive(tmp_path / "m.skops")


def test_an_archive_is_what_skops_itself_reads(tmp_path: Path) -> None:
    dump_archive(LinearRegression().fit(X, X[:, 0]), tmp_path / "m.skops")
    assert isinstance(skops.io.load(tmp_path / "m.skops"), LinearRegression)
