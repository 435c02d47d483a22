"""What the registry keeps in the object store: records and histories named by content, and who is which.

Below `registry/`: `records/<model>/<SHA-256>.json`, `histories/<model>/<SHA-256>.json`,
`candidates/<model>/<candidate>.json` (its version), `models/<model>.json`, `leases/<model>.json`; where the
service has no room for them, `champions/<model>.json`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mlops_assets.artifacts import ArtifactUri
from mlops_assets.artifacts.digest import canonical_json
from mlops_assets.errors import ArtifactError

if TYPE_CHECKING:
    from mlops_assets.platforms.ports import ObjectStore

_EVENTS_KEPT = 100


class RegistryObjects:
    """The registry's objects in one store."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self.root = store.root.join("registry")
        self._known: dict[str, dict[str, Any]] = {}

    def models(self) -> list[str]:
        """Every model that was ever registered, by name."""
        folder = self.root.join("models")
        return [folder.relative(item.uri).removesuffix(".json") for item in self._store.list(folder)]

    def add_model(self, model: str) -> None:
        """Remember the model."""
        uri = self.root.join("models", f"{model}.json")
        if self._store.head(uri) is None:
            self._store.write(uri, b"{}")

    def lease(self, model: str) -> ArtifactUri:
        """Where the model's lease lies."""
        return self.root.join("leases", f"{model}.json")

    def entry(self, model: str, candidate: str) -> ArtifactUri:
        """Where the version of a candidate, by its digest, is told."""
        return self.root.join("candidates", model, f"{candidate}.json")

    def version_of(self, model: str, candidate: str) -> int | None:
        """The number of the candidate's version, which may not be committed; None where there is none."""
        uri = self.entry(model, candidate)
        return None if self._store.head(uri) is None else int(json.loads(self._store.read(uri))["version"])

    def write_version_of(self, model: str, candidate: str, number: int) -> None:
        """Tell the candidate's version."""
        self._store.write(self.entry(model, candidate), canonical_json({"version": number}).encode())

    def champions(self, model: str) -> list[int]:
        """The champions, oldest first, as last written."""
        uri = self.root.join("champions", f"{model}.json")
        return [] if self._store.head(uri) is None else list(json.loads(self._store.read(uri)))

    def write_champions(self, model: str, champions: Sequence[int]) -> None:
        """Remember the champions, oldest first."""
        uri = self.root.join("champions", f"{model}.json")
        self._store.write(uri, canonical_json(list(champions)).encode())

    def write_record(self, model: str, record: dict[str, Any]) -> str:
        """Keep a record; its digest."""
        return self._write("records", model, record)

    def record(self, model: str, digest: str) -> dict[str, Any]:
        """The record of this digest.

        Raises:
            ValueError: where its bytes are others.
            ArtifactError: where it is gone.
        """
        if digest not in self._known:
            self._known[digest] = self._read("records", model, digest)
        return self._known[digest]

    def add_event(self, model: str, history: str | None, event: dict[str, str]) -> str:
        """The digest of a history that ends with `event`; the one before stays as it is."""
        before = self.history(model, history) if history else []
        return self._write("histories", model, {"events": [*before, event][-_EVENTS_KEPT:]})

    def history(self, model: str, digest: str) -> list[dict[str, str]]:
        """Who did what to a version, oldest first: `event`, `by`, `reason`, `at`."""
        return self._read("histories", model, digest)["events"]

    def _write(self, kind: str, model: str, value: dict[str, Any]) -> str:
        data = canonical_json(value).encode()
        digest = hashlib.sha256(data).hexdigest()
        self._store.write(self.root.join(kind, model, f"{digest}.json"), data)
        return digest

    def _read(self, kind: str, model: str, digest: str) -> dict[str, Any]:
        uri = self.root.join(kind, model, f"{digest}.json")
        data = self._store.read(uri)
        if hashlib.sha256(data).hexdigest() != digest:
            raise ArtifactError(
                "The registry's record was edited.", where=uri, mend="Restore the object's earlier version."
            )
        return json.loads(data)
