"""Registered versions to deploy: real models in a store, with the samples that evaluation leaves."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlops_assets.artifacts import ArtifactUri, Deployment, ModelVersion, digest_of
from mlops_assets.platforms.ports import Platform
from mlops_assets.runtime.model import LoadedModel
from mlops_assets_tests.runtime.models import ROWS, homes_model


@dataclass(frozen=True)
class Deployable:
    """A version and what its smoke test takes."""

    version: ModelVersion
    samples: ArtifactUri
    expected: ArtifactUri

    def deploy(self, platform: Platform) -> Deployment:
        """Deploy it on `platform`."""
        return platform.endpoint.deploy(self.version, samples=self.samples, expected=self.expected)

    def prediction(self, platform: Platform) -> float:
        """The offline prediction for the first sample."""
        return json.loads(platform.store.read(self.expected))[0]["prediction"]


def deployable(platform: Platform, number: int = 1, *, expected: Any = None) -> Deployable:
    """Version `number` of `homes`, whose prices are `number` million higher than the data's.

    Args:
        platform: whose store gets the model.
        number: the version.
        expected: other answers for the smoke test to ask for than the model's own.
    """
    root = platform.store.root
    uri = root.join("candidates", "homes", f"version-{number}")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        files: Mapping[str, str] = homes_model(folder, offset=number * 1e6)
        offline = LoadedModel.load(folder, files=files).predict_records(ROWS)
        (folder / "_complete").unlink()
        platform.store.publish(folder, uri)
    samples = root.join("evaluations", "homes", f"version-{number}", "samples.json")
    answers = root.join("evaluations", "homes", f"version-{number}", "expected.json")
    platform.store.write(samples, json.dumps(ROWS).encode())
    platform.store.write(answers, json.dumps(offline if expected is None else expected).encode())
    version = ModelVersion(
        model="homes",
        version=number,
        candidate_digest=digest_of(dict(files)),
        decision_digest="d" * 64,
        approval="approved",
        uri=uri,
        files=dict(files),
        dataset_version="d" * 64,
    )
    return Deployable(version, samples, answers)
