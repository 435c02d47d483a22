"""Vertex ML Metadata: stores with contexts, artifacts, executions, and the events that tie them together."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from google.cloud import aiplatform_v1 as v1

from mlops_assets_tests.standins.gcp.vertex_errors import RpcError
from mlops_assets_tests.standins.gcp.vertex_jobs import check_labels, demand
from mlops_assets_tests.standins.gcp.vertex_operations import Operations
from mlops_assets_tests.standins.gcp.vertex_resources import Resources, now

_ID = re.compile(r"[a-z0-9-]{1,128}")
_IN_CONTEXT = re.compile(r'in_context\("([^"]*)"\)')
_SCHEMAS = {
    "contexts": {"system.Experiment", "system.ExperimentRun", "system.Pipeline", "system.PipelineRun"},
    "artifacts": {
        "system.Artifact",
        "system.Dataset",
        "system.Metrics",
        "system.Model",
        "google.VertexModel",
        "google.VertexDataset",
    },
    "executions": {"system.ContainerExecution", "system.CustomJobExecution", "system.Run"},
}
_CHANGEABLE = {"display_name", "description", "labels", "metadata", "state"}


class Metadata:
    """The operations, one method each, by their names in the SDK."""

    def __init__(self, resources: Resources, operations: Operations) -> None:
        self._resources, self._operations = resources, operations
        self._members: defaultdict[str, set[str]] = defaultdict(set)
        self._events: dict[tuple[str, str], Any] = {}

    # --- stores -------------------------------------------------------------------------------------------

    def create_metadata_store(self, request: Any) -> Any:
        """CreateMetadataStore."""
        parent = f"{request.parent}/metadataStores"
        made = self._resources.create(parent, request.metadata_store, request.metadata_store_id)
        return self._operations.start(made.name, lambda: made)

    def get_metadata_store(self, request: Any) -> Any:
        """GetMetadataStore."""
        return self._resources.get(request.name)

    # --- contexts, artifacts, executions ------------------------------------------------------------------

    def create_context(self, request: Any) -> Any:
        """CreateContext."""
        return self._create(request, "contexts", request.context, request.context_id)

    def create_artifact(self, request: Any) -> Any:
        """CreateArtifact."""
        return self._create(request, "artifacts", request.artifact, request.artifact_id)

    def create_execution(self, request: Any) -> Any:
        """CreateExecution."""
        return self._create(request, "executions", request.execution, request.execution_id)

    def get_context(self, request: Any) -> Any:
        """GetContext."""
        return self._resources.get(request.name)

    def get_artifact(self, request: Any) -> Any:
        """GetArtifact."""
        return self._resources.get(request.name)

    def get_execution(self, request: Any) -> Any:
        """GetExecution."""
        return self._resources.get(request.name)

    def list_contexts(self, request: Any) -> Any:
        """ListContexts."""
        found, token = self._listed(request, "contexts")
        return v1.ListContextsResponse(contexts=found, next_page_token=token)

    def list_artifacts(self, request: Any) -> Any:
        """ListArtifacts: `in_context` beside the resource's own fields."""
        found, token = self._listed(request, "artifacts")
        return v1.ListArtifactsResponse(artifacts=found, next_page_token=token)

    def list_executions(self, request: Any) -> Any:
        """ListExecutions: likewise."""
        found, token = self._listed(request, "executions")
        return v1.ListExecutionsResponse(executions=found, next_page_token=token)

    def update_context(self, request: Any) -> Any:
        """UpdateContext."""
        return self._update(request.context, request.update_mask.paths)

    def update_artifact(self, request: Any) -> Any:
        """UpdateArtifact."""
        return self._update(request.artifact, request.update_mask.paths)

    def update_execution(self, request: Any) -> Any:
        """UpdateExecution."""
        return self._update(request.execution, request.update_mask.paths)

    # --- what ties them together --------------------------------------------------------------------------

    def add_context_children(self, request: Any) -> Any:
        """AddContextChildren; those that are children already are left out."""
        self._resources.get(request.context)

        def adopt(child: Any) -> None:
            child.parent_contexts = sorted({*child.parent_contexts, request.context})

        for name in request.child_contexts:
            self._resources.update(name, adopt)
        return v1.AddContextChildrenResponse()

    def add_context_artifacts_and_executions(self, request: Any) -> Any:
        """AddContextArtifactsAndExecutions; those that are in it already are left out."""
        members = [*request.artifacts, *request.executions]
        for name in (request.context, *members):
            self._resources.get(name)
        self._members[request.context].update(members)
        return v1.AddContextArtifactsAndExecutionsResponse()

    def add_execution_events(self, request: Any) -> Any:
        """AddExecutionEvents; between an execution and an artifact there is one event."""
        self._resources.get(request.execution)
        for event in request.events:
            self._resources.get(event.artifact)
            demand(event.type_, "event.type must be set.")
            event.execution, event.event_time = request.execution, now()
            self._events.setdefault((request.execution, event.artifact), event)
        return v1.AddExecutionEventsResponse()

    def query_execution_inputs_and_outputs(self, request: Any) -> Any:
        """QueryExecutionInputsAndOutputs."""
        return self._subgraph(lambda event: event.execution == request.execution, [request.execution])

    def query_context_lineage_subgraph(self, request: Any) -> Any:
        """QueryContextLineageSubgraph: what is in the context, and the events between it."""
        members = self._members[request.context]
        return self._subgraph(lambda event: {event.execution, event.artifact} <= members, members)

    def query_artifact_lineage_subgraph(self, request: Any) -> Any:
        """QueryArtifactLineageSubgraph: everything that is tied to an artifact, over any number of hops."""
        found, size = {request.artifact}, 0
        while len(found) > size:
            size = len(found)
            for pair in self._events:
                found |= set(pair) if found.intersection(pair) else set()
        return self._subgraph(lambda event: event.artifact in found, found)

    # --- shared -------------------------------------------------------------------------------------------

    def _create(self, request: Any, collection: str, message: Any, resource_id: str) -> Any:
        self._resources.get(request.parent)
        demand(not resource_id or _ID.fullmatch(resource_id), f"Invalid id: {resource_id}.")
        demand(len(message.display_name) <= 128, "display_name has more than 128 characters.")
        check_labels(message.labels)
        title = message.schema_title
        demand(title in _SCHEMAS[collection], f"The schema {title!r} is not known for {collection}.")
        demand(message.schema_version in ("", "0.0.1"), f"{title} has no version {message.schema_version}.")
        message.etag = "1"
        return self._resources.create(f"{request.parent}/{collection}", message, resource_id)

    def _update(self, given: Any, paths: Collection[str]) -> Any:
        """Take over `paths`, or all that can change; refused where somebody else changed it meanwhile."""
        demand(set(paths) <= _CHANGEABLE, f"update_mask may hold {', '.join(sorted(_CHANGEABLE))}.")

        def change(kept: Any) -> None:
            if given.etag and given.etag != kept.etag:
                kind = type(kept).__name__
                said = f"Specified {kind} `etag`: `{given.etag}` does not match server `etag`: `{kept.etag}`"
                raise RpcError("ABORTED", said)
            for path in paths or [name for name in _CHANGEABLE if hasattr(kept, name)]:
                setattr(kept, path, getattr(given, path))
            kept.etag = str(int(kept.etag) + 1)

        return self._resources.update(given.name, change)

    def _listed(self, request: Any, collection: str) -> tuple[list[Any], str]:
        self._resources.get(request.parent)
        items: Sequence[Any] = self._resources.of(f"{request.parent}/{collection}")
        for context in _IN_CONTEXT.findall(request.filter):
            items = [item for item in items if item.name in self._members[context]]
        request.filter = _IN_CONTEXT.sub("name:*", request.filter)
        return self._resources.listed(request, items)

    def _subgraph(self, wanted: Callable[[Any], bool], names: Iterable[str]) -> Any:
        events = [event for event in self._events.values() if wanted(event)]
        every = {*names, *(event.artifact for event in events), *(event.execution for event in events)}
        return v1.LineageSubgraph(
            artifacts=[self._resources.get(name) for name in sorted(every) if "/artifacts/" in name],
            executions=[self._resources.get(name) for name in sorted(every) if "/executions/" in name],
            events=events,
        )
