"""How stages hand on their small typed values: as JSON in the object store, by run.

A stage reads the value of its own run, else of the run that this one re-executes, else the latest. Two runs
at once therefore never read each other's candidate.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import dagster as dg
from pydantic import ValidationError

from mlops_assets.artifacts import ArtifactUri, Value
from mlops_assets.errors import ArtifactError, ConflictError
from mlops_assets.platforms.ports import Platform

V = TypeVar("V", bound=Value)


def _folder(platform: Platform, key: dg.AssetKey) -> ArtifactUri:
    return platform.store.root.join("handover", *key.path)


def save(platform: Platform, key: dg.AssetKey, run_id: str, value: Value) -> None:
    """Remember `value` as what `run_id` made of the asset, and as the latest."""
    data = value.model_dump_json().encode()
    folder = _folder(platform, key)
    platform.store.write(folder.join("runs", f"{run_id}.json"), data)
    platform.store.write(folder.join("latest.json"), data)


def save_if_first(platform: Platform, key: dg.AssetKey, value: Value) -> None:
    """Remember `value` as the latest where the asset was never materialised here."""
    with suppress(ConflictError):
        uri = _folder(platform, key).join("latest.json")
        platform.store.write(uri, value.model_dump_json().encode(), if_absent=True)


def latest(platform: Platform, key: dg.AssetKey, returns: type[V]) -> V | None:
    """The value that the asset's latest materialisation handed on, or None."""
    return _load(platform, _folder(platform, key).join("latest.json"), returns)


def of_run(platform: Platform, key: dg.AssetKey, run_id: str, returns: type[V]) -> V | None:
    """The value that `run_id` itself handed on, or None."""
    return _load(platform, _folder(platform, key).join("runs", f"{run_id}.json"), returns)


def of_lineage(platform: Platform, key: dg.AssetKey, run_ids: Sequence[str], returns: type[V]) -> V | None:
    """The value of the first of `run_ids` that handed one on, else the latest, else None."""
    found = (of_run(platform, key, run_id, returns) for run_id in run_ids)
    return next((value for value in found if value is not None), None) or latest(platform, key, returns)


def lineage(instance: dg.DagsterInstance, run_id: str) -> list[str]:
    """This run, the run it re-executes, the run that one re-executed, and so on."""
    return list(_ancestors(instance, run_id))


def _ancestors(instance: dg.DagsterInstance, run_id: str | None) -> Iterator[str]:
    while run_id is not None:
        yield run_id
        run = instance.get_run_by_id(run_id)
        run_id = run.parent_run_id if run else None


def _load(platform: Platform, uri: ArtifactUri, returns: type[V]) -> V | None:
    if platform.store.head(uri) is None:
        return None
    try:
        return returns.model_validate_json(platform.store.read(uri))
    except ValidationError as error:
        raise ArtifactError(
            f"What was handed on is not a {returns.__name__} of today ({error.error_count()} mistakes).",
            where=str(uri),
            mend="Materialise the asset above it again.",
        ) from None


class HandoverIOManager(dg.IOManager):
    """I/O manager of the stages' values (pydantic models of mlops_assets.artifacts)."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Store the value; a stage that hands on nothing stores nothing."""
        if obj is None:
            return
        if not isinstance(obj, Value):
            raise ArtifactError(
                f"{type(obj).__name__} is not a value of mlops_assets.artifacts.",
                where=context.asset_key.to_user_string(),
                mend="Give the asset the I/O manager of tables, datasets or models (docs/io_managers.md).",
            )
        save(self._platform, context.asset_key, context.run_id, obj)

    def load_input(self, context: dg.InputContext) -> Any:
        """The value of this run, of the run it re-executes, or the latest."""
        returns = context.dagster_type.typing_type
        step = context.step_context
        runs = lineage(step.instance, step.run_id)
        value = of_lineage(self._platform, context.asset_key, runs, returns)
        if value is None:
            raise ArtifactError(
                f"{context.asset_key.to_user_string()} has not been materialised yet.",
                mend="Materialise it first, or run the model's whole job.",
            )
        return value


@dg.io_manager(required_resource_keys={"platform"})
def handover_io_manager(context: Any) -> HandoverIOManager:
    """The hand-over on the platform bound to the resource `platform`."""
    return HandoverIOManager(context.resources.platform)
