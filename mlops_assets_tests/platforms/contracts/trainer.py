"""What every platform's trainer does: one result per request, published output, reasons in its errors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlops_assets.artifacts import ArtifactUri, digest_of
from mlops_assets.errors import ArtifactError, JobFailedError
from mlops_assets.platforms.ports import JobRequest, ObjectStore, Trainer

ROWS = 300
FEATURES = [{"name": "a", "type": "float"}, {"name": "b", "type": "int"}]
ESTIMATOR = "sklearn.tree.DecisionTreeRegressor"
# Every run of it makes another model: what stays the same was not made by running it again.
RESTLESS = """
import os
from sklearn.linear_model import Ridge

def train(train, validation, parameters):
    alpha = 1 + int.from_bytes(os.urandom(4), "big") / 2**32
    return Ridge(alpha=alpha).fit(train[["a", "b"]], train["p"])
"""

WAITS = """
import pathlib, time
from sklearn.linear_model import Ridge
def train(train, validation, parameters):
    pathlib.Path({started!r}).touch()
    while not pathlib.Path({go!r}).exists():
        time.sleep(0.05)
    return Ridge().fit(train[["a", "b"]], train["p"])
"""


def write_splits(store: ObjectStore, folder: Path, *, seed: int = 0) -> ArtifactUri:
    """Train, validation and test of a small regression, published; the dataset's folder."""
    random = np.random.default_rng(seed)
    for name in ("train", "validation", "test"):
        a, b = random.normal(size=ROWS), random.integers(0, 9, ROWS)
        table = pa.table({"id": np.arange(ROWS), "a": a, "b": b, "p": 3 * a + b})
        (folder / "data" / name).mkdir(parents=True)
        pq.write_table(table, folder / "data" / name / "data.parquet")
    uri = store.root.join("datasets", "m", f"v{seed}")
    store.publish(folder / "data", uri)
    return uri


def train_request(
    store: ObjectStore,
    dataset: ArtifactUri,
    *,
    code: Mapping[str, str] | None = None,
    timeout: float | None = None,
    force: bool = False,
    **changes: Any,
) -> JobRequest:
    """A request to train on `dataset`; `changes` replace arguments."""
    arguments: dict[str, Any] = {
        "model": "m",
        "task": "regression",
        "target": {"name": "p", "type": "float"},
        "features": FEATURES,
        "estimator": ESTIMATOR,
        "parameters": {"max_depth": 4},
        "preprocessing": {},
        "seed": 0,
        "dataset_version": "v1",
        **changes,
    }
    digest = digest_of({"arguments": arguments, "code": dict(code or {})})
    inputs = {"train": dataset.join("train"), "validation": dataset.join("validation")}
    output = store.root.join("candidates", "m", digest[:16])
    return JobRequest("train", "m", arguments, inputs, output, digest, dict(code or {}), timeout, force)


def waiting_request(store: ObjectStore, dataset: ArtifactUri, folder: Path) -> JobRequest:
    """A request whose job touches `started` and then waits for `go`."""
    code = WAITS.format(started=str(folder / "started"), go=str(folder / "go"))
    return train_request(store, dataset, code={"train.py": code}, estimator=None, program="train.py")


def evaluation_request(store: ObjectStore, model: ArtifactUri, dataset: ArtifactUri) -> JobRequest:
    """A request to evaluate the candidate at `model` on the test split."""
    files = store.published(model)
    assert files is not None
    arguments = {
        "model": "m",
        "candidate": digest_of(dict(files)),
        "files": dict(files),
        "metrics": None,
        "slices": [],
        "bootstrap": 50,
        "confidence": 0.9,
        "importance": True,
        "seed": 0,
        "smoke_rows": 5,
        "description": "A model.",
        "dataset_version": "v1",
        "trusted_types": [],
    }
    output = store.root.join("evaluations", "m", "1")
    inputs = {"model": model, "test": dataset.join("test")}
    return JobRequest("evaluate", "m", arguments, inputs, output, digest_of(arguments), timeout=120)


class TrainerContract:
    """Subclasses give the fixtures `store` and `trainer`."""

    def test_a_finished_job_has_published_its_files_and_gives_its_result(
        self, store: ObjectStore, trainer: Trainer, tmp_path: Path
    ) -> None:
        request = train_request(store, write_splits(store, tmp_path))
        result = trainer.run(None, request)
        assert set(result.files) == {"model.skops", "model.json"}
        assert store.published(request.output) == result.files
        assert result.result["rows"] == {"train": ROWS, "validation": ROWS, "measured": ROWS}
        assert result.result["metrics"]["r2"] > 0.8

    def test_the_same_request_finds_its_output_and_the_same_result(
        self, store: ObjectStore, trainer: Trainer, tmp_path: Path
    ) -> None:
        request = train_request(store, write_splits(store, tmp_path))
        first, second = trainer.run(None, request), trainer.run(None, request)
        assert (first.files, first.result) == (second.files, second.result)
        assert not first.metadata["reused"]
        assert second.metadata["reused"]

    def test_a_forced_request_runs_again_and_says_that_it_came_to_the_same_bytes(
        self, store: ObjectStore, trainer: Trainer, tmp_path: Path
    ) -> None:
        request = train_request(store, write_splits(store, tmp_path))
        first = trainer.run(None, replace(request, force=True))
        assert first.metadata["forced"] and not first.metadata["reused"]
        assert "reproduced" not in first.metadata  # there was nothing to compare with
        again = trainer.run(None, replace(request, force=True))
        assert (again.files, again.result) == (first.files, first.result)
        assert again.metadata["forced"] and not again.metadata["reused"]
        assert again.metadata["reproduced"] is True
        assert trainer.run(None, request).metadata["reused"]

    def test_a_forced_request_that_comes_to_other_bytes_warns_and_what_was_published_stays(
        self, store: ObjectStore, trainer: Trainer, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        dataset = write_splits(store, tmp_path)
        request = train_request(
            store, dataset, code={"train.py": RESTLESS}, estimator=None, program="train.py", parameters={}
        )
        first = trainer.run(None, request)
        kept = {name: store.read(request.output.join(name)) for name in first.files}
        again = trainer.run(None, replace(request, force=True))
        assert again.metadata["reproduced"] is False
        assert "model.skops" in again.metadata["differing_files"]
        assert (again.files, again.result) == (first.files, first.result)
        assert {name: store.read(request.output.join(name)) for name in again.files} == kept
        ours = [record for record in caplog.records if record.name.startswith("mlops_assets")]
        (warned,) = [record.getMessage() for record in ours if record.levelname == "WARNING"]
        assert "model.skops" in warned
        assert "stays" in warned

    def test_a_forced_request_that_fails_leaves_what_was_published(
        self, store: ObjectStore, trainer: Trainer, tmp_path: Path
    ) -> None:
        dataset = write_splits(store, tmp_path)
        request = train_request(store, dataset)
        first = trainer.run(None, request)
        broken = replace(request, arguments={**request.arguments, "parameters": {"nonsense": 1}}, force=True)
        with pytest.raises(JobFailedError, match="nonsense"):
            trainer.run(None, broken)
        found = trainer.run(None, request)
        assert (found.files, found.result) == (first.files, first.result)

    def test_the_same_request_elsewhere_gives_the_same_bytes(
        self, store: ObjectStore, trainer: Trainer, tmp_path: Path
    ) -> None:
        dataset = write_splits(store, tmp_path)
        request = train_request(
            store, dataset, estimator="sklearn.ensemble.RandomForestRegressor", parameters={}
        )
        first = trainer.run(None, request)
        store.delete(request.output)
        assert trainer.run(None, request).files == first.files

    def test_a_user_program_trains_with_its_parameters(
        self, store: ObjectStore, trainer: Trainer, tmp_path: Path
    ) -> None:
        program = (
            "from sklearn.linear_model import Ridge\n"
            "def train(train, validation, parameters):\n"
            "    assert list(train.columns) == list(validation.columns) == ['a', 'b', 'p']\n"
            "    return Ridge(**parameters).fit(train[['a', 'b']], train['p'])\n"
        )
        request = train_request(
            store,
            write_splits(store, tmp_path),
            code={"train.py": program},
            estimator=None,
            program="train.py",
            parameters={"alpha": 0.001},
        )
        result = trainer.run(None, request)
        assert result.result["metrics"]["r2"] > 0.999
        assert json.loads(store.read(request.output.join("model.json")))["parameters"] == {"alpha": 0.001}

    @pytest.mark.parametrize(
        ("program", "reason"),
        [
            (
                "def train(train, validation, parameters):\n    return 1 / 0\n",
                "train.py, line 2.*ZeroDivisionError",
            ),
            ("def train(\n", "train.py, line 1.*SyntaxError"),
            ("x = 1\n", "There is no function train"),
            (
                "def train(train, validation, parameters):\n    return None\n",
                "NoneType, which has no predict",
            ),
            ("import os\nos._exit(7)\n", "exit status 7"),
            ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n", "signal 9"),
        ],
    )
    def test_a_user_program_that_fails_is_reported_with_its_own_reason(
        self, store: ObjectStore, trainer: Trainer, tmp_path: Path, program: str, reason: str
    ) -> None:
        request = train_request(
            store,
            write_splits(store, tmp_path),
            code={"train.py": program},
            estimator=None,
            program="train.py",
        )
        with pytest.raises(JobFailedError, match=f"(?s){reason}"):
            trainer.run(None, request)
        assert store.published(request.output) is None

    def test_a_misspelt_parameter_is_named_with_what_was_meant(
        self, store: ObjectStore, trainer: Trainer, tmp_path: Path
    ) -> None:
        request = train_request(store, write_splits(store, tmp_path), parameters={"max_dept": 4})
        with pytest.raises(JobFailedError, match=r"max_dept.*Did you mean 'max_depth'"):
            trainer.run(None, request)

    def test_a_job_that_outlives_its_timeout_is_ended(
        self, store: ObjectStore, trainer: Trainer, tmp_path: Path
    ) -> None:
        request = train_request(
            store,
            write_splits(store, tmp_path),
            code={"train.py": "import threading\nthreading.Event().wait()\n"},
            estimator=None,
            program="train.py",
            timeout=5.0,
        )
        with pytest.raises(JobFailedError, match="timeout"):
            trainer.run(None, request)
        assert store.published(request.output) is None

    def test_a_missing_input_is_named(self, store: ObjectStore, trainer: Trainer) -> None:
        request = train_request(store, store.root.join("datasets", "m", "nowhere"))
        with pytest.raises(ArtifactError, match="nowhere"):
            trainer.run(None, request)
