"""Rows of a SELECT as files: a table of passing rows, extracted as Parquet, in the order that was asked for.

An extract job keeps no order and splits as it likes, so ordered rows carry their number with them, and the
file is written here from the parts, by DuckDB with what memory the settings allow: the same rows in the same
order give the same bytes, on every platform.
"""

# ruff: noqa: S608 - identifiers are quoted, values are parameters or quoted literals

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_assets.artifacts import ArtifactUri
from mlops_assets.platforms.dialect_bigquery import decoded
from mlops_assets.platforms.embedded import EmbeddedEngine, exporting
from mlops_assets.platforms.gcp.bigquery import BigQuery
from mlops_assets.platforms.gcp.bigquery_ordering import NUMBER, numbered
from mlops_assets.platforms.gcp.bigquery_relations import Relations
from mlops_assets.platforms.gcp.bigquery_staging import Staging
from mlops_assets.platforms.gcp.bigquery_types import STRUCT, Shape, shape_of
from mlops_assets.platforms.sql import literal, quote

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection
    from google.cloud.bigquery import Table

_DUCKDB = {
    "INT64": "BIGINT",
    "FLOAT64": "DOUBLE",
    "BOOL": "BOOLEAN",
    "DATE": "DATE",
    "DATETIME": "TIMESTAMP",
    "TIMESTAMP": "TIMESTAMPTZ",
    "TIME": "TIME",
    "NUMERIC": "DECIMAL(38, 9)",
}


@dataclass(frozen=True)
class Passing:
    """A result as a table that is dropped soon.

    Attributes:
        table: as the API describes it, its order (if any) in the column NUMBER.
        rows: how many there are.
        ordered: whether there is such a column.
    """

    table: Table
    rows: int
    ordered: bool


class Results:
    """Results of one warehouse."""

    def __init__(
        self, bigquery: BigQuery, relations: Relations, staging: Staging, engine: EmbeddedEngine
    ) -> None:
        self._bigquery, self._relations, self._staging = bigquery, relations, staging
        self._engine = engine

    @contextmanager
    def passing(self, label: str, sql: str) -> Iterator[Passing]:
        """The rows of a SELECT in BigQuery's words, as a table of the staging dataset."""
        relation = f"{self._bigquery.settings.staging_dataset}.{label}_{uuid.uuid4().hex}"
        self._relations.make_dataset(relation, expires=True)
        select = numbered(sql)
        try:
            table = self._relations.new(relation, {})
            self._bigquery.run(label, select or sql, estimate=True, destination=table)
            made = self._relations.known(relation)
            yield Passing(made, int(made.num_rows or 0), ordered=select is not None)
        finally:
            self._relations.drop(relation)

    @contextmanager
    def selected(self, label: str, passing: Passing) -> Iterator[tuple[DuckDBPyConnection, str]]:
        """A connection, and the SELECT of the rows in their order from parts on this machine."""
        self._engine.folder.mkdir(parents=True, exist_ok=True)
        with (
            self._staging.folder(f"{label}s") as folder,
            tempfile.TemporaryDirectory(prefix=f"{label}-", dir=self._engine.folder) as local,
        ):
            self._bigquery.extract(label, passing.table, folder.join("part-*.parquet"))
            paths = [
                Path(local) / f"{number:06d}.parquet" for number, _ in enumerate(self._staging.parts(folder))
            ]
            for uri, path in zip(self._staging.parts(folder), paths, strict=True):
                self._staging.download(uri, path)
            with self._engine.connect() as connection:
                yield connection, _select(passing, paths)

    def export(self, sql: str, uri: ArtifactUri) -> int:
        """Write the rows as one Parquet file; how many there are."""
        with (
            self.passing("export", sql) as passing,
            self.selected("export", passing) as (connection, select),
            tempfile.TemporaryDirectory(prefix="exported-", dir=self._engine.folder) as local,
        ):
            path = Path(local) / "data.parquet"
            connection.execute(exporting(select, path))
            self._staging.upload(path, uri)
            return passing.rows


def _select(passing: Passing, paths: list[Path]) -> str:
    """The parts' rows in the types that DuckDB has for BigQuery's, in order."""
    values = []
    for field in passing.table.schema:
        if field.name != NUMBER:
            value = _value(quote(field.name), shape_of(field))
            values.append(f"{value} AS {quote(decoded(field.name))}")
    files = ", ".join(literal(str(path)) for path in paths)
    order = f" ORDER BY {quote(NUMBER)}" if passing.ordered else ""
    return f"SELECT {', '.join(values)} FROM read_parquet([{files}]){order}"


def _value(said: str, shape: Shape, depth: int = 0) -> str:
    """A value of a part in DuckDB's type for it, the fields of a STRUCT under the names that we gave them."""
    if shape.repeated:
        item = f"item_{depth}"
        made = _value(item, shape.element, depth + 1)
        return said if made == item else f"list_transform({said}, lambda {item}: {made})"
    if shape.scalar == STRUCT:
        fields = (
            f"{quote(decoded(name))} := {_value(f'{said}.{quote(name)}', kind, depth)}"
            for name, kind in shape.fields
        )
        return f"CASE WHEN {said} IS NOT NULL THEN struct_pack({', '.join(fields)}) END"
    kind = _DUCKDB.get(shape.scalar)
    return f"CAST({said} AS {kind})" if kind else said
