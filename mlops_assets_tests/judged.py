"""Candidates as a trainer leaves them, measured and judged: published files, values, sealed decisions."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from mlops_assets.artifacts import (
    Candidate,
    Decision,
    Evaluation,
    GateResult,
    Interval,
    digest_file,
    digest_of,
)
from mlops_assets.artifacts.decisions import seal
from mlops_assets.platforms.ports import Platform
from mlops_assets_tests.factories import local_platform

POLICY: list[dict[str, object]] = [{"metric": "rmse", "max": 10.0, "severity": "error"}]


def candidate(platform: Platform, model: str = "homes", *, content: str = "first") -> Candidate:
    """A published candidate whose model file holds `content`."""
    recipe = digest_of({"model": model, "content": content})
    uri = platform.store.root.join("candidates", model, recipe[:16])
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "candidate"
        folder.mkdir()
        (folder / "model.skops").write_text(content)
        signature = {"features": [{"name": "square_feet", "type": "float"}], "target": {"name": "price"}}
        (folder / "model.json").write_text(json.dumps(signature))
        files = {path.name: digest_file(path) for path in sorted(folder.iterdir())}
        platform.store.publish(folder, uri)
    return Candidate(
        model=model,
        digest=digest_of(files),
        uri=uri,
        files=files,
        recipe=recipe,
        dataset_version="d" * 64,
        dataset_uri=platform.store.root.join("datasets", model, "d" * 16),
        estimator="sklearn.tree.DecisionTreeRegressor",
        parameters={"max_depth": 6, "criterion": "squared_error"},
        metrics={"rmse": 4.5},
        run_id="run-1",
        git_commit="c0ffee",
    )


def evaluation(
    of: Candidate, *, rmse: float | None = 5.0, data_digest: str = "e" * 64, **changes: Any
) -> Evaluation:
    """`of`, measured."""
    made = Evaluation(
        model=of.model,
        digest="",
        candidate_digest=of.digest,
        dataset_version=of.dataset_version,
        data_digest=data_digest,
        rows=100,
        metrics={"rmse": Interval(value=rmse), "r2": Interval(value=0.9)},
        baseline={"rmse": 20.0},
        uri=of.uri,
    ).model_copy(update=changes)
    return made.model_copy(update={"digest": made.content_digest("digest", "uri")})


def decision(
    platform: Platform,
    of: Candidate,
    measured: Evaluation,
    *,
    champion: int | None = None,
    passed: bool = True,
    policy: Sequence[Mapping[str, object]] = POLICY,
    **changes: Any,
) -> Decision:
    """The sealed decision that gates would leave on `of`."""
    message = "rmse 5 is at most 10" if passed else "rmse 5 is above the most allowed 4"
    made = Decision(
        model=of.model,
        digest="",
        candidate_digest=of.digest,
        evaluation_digest=measured.digest,
        data_digest=measured.data_digest,
        policy_digest=digest_of(list(policy)),
        policy=[dict(gate) for gate in policy],
        metrics={name: item.value for name, item in measured.metrics.items()},
        gates=tuple(GateResult(name="rmse_max", passed=passed, message=message) for _ in policy),
        champion=champion,
        passed=passed,
    ).model_copy(update=changes)
    return seal(made, platform.settings.seal_key())


def judged(
    platform: Platform, *, content: str = "first", champion: int | None = None, model: str = "homes"
) -> Any:
    """Candidate, evaluation and passing decision, as `register` takes them."""
    one = candidate(platform, model, content=content)
    measured = evaluation(one)
    return one, measured, decision(platform, one, measured, champion=champion)


@lru_cache(maxsize=1)
def _empty_registry() -> bytes:
    """An empty registry file, made once per process: MLflow takes seconds for it."""
    with tempfile.TemporaryDirectory() as scratch:
        platform = local_platform(Path(scratch))
        platform.registry._client()  # type: ignore[attr-defined]
        return (platform.settings.root / "mlflow.db").read_bytes()


def registry_platform(tmp_path: Path) -> Platform:
    """A local platform of its own below `tmp_path`, whose registry is there and empty."""
    platform = local_platform(tmp_path)
    platform.settings.root.mkdir(parents=True, exist_ok=True)
    (platform.settings.root / "mlflow.db").write_bytes(_empty_registry())
    return platform
