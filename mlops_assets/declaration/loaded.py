"""A declaration as the stages see it: validated YAML, parsed SQL, the user's program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from mlops_assets.declaration.schema import ModelDeclaration


@dataclass(frozen=True)
class SqlTable:
    """One SQL file: a SELECT in DuckDB's dialect and its header.

    Attributes:
        name: file name without `.sql`: the table's name.
        select: canonical SQL without comments; relations are qualified with the model's schema.
        dependencies: names of the tables it reads (`arrivals` included), sorted.
        lineage: output column -> the (table, column) pairs it is computed from.
        passthrough: output column -> (table, column) it copies unchanged, for those that do.
        options: the header's other entries (platform table attributes).

    """

    name: str
    path: Path
    select: str
    materialization: Literal["table", "view", "materialized_view", "incremental"] = "table"
    unique_key: tuple[str, ...] = ()
    dependencies: tuple[str, ...] = ()
    lineage: Mapping[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    passthrough: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)
    description: str | None = None


@dataclass(frozen=True)
class LoadedDeclaration:
    """A model's declaration with everything it names read in.

    Attributes:
        spec: the validated declaration.
        folder: the folder of its defs.yaml.
        tables: its SQL tables, every table after the ones it reads.
        program: source of the user's training program, where one is declared.

    """

    spec: ModelDeclaration
    folder: Path
    tables: tuple[SqlTable, ...]
    program: str | None = None

    @property
    def name(self) -> str:
        """The model's name."""
        return self.spec.name

    def arrivals_column(self, table: str, column: str) -> str | None:
        """The arrivals column that `table.column` copies unchanged, through any tables; else None."""
        if table == "arrivals":
            return column if column in self.spec.arrivals.columns else None
        found = {item.name: item for item in self.tables}.get(table)
        origin = found.passthrough.get(column) if found else None
        return self.arrivals_column(*origin) if origin else None
