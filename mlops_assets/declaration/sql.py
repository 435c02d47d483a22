"""One SQL file: its header, its one SELECT in DuckDB's dialect, and what such a file may not do."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast, get_args

from mlops_assets.declaration.restrictions import place, relations_of
from mlops_assets.declaration.source import raise_all
from mlops_assets.declaration.suggesting import one_of, suggest
from mlops_assets.errors import DeclarationError

if TYPE_CHECKING:
    from sqlglot import exp

Materialization = Literal["table", "view", "materialized_view", "incremental"]

RESERVED_TABLES = (
    "arrivals", "arrivals_quarantine", "arrivals_ledger",
    "dataset", "candidate", "evaluation", "registered_model", "endpoint",
)  # fmt: skip
"""Names that the model's other assets and relations have."""

OPTIONS = (
    "diststyle", "distkey", "sortkey", "sortstyle", "encode",
    "partition_by", "partition_grain", "partition_range", "cluster_by",
    "require_partition_filter", "partition_expiration_days", "maximum_bytes_billed", "refreshed_by_bigquery",
)  # fmt: skip
"""Table attributes of the warehouses, handed on as they are."""

_HEADER = ("materialized", "unique_key", "description", *OPTIONS)
_ENTRY = re.compile(r"^--\s*([a-z_]+)\s*:\s*(.*?)\s*$")
_NAME = re.compile(r"^[a-z][a-z0-9_]{0,62}$")
_ONE_SELECT = (
    "Write exactly one SELECT; what becomes of it is said by "
    "`-- materialized: table|view|materialized_view|incremental`."
)


@dataclass(frozen=True)
class SqlFile:
    """A parsed SQL file, before its columns are known.

    Attributes:
        expression: the SELECT as written, comments included; never changed.
        lines: header key -> line, from 1.
        relations: name of each table it reads (lower case) -> line.

    """

    name: str
    path: Path
    expression: exp.Query
    materialization: Materialization = "table"
    unique_key: tuple[str, ...] = ()
    description: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    lines: Mapping[str, int] = field(default_factory=dict)
    relations: Mapping[str, int] = field(default_factory=dict)


def read_sql(path: Path) -> SqlFile:
    """Read and check one SQL file.

    Raises:
        DeclarationError: listing every mistake, with its line.

    """
    name = path.stem
    if not _NAME.match(name) or name in RESERVED_TABLES:
        what = "is taken by the model itself" if name in RESERVED_TABLES else "is not a table name"
        raise DeclarationError(
            f"The file name {name!r} {what}.",
            where=str(path),
            mend="Rename the file: lower-case letters, digits and underscores, beginning with a letter.",
        )
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise DeclarationError(
            "The file is not UTF-8 text.", where=str(path), mend="Save it as UTF-8."
        ) from None
    header, lines = _header(text, path)
    expression = _parse(text, path)
    relations, mistakes = relations_of(expression, path)
    materialization = header.pop("materialized", "table")
    unique_key = tuple(part.strip() for part in header.pop("unique_key", "").split(",") if part.strip())
    mistakes += _header_mistakes(materialization, unique_key, lines, path)
    raise_all(mistakes)
    return SqlFile(
        name=name,
        path=path,
        expression=expression,
        materialization=cast("Materialization", materialization),
        unique_key=unique_key,
        description=header.pop("description", None),
        options=header,
        lines=lines,
        relations=relations,
    )


def in_order(files: Sequence[SqlFile], names: Sequence[str]) -> tuple[list[SqlFile], list[DeclarationError]]:
    """The files, each after the ones it reads, and the mistakes: unknown tables, cycles.

    Args:
        files: the files that could be read.
        names: the names of all tables, those included whose file could not be read.

    Returns:
        The order (empty where there is a cycle) and the mistakes.

    """
    by_name = {file.name: file for file in files}
    known = ["arrivals", *sorted(names)]
    mistakes = [
        DeclarationError(
            f"There is no table {name!r}.",
            where=f"{file.path}:{line}",
            mend=suggest(name, known, one_of(known)),
        )
        for file in files
        for name, line in file.relations.items()
        if name not in known
    ]
    graph = {name: sorted(set(file.relations) & set(by_name)) for name, file in sorted(by_name.items())}
    try:
        return [by_name[name] for name in TopologicalSorter(graph).static_order()], mistakes
    except CycleError as error:
        cycle: list[str] = error.args[1][::-1]
        first = by_name[cycle[0]]
        reads = first.relations[cycle[1]]
        mistakes.append(
            DeclarationError(
                f"The tables read each other in a circle: {' → '.join(cycle)}.",
                where=f"{first.path}:{reads}",
                mend="Let one of them read arrivals, or a table outside the circle.",
            )
        )
        return [], mistakes


# --- header -------------------------------------------------------------------------------------------------


def _header(text: str, path: Path) -> tuple[dict[str, str], dict[str, int]]:
    """The entries of the leading comment lines; other comments there are prose."""
    entries: dict[str, str] = {}
    lines: dict[str, int] = {}
    mistakes: list[DeclarationError] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip() and not line.lstrip().startswith("--"):
            break
        match = _ENTRY.match(line.strip())
        if match is None:
            continue
        key, value = match.groups()
        where = f"{path}:{number}"
        if key in entries:
            mistakes.append(DeclarationError(f"{key} is given twice.", where=where, mend="Keep one of them."))
        elif key in _HEADER:
            entries[key], lines[key] = value, number
        elif (mend := suggest(key, _HEADER, "")) and len(key) > 4:
            mistakes.append(DeclarationError(f"The header has no entry {key!r}.", where=where, mend=mend))
    raise_all(mistakes)
    return entries, lines


def _header_mistakes(
    materialization: str, unique_key: tuple[str, ...], lines: Mapping[str, int], path: Path
) -> Iterator[DeclarationError]:
    kinds = get_args(Materialization)
    if materialization not in kinds:
        yield DeclarationError(
            f"The materialization {materialization!r} is not known.",
            where=f"{path}:{lines['materialized']}",
            mend=suggest(materialization, kinds, one_of(kinds)),
        )
    if materialization == "incremental" and not unique_key:
        yield DeclarationError(
            "An incremental table needs a key whose rows are replaced.",
            where=f"{path}:{lines['materialized']}",
            mend="Add `-- unique_key: column` below.",
        )
    if unique_key and materialization in kinds and materialization != "incremental":
        yield DeclarationError(
            f"unique_key means nothing for a {materialization}.",
            where=f"{path}:{lines['unique_key']}",
            mend="Add `-- materialized: incremental`, or take unique_key out.",
        )


# --- body ---------------------------------------------------------------------------------------------------


def _parse(text: str, path: Path) -> exp.Query:
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import ParseError, SqlglotError

    try:
        statements = [
            item
            for item in sqlglot.parse(text, read="duckdb")
            if item and not isinstance(item, exp.Semicolon)
        ]
    except ParseError as error:
        first = error.errors[0] if error.errors else {}
        line, near = first.get("line"), first.get("highlight")
        what = f"{first.get('description', 'the SQL cannot be parsed').rstrip('.')}" + (
            f", near {near!r}." if near else "."
        )
        raise DeclarationError(
            what, where=f"{path}:{line}" if line else str(path), mend="Correct the SQL (DuckDB's dialect)."
        ) from None
    except SqlglotError as error:
        begins = re.search(r"from \d+:(\d+)", str(error.__cause__))
        line = text.count("\n", 0, int(begins[1])) + 1 if begins else None
        raise DeclarationError(
            "The SQL cannot be read.",
            where=f"{path}:{line}" if line else str(path),
            mend="Look for a quote or a comment that is not closed.",
        ) from None
    if len(statements) != 1:
        where = place(path, statements[1]) if len(statements) > 1 else str(path)
        raise DeclarationError(f"The file has {len(statements)} statements.", where=where, mend=_ONE_SELECT)
    (statement,) = statements
    if not isinstance(statement, (exp.Select, exp.SetOperation)):
        kind = statement.key.upper()
        raise DeclarationError(
            f"The statement is not a SELECT but {kind}.", where=place(path, statement), mend=_ONE_SELECT
        )
    return statement
