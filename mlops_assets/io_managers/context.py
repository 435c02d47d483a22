"""What an I/O manager reads off Dagster's contexts: annotation, columns, partitions, the asset's name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dagster as dg

from mlops_assets.artifacts.uri import check_key
from mlops_assets.errors import DeclarationError

COLUMNS = "columns"


def annotation(context: dg.InputContext) -> Any:
    """The type that the input is annotated with; None without an annotation."""
    return context.dagster_type.typing_type if context.dagster_type is not None else None


def columns(context: dg.InputContext) -> list[str] | None:
    """The columns asked for in the input's metadata: `dg.AssetIn(metadata={"columns": ["a", "b"]})`."""
    wanted = (context.definition_metadata or {}).get(COLUMNS)
    if wanted is None:
        return None
    if isinstance(wanted, str) or not isinstance(wanted, Sequence) or not wanted:
        raise DeclarationError(
            f"The metadata {COLUMNS!r} is {wanted!r}.",
            where=f"input {context.name}",
            mend='Give a list of column names: dg.AssetIn(metadata={"columns": ["a", "b"]}).',
        )
    return [str(name) for name in wanted]


def partitions(context: dg.InputContext | dg.OutputContext) -> list[str] | None:
    """The partition keys that are stored or loaded; None for an asset without partitions."""
    return list(context.asset_partition_keys) if context.has_asset_partitions else None


def path(context: dg.InputContext | dg.OutputContext) -> tuple[str, ...]:
    """The asset key's parts, each safe as a segment of a URI."""
    parts = tuple(context.asset_key.path)
    for part in parts:
        check_key(part)
        if "/" in part:
            raise DeclarationError(
                "A part of the asset key has a slash.", where="/".join(parts), mend="Name the asset without."
            )
    return parts


def name(context: dg.InputContext | dg.OutputContext) -> str:
    """The asset's name for messages."""
    return context.asset_key.to_user_string()
