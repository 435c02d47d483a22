"""A version's lineage in Vertex ML Metadata: dataset -> training -> model, and its run in Experiments.

An experiment for each model, called as its resource in the Model Registry; below it a run for each version,
with parameters and test metrics, as `aiplatform.ExperimentRun` reads them.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from mlops_assets.artifacts.digest import canonical_json, digest_of
from mlops_assets.errors import MlopsAssetsError, StorageError
from mlops_assets.platforms.gcp.client import speaking

if TYPE_CHECKING:
    from mlops_assets.artifacts import Candidate, Evaluation, ModelVersion
    from mlops_assets.platforms.gcp.model_versions import ModelVersions
    from mlops_assets.platforms.gcp.settings import GcpSettings
    from mlops_assets.platforms.gcp.vertex_client import VertexPlace

_SCHEMAS = "0.0.1"
_OVER = "COMPLETE"
_log = logging.getLogger(__name__)


class Lineage:
    """Writes what a version came from.

    Every resource's id follows from the version, so writing again, or by two at once, makes nothing twice.

    Args:
        place: project and region.
        versions: the Model Registry's.
        gcp: the key that the store of metadata is encrypted with, where it is not there yet.
    """

    def __init__(self, place: VertexPlace, versions: ModelVersions, gcp: GcpSettings) -> None:
        self._place, self._versions, self._gcp = place, versions, gcp
        self._store = f"{place.parent}/metadataStores/default"

    def record(self, version: ModelVersion, candidate: Candidate, evaluation: Evaluation) -> None:
        """Write the lineage of a registered version; one call where it is there already.

        What fails is a warning: the version is registered, and what is missing is written when its candidate
        is registered again.
        """
        try:
            with speaking(f"lineage of {version.model} {version.version}", StorageError):
                self._record(version, candidate, evaluation)
        except MlopsAssetsError as error:
            _log.warning(
                "%s version %d is registered, but its lineage is not wholly in Vertex ML Metadata; it is "
                "completed when the candidate is registered again. %s",
                version.model,
                version.version,
                error,
            )

    def _record(self, version: ModelVersion, candidate: Candidate, evaluation: Evaluation) -> None:
        experiment = self._versions.id_of(version.model)
        name = f"v{version.version}-{version.candidate_digest[:8]}"
        run_id = f"{experiment}-{name}"
        values = {
            "_params": _parameters(candidate),
            "_metrics": _metrics(evaluation),
        }
        run = {**_described("ExperimentRun", name), "metadata": {**values, "_state": "RUNNING"}}
        if self._is_over(run_id):
            return
        self._ensure_experiment(experiment, version.model)
        artifacts, executions = self._ensure_graph(run_id, version, candidate, evaluation)
        run_name = self._ensure("context", run_id, run)
        self._client.add_context_children(
            context=f"{self._store}/contexts/{experiment}", child_contexts=[run_name]
        )
        self._client.add_context_artifacts_and_executions(
            context=run_name, artifacts=artifacts, executions=executions
        )
        # Last: a run that is over has everything.
        over = {"name": run_name, "metadata": {**values, "_state": _OVER}}
        self._client.update_context(context=over, update_mask={"paths": ["metadata"]})

    def _ensure_experiment(self, experiment: str, model: str) -> None:
        """Make the experiment, and in a project's first one the store that it lies in."""
        from google.api_core.exceptions import AlreadyExists, Conflict, NotFound

        context = {
            **_described("Experiment", experiment),
            "description": f"Versions of {model}, registered by mlops-assets.",
            "metadata": {"experiment_deleted": False},  # the console leaves out an experiment without it
        }
        try:
            self._ensure("context", experiment, context)
        except NotFound:
            store = {"encryption_spec": {"kms_key_name": self._gcp.kms_key}} if self._gcp.kms_key else {}
            asked = {"metadata_store": store, "metadata_store_id": "default"}
            with suppress(AlreadyExists, Conflict):
                self._client.create_metadata_store(request={"parent": self._place.parent, **asked}).result()
            self._ensure("context", experiment, context)

    def _ensure_graph(
        self, run_id: str, version: ModelVersion, candidate: Candidate, evaluation: Evaluation
    ) -> tuple[list[str], list[str]]:
        """The names of all artifacts, and of the executions that tie them together."""
        data = digest_of([str(candidate.dataset_uri), candidate.dataset_version])[:32]
        dataset = self._artifact(
            f"dataset-{data}",
            _described("Dataset", f"{version.model} dataset {candidate.dataset_version[:12]}"),
            uri=str(candidate.dataset_uri),
            metadata={"version": candidate.dataset_version},
        )
        resource = self._resource(version)
        model = self._artifact(
            f"{run_id}-model",
            {**_described("VertexModel", version.model), "schema_title": "google.VertexModel"},
            # As the SDK writes it, which finds a model's artifact by that.
            uri=f"https://{self._place.endpoint}/v1/{resource}",
            metadata={"resourceName": resource},
        )
        metrics = self._artifact(
            f"{run_id}-metrics",
            _described("Metrics", f"{version.model} {version.version} on the test split"),
            uri=str(evaluation.uri),
            metadata=_metrics(evaluation),
        )
        told = {"run_id": candidate.run_id, "git_commit": candidate.git_commit, "recipe": candidate.recipe}
        training = self._execution(f"{run_id}-train", "train", told, [dataset], [model])
        measuring = self._execution(
            f"{run_id}-evaluate", "evaluate", {"rows": evaluation.rows}, [dataset, model], [metrics]
        )
        return [dataset, model, metrics], [training, measuring]

    def _resource(self, version: ModelVersion) -> str:
        """The Model's version by the name that the service gives it, with the project's number."""
        found = self._versions.get(version.model, version.version)
        name = found.name if found is not None else self._versions.name(version.model)
        return f"{name.partition('@')[0]}@{version.version}"

    def _artifact(self, resource_id: str, message: Mapping[str, Any], **fields: Any) -> str:
        return self._ensure("artifact", resource_id, {**message, "state": "LIVE", **fields})

    def _execution(
        self, resource_id: str, title: str, told: Mapping[str, Any], inputs: list[str], outputs: list[str]
    ) -> str:
        """An execution with its events; the service leaves out those that are there."""
        known = {key: value for key, value in told.items() if value is not None}
        message = {**_described("ContainerExecution", title), "state": _OVER, "metadata": known}
        name = self._ensure("execution", resource_id, message)
        events = [{"artifact": item, "type_": "INPUT"} for item in inputs]
        events += [{"artifact": item, "type_": "OUTPUT"} for item in outputs]
        self._client.add_execution_events(execution=name, events=events)
        return name

    def _ensure(self, noun: str, resource_id: str, message: Mapping[str, Any]) -> str:
        """The name of a resource, made where it is not there."""
        from google.api_core.exceptions import AlreadyExists, Conflict

        create = getattr(self._client, f"create_{noun}")
        with suppress(AlreadyExists, Conflict):
            create(**{"parent": self._store, noun: dict(message), f"{noun}_id": resource_id})
        return f"{self._store}/{noun}s/{resource_id}"

    def _is_over(self, run_id: str) -> bool:
        from google.api_core.exceptions import NotFound

        try:
            found = self._client.get_context(name=f"{self._store}/contexts/{run_id}")
        except NotFound:
            return False
        return dict(found.metadata).get("_state") == _OVER

    @property
    def _client(self) -> Any:
        return self._place.client("MetadataServiceClient")


def _described(schema: str, title: str) -> dict[str, Any]:
    return {"display_name": title[:128], "schema_title": f"system.{schema}", "schema_version": _SCHEMAS}


def _parameters(candidate: Candidate) -> dict[str, Any]:
    """What Experiments shows in columns: numbers and text; anything else as JSON."""
    known = {
        "estimator": candidate.estimator,
        "dataset_version": candidate.dataset_version,
        **candidate.parameters,
    }
    plain = {
        key: value if isinstance(value, int | float | str) else canonical_json(value)
        for key, value in known.items()
    }
    return {**plain, "candidate": candidate.digest}


def _metrics(evaluation: Evaluation) -> dict[str, float]:
    return {name: item.value for name, item in evaluation.metrics.items() if item.value is not None}
