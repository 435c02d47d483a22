"""How data shows in the UI: Markdown that no value can break out of, column schemas, kinds."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import dagster as dg

from mlops_assets.artifacts import Column
from mlops_assets.settings import current_settings

_ENGINES = {"local": "duckdb", "aws": "redshift", "gcp": "bigquery"}
_MARKUP = re.compile(r"([\\`*_{}\[\]()#+\-!|~:])")
_INVISIBLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069]+")


def engine() -> str:
    """The kind that this deployment's warehouse shows as in the lineage."""
    return _ENGINES[current_settings().platform]


def cell(value: Any, *, width: int = 120) -> str:
    """`value` as text for a Markdown table: one line, no markup, no HTML, cut to `width` characters."""
    text = "" if value is None else str(value)
    text = _INVISIBLE.sub(" ", text[: width + 1])
    text = f"{text[:width]}…" if len(text) > width else text
    return _MARKUP.sub(r"\\\1", escape(text, quote=False))


def table(rows: Iterable[Mapping[str, Any]], columns: Sequence[str], *, width: int = 120) -> dg.MetadataValue:
    """`rows` as a Markdown table of `columns`; every cell is escaped."""
    lines = [" | ".join(cell(column, width=width) for column in columns), " | ".join("---" for _ in columns)]
    lines += [" | ".join(cell(row.get(column), width=width) for column in columns) for row in rows]
    return dg.MetadataValue.md("\n".join(f"| {line} |" for line in lines))


def code_block(text: str, language: str) -> dg.MetadataValue:
    """`text` as a Markdown code block, fenced longer than any fence inside it."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return dg.MetadataValue.md(f"{fence}{language}\n{text}\n{fence}")


def of_job(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """What a job's result says about itself, as `job/<name>`; what the stage shows by itself is left out."""
    listed = {name: ", ".join(map(str, value)) for name, value in metadata.items() if isinstance(value, list)}
    plain = {
        name: value
        for name, value in metadata.items()
        if isinstance(value, str | int | float | dg.MetadataValue)
    }
    return {f"job/{name}": value for name, value in {**plain, **listed}.items()}


def column_schema(
    columns: Iterable[Column], descriptions: Mapping[str, str | None] | None = None
) -> dg.TableSchema:
    """The columns with their logical types, as the UI's schema tab reads them."""
    known = descriptions or {}
    return dg.TableSchema(
        [dg.TableColumn(item.name, item.type, description=known.get(item.name)) for item in columns]
    )
