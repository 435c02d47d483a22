"""Vertex AI's Model Registry as the registry needs it: one model per model of one deployment, by version."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from mlops_assets.artifacts.digest import digest_of
from mlops_assets.errors import StorageError
from mlops_assets.platforms.gcp.client import speaking
from mlops_assets.platforms.gcp.model_messages import serves

if TYPE_CHECKING:
    from mlops_assets.artifacts import ArtifactUri
    from mlops_assets.platforms.gcp.vertex_client import VertexPlace

_PAGE = 100


class ModelVersions:
    """Models and versions by model name and version number.

    Two deployments (roots) in one project have models of their own: a resource's id ends with a digest of the
    root and the model.

    Args:
        place: project and region.
        root: of the object store.
    """

    def __init__(self, place: VertexPlace, root: ArtifactUri) -> None:
        self._place, self._root = place, str(root)

    def id_of(self, model: str) -> str:
        """The id of the model's resource."""
        readable = re.sub(r"[^a-z0-9]+", "-", model.lower()).strip("-")[:40]
        return f"m-{readable}-{digest_of([self._root, model])[:8]}"

    def name(self, model: str, version: int | str | None = None) -> str:
        """The resource's name; with a version's number or alias, that of the version."""
        name = f"{self._place.parent}/models/{self.id_of(model)}"
        return name if version is None else f"{name}@{version}"

    def upload(self, model: str, message: Mapping[str, Any]) -> int:
        """The number of a new version; where there is no such model, it is created in the same call."""
        with self._speaking(model):
            known = self._get(self.name(model)) is not None
            target = {"parent_model": self.name(model)} if known else {"model_id": self.id_of(model)}
            asked = {"parent": self._place.parent, "model": dict(message), **target}
            return int(self._client.upload_model(request=asked).result().model_version_id)

    def ensure(self, resource_id: str, message: Mapping[str, Any]) -> str:
        """The name of a model of its own, beside the versions; made where it is not there."""
        from google.api_core.exceptions import AlreadyExists, Conflict

        name = f"{self._place.parent}/models/{resource_id}"
        with self._speaking(message["display_name"]):
            if self._get(name) is None:
                asked = {"parent": self._place.parent, "model_id": resource_id, "model": dict(message)}
                with suppress(AlreadyExists, Conflict):
                    self._client.upload_model(request=asked).result()
        return name

    def serving(self, model: str, version: int, message: Mapping[str, Any]) -> str:
        """The name of what serves a version: its own Model, else one of `message` made for it alone."""
        registered = self.get(model, version)
        if registered is not None and serves(registered, message):
            return self.name(model, version)
        return f"{self.ensure(f'{self.id_of(model)}-{digest_of(message)[:8]}', message)}@1"

    def get(self, model: str, version: int | str) -> Any:
        """A version by number or alias; None where there is none."""
        with self._speaking(model):
            return self._get(self.name(model, version))

    def list(self, model: str, labels: Mapping[str, str] | None = None) -> list[Any]:
        """Versions, newest first, that have all of `labels`; a page of 100 costs one call."""
        from google.api_core.exceptions import NotFound

        wanted = " AND ".join(f'labels.{name}="{value}"' for name, value in (labels or {}).items())
        asked = {"name": self.name(model), "filter": wanted, "page_size": _PAGE}
        try:
            with self._speaking(model):
                found = list(self._client.list_model_versions(request=asked))
        except StorageError as error:
            if isinstance(error.__cause__, NotFound):
                return []
            raise
        return sorted(found, key=lambda item: int(item.version_id), reverse=True)

    def update(self, model: str, version: int, **fields: Any) -> None:
        """Change a version in one call: all of `fields` (labels, version_description) or nothing."""
        message = {"name": self.name(model, version), **fields}
        with self._speaking(model):
            self._client.update_model(model=message, update_mask={"paths": sorted(fields)})

    def alias(self, model: str, version: int, *changes: str) -> None:
        """Give a version aliases, in one call; with a leading `-` take them."""
        with self._speaking(model):
            self._client.merge_version_aliases(name=self.name(model, version), version_aliases=list(changes))

    def ensure_evaluation(self, model: str, version: int, evaluation: Mapping[str, Any]) -> None:
        """Import an evaluation, by its display name, where the version has none of that name."""
        parent = self.name(model, version)
        with self._speaking(model):
            known = {item.display_name for item in self._client.list_model_evaluations(parent=parent)}
            if evaluation["display_name"] not in known:
                self._client.import_model_evaluation(parent=parent, model_evaluation=dict(evaluation))

    @property
    def console(self) -> str:
        """Link to the Model Registry."""
        return f"https://console.cloud.google.com/vertex-ai/models?project={self._place.project}"

    @property
    def _client(self) -> Any:
        return self._place.client("ModelServiceClient")

    def _get(self, name: str) -> Any:
        from google.api_core.exceptions import NotFound

        try:
            return self._client.get_model(name=name)
        except NotFound:
            return None

    @contextmanager
    def _speaking(self, model: str) -> Iterator[None]:
        with speaking(f"model {self.id_of(model)} of Vertex AI", StorageError):
            yield


def label_of(digest: str) -> str:
    """A SHA-256 as a label, which may have 63 characters: base 32 instead of hexadecimal."""
    return base64.b32encode(bytes.fromhex(digest)).decode().rstrip("=").lower()


def digest_in(label: str) -> str:
    """The SHA-256 that a label holds. ValueError where it holds none."""
    digest = base64.b32decode(label.upper() + "=" * (-len(label) % 8)).hex()
    if len(digest) != 64:
        raise ValueError(label)
    return digest
