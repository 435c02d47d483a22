"""Vertex AI's Model Registry: models with versions, aliases, labels and imported evaluations."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from google.cloud import aiplatform_v1 as v1

from mlops_assets_tests.standins.gcp.vertex_errors import RpcError
from mlops_assets_tests.standins.gcp.vertex_jobs import check_labels, demand
from mlops_assets_tests.standins.gcp.vertex_operations import Operations
from mlops_assets_tests.standins.gcp.vertex_resources import Resources, location_of, new_id, now

DEFAULT = "default"
_ALIAS = re.compile(r"[a-z][a-zA-Z0-9-]{0,126}[a-z0-9]")
_ID = re.compile(r"[a-z_][a-z0-9_-]{0,62}")
_VERSION_FIELDS = {"labels", "version_description"}
_MODEL_FIELDS = {"labels", "display_name", "description"}


class Models:
    """The operations, one method each, by their names in the SDK.

    Versions are kept as `<model>/versions/<number>`; the model itself, as `<model>`, keeps its own labels and
    the number of its last version, which is never given twice.
    """

    def __init__(self, resources: Resources, operations: Operations) -> None:
        self._resources, self._operations = resources, operations

    def upload_model(self, request: Any) -> Any:
        """UploadModel: a new model, or with `parent_model` a new version of one."""
        model = request.model
        demand(model.display_name, "model.display_name must be set.")
        demand(model.container_spec.image_uri, "model.container_spec.image_uri must be set.")
        check_labels(model.labels)
        demand(not request.model_id or _ID.fullmatch(request.model_id), "Invalid model_id.")
        _check_aliases(model.version_aliases)
        base = request.parent_model.split("@")[0] or f"{request.parent}/models/{request.model_id or new_id()}"
        with self._resources.lock:
            if request.parent_model:
                self._resources.get(base)
            elif self._resources.has(base):
                raise RpcError("ALREADY_EXISTS", f"Model {base} already exists.")
            number = self._keep(base, model)
        response = v1.UploadModelResponse(model=base, model_version_id=number)
        return self._operations.start(base, lambda: response)

    def get_model(self, request: Any) -> Any:
        """GetModel: by name, `name@version` or `name@alias`."""
        return self.version(request.name)

    def list_models(self, request: Any) -> Any:
        """ListModels: each model by its default version."""
        models = [self.version(item.name) for item in self._resources.of(f"{request.parent}/models")]
        found, token = self._resources.listed(request, models)
        return v1.ListModelsResponse(models=found, next_page_token=token)

    def list_model_versions(self, request: Any) -> Any:
        """ListModelVersions."""
        base = request.name.split("@")[0]
        self._resources.get(base)
        found, token = self._resources.listed(request, self._versions(base))
        return v1.ListModelVersionsResponse(models=found, next_page_token=token)

    def update_model(self, request: Any) -> Any:
        """UpdateModel: fields of a version by `name@version`, else of the model."""
        base, _, version = request.model.name.partition("@")
        paths = set(request.update_mask.paths)
        allowed = _VERSION_FIELDS if version else _MODEL_FIELDS
        demand(paths and paths <= allowed, f"update_mask may hold {', '.join(sorted(allowed))}.")
        check_labels(request.model.labels)

        def change(message: Any) -> None:
            for path in paths:
                setattr(message, path, getattr(request.model, path))
            message.version_update_time = now()

        key = self._key(base, self.version(request.model.name).version_id) if version else base
        self._resources.update(key, change)
        return self.version(request.model.name)

    def merge_version_aliases(self, request: Any) -> Any:
        """MergeVersionAliases: add, or with a leading `-` remove; an added one leaves its former version."""
        with self._resources.lock:
            version = self.version(request.name)
            self._alias(version.name, version.version_id, request.version_aliases)
        return self.version(f"{version.name}@{version.version_id}")

    def delete_model_version(self, request: Any) -> Any:
        """DeleteModelVersion."""
        version = self.version(request.name)
        if DEFAULT in version.version_aliases:
            raise RpcError("FAILED_PRECONDITION", "The default version cannot be deleted.")
        key = self._key(version.name, version.version_id)
        return self._operations.start(version.name, lambda: self._resources.delete(key))

    def delete_model(self, request: Any) -> Any:
        """DeleteModel, with every version."""
        self._resources.get(request.name)
        return self._operations.start(location_of(request.name), lambda: self._resources.delete(request.name))

    def import_model_evaluation(self, request: Any) -> Any:
        """ImportModelEvaluation."""
        version = self.version(request.parent)
        evaluation = request.model_evaluation
        demand(evaluation.metrics_schema_uri.startswith("gs://"), "metrics_schema_uri must be set.")
        return self._resources.create(
            f"{self._key(version.name, version.version_id)}/evaluations", evaluation
        )

    def list_model_evaluations(self, request: Any) -> Any:
        """ListModelEvaluations."""
        version = self.version(request.parent)
        items = self._resources.of(f"{self._key(version.name, version.version_id)}/evaluations")
        found, token = self._resources.listed(request, items)
        return v1.ListModelEvaluationsResponse(model_evaluations=found, next_page_token=token)

    # --- versions -----------------------------------------------------------------------------------------

    def version(self, name: str) -> Any:
        """A version by `name@version` or `name@alias`, else the default one.

        Raises:
            RpcError: NOT_FOUND.
        """
        base, _, wanted = name.partition("@")
        wanted = wanted or DEFAULT
        for version in self._versions(base):
            if version.version_id == wanted or wanted in version.version_aliases:
                return version
        raise RpcError("NOT_FOUND", f"The Model {name} does not exist.")

    def _versions(self, base: str) -> list[Any]:
        """Newest first, with the model's labels beside their own."""
        found = self._resources.of(f"{base}/versions")
        for version in found:
            model = self._resources.get(base)
            version.labels = {**model.labels, **version.labels}
            version.display_name, version.description = model.display_name, model.description
        return found

    def _keep(self, base: str, model: Any) -> str:
        """Keep a new version; its number."""
        aliases = list(model.version_aliases)
        if not self._resources.has(base):
            aliases.append(DEFAULT)
            known = v1.Model(
                name=base, display_name=model.display_name, description=model.description, version_id="0"
            )
            self._resources.put(base, known)
        number = str(int(self._resources.get(base).version_id) + 1)
        self._resources.update(base, lambda known: setattr(known, "version_id", number))
        model.name, model.version_id, model.version_aliases = base, number, []
        model.create_time = model.update_time = model.version_create_time = model.version_update_time = now()
        model.supported_deployment_resources_types = ["DEDICATED_RESOURCES"]
        model.supported_input_storage_formats = ["jsonl", "csv"]
        model.supported_output_storage_formats = ["jsonl"]
        self._resources.put(self._key(base, number), model)
        self._alias(base, number, aliases)
        return number

    def _alias(self, base: str, number: str, changes: Sequence[str]) -> None:
        added = {alias for alias in changes if not alias.startswith("-")}
        removed = {alias[1:] for alias in changes if alias.startswith("-")}
        _check_aliases([*added, *removed])
        demand(DEFAULT not in removed, "The alias default cannot be removed.")
        for version in self._resources.of(f"{base}/versions"):
            before = list(version.version_aliases)
            after = [alias for alias in before if alias not in added]
            if version.version_id == number:
                after = [alias for alias in after if alias not in removed] + sorted(added)
            if after != before:
                version.version_aliases = after
                version.version_update_time = now()
                self._resources.put(self._key(base, version.version_id), version)

    @staticmethod
    def _key(base: str, number: str) -> str:
        return f"{base}/versions/{number}"


def _check_aliases(aliases: Sequence[str]) -> None:
    wrong = [alias for alias in aliases if not _ALIAS.fullmatch(alias)]
    demand(not wrong, f"Invalid version aliases: {', '.join(wrong)}.")
