"""Temporary tables of warehouses that have none across connections: tables that are dropped again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from mlops_assets.artifacts import ArtifactUri
from mlops_assets.platforms.ports import TableBuild, TemporaryTable, Warehouse


@dataclass(frozen=True)
class BuiltTable:
    """A table that stands for a temporary one."""

    relation: str
    warehouse: Warehouse

    def query(self, select: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """As `Warehouse.query`."""
        return self.warehouse.query(select, parameters)

    def export(self, select: str, path_or_uri: ArtifactUri) -> int:
        """As `Warehouse.export`."""
        return self.warehouse.export(select, path_or_uri)


@contextmanager
def built(warehouse: Warehouse, relation: str, select: str) -> Iterator[TemporaryTable]:
    """Build the table, and drop it at the end of the block."""
    try:
        warehouse.build(TableBuild(relation, select))
        yield BuiltTable(relation, warehouse)
    finally:
        warehouse.drop(relation)
