"""What a file holds: its columns with names, types, ranges, missing values. Any size, in bounded memory."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mlops_assets.artifacts.values import LogicalType
from mlops_assets.errors import DataError
from mlops_assets.starting.delimited import dialect_of
from mlops_assets.starting.naming import declared_names, did_you_mean
from mlops_assets.starting.reading import (
    Form,
    Source,
    csv_source,
    engine,
    parquet_source,
    quoted,
    row_of,
    typed,
)
from mlops_assets.starting.text_types import TextType, text_types

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

_FORMATS: dict[str, Literal["csv", "parquet"]] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
}
_PARQUET_TYPES: tuple[tuple[LogicalType, tuple[str, ...]], ...] = (
    ("int", ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER")),
    ("float", ("FLOAT", "DOUBLE", "DECIMAL", "HUGEINT", "UHUGEINT", "UBIGINT")),
    ("bool", ("BOOLEAN",)),
    ("string", ("VARCHAR", "ENUM", "UUID")),
    ("timestamp", ("TIMESTAMP",)),
    ("date", ("DATE",)),
)


@dataclass(frozen=True)
class ColumnProfile:
    """One column of the file.

    Attributes:
        position: index of its column among those of `Profile.source`, from 0.
        source: its name in the file.
        name: its declared name.
        type: logical type that arriving values are parsed as.
        form: `plain`, or how its text writes what it means: a decimal comma, thousands, another date.
        nulls: missing values, unparsed ones not among them.
        unparsed: values that are not of `type`.
        distinct: number of different values, to about 2 %.
        minimum, maximum: smallest and largest value; None where all are missing.
        examples: the first few different values.
    """

    position: int
    source: str
    name: str
    type: LogicalType
    form: Form = "plain"
    nulls: int = 0
    unparsed: int = 0
    distinct: int = 0
    minimum: Any = None
    maximum: Any = None
    examples: tuple[str, ...] = ()

    @property
    def feature_type(self) -> LogicalType:
        """Type of what a model sees: text that stands for a number counts as one."""
        return "float" if self.form in ("decimal_comma", "thousands") else self.type

    @property
    def numeric(self) -> bool:
        """Whether a model sees numbers."""
        return self.feature_type in ("int", "float")


@dataclass(frozen=True)
class Profile:
    """A file as `look` saw it.

    Attributes:
        columns: in the file's order, those that a declaration can name.
        null_values: spellings of a missing value, the empty cell first.
        left_out: name in the file -> why no declaration can name it.
    """

    path: Path
    format: Literal["csv", "parquet"]
    rows: int
    columns: tuple[ColumnProfile, ...]
    source: Source
    delimiter: str = ","
    null_values: tuple[str, ...] = ("",)
    left_out: dict[str, str] = field(default_factory=dict)

    def column(self, name: str) -> ColumnProfile:
        """The column called `name` in the file or in the declaration, capitals aside.

        Raises:
            DataError: naming the nearest column.
        """
        for wanted in (name, name.strip().lower()):
            for column in self.columns:
                if wanted in (column.source, column.name, column.source.strip().lower()):
                    return column
        raise DataError(
            f"There is no column {name!r}.",
            where=str(self.path),
            mend=did_you_mean(name, [column.source for column in self.columns]),
        )

    def sample(self, rows: int = 50_000) -> pa.Table:
        """At most `rows` rows, the same at every call: typed, under declared names."""
        values = (
            typed(self.source.columns[column.position], column.type, column.form) for column in self.columns
        )
        chosen = ", ".join(
            f"{value} AS {quoted(column.name)}" for value, column in zip(values, self.columns, strict=True)
        )
        # Reservoir sampling with a fixed seed in one thread: the same rows every time, whatever the machine.
        select = f"SELECT {chosen} FROM {self.source.relation}"  # noqa: S608
        sampled = f"SELECT * FROM ({select}) USING SAMPLE reservoir({rows} ROWS) REPEATABLE (0)"  # noqa: S608
        with engine(self.path) as connection:
            connection.execute("SET threads = 1")
            return connection.sql(sampled, params=list(self.source.parameters)).to_arrow_table()


def look(path: Path) -> Profile:
    """Look at a CSV (comma, semicolon, tab or bar) or Parquet file.

    Raises:
        DataError: for a missing, empty or unreadable file, another encoding than UTF-8 or another format.
    """
    if not path.is_file():
        raise DataError("There is no such file.", where=str(path), mend="Check the path.")
    kind = _FORMATS.get(path.suffix.lower())
    if kind is None:
        raise DataError(
            f"Files ending in {path.suffix or 'nothing'} are not read.",
            where=str(path),
            mend="Save it as .csv or .parquet; unpack it first where it is compressed.",
        )
    profile = _look_csv(path) if kind == "csv" else _look_parquet(path)
    if profile.rows == 0:
        raise DataError(
            "The file has no rows.", where=str(path), mend="Give a file with rows below its header."
        )
    return profile


def _look_csv(path: Path) -> Profile:
    dialect = dialect_of(path)
    first = {
        name: index for index, name in enumerate(dialect.header) if name and dialect.header.count(name) == 1
    }
    left_out = {
        f"{name} (column {index + 1})".strip(): "another column has the same name; rename one"
        if name
        else "it has no name"
        for index, name in enumerate(dialect.header)
        if name not in first
    }
    raw = csv_source(path, len(dialect.header), dialect.delimiter, [""])
    with engine(path) as connection:
        types, null_values = text_types(connection, raw, list(first.values()), dialect.delimiter)
        source = csv_source(path, len(dialect.header), dialect.delimiter, null_values)
        rows, columns = _columns(connection, source, list(first.items()), types)
    return Profile(path, "csv", rows, columns, source, dialect.delimiter, tuple(null_values), left_out)


def _look_parquet(path: Path) -> Profile:
    with engine(path) as connection:
        described = connection.execute("DESCRIBE SELECT * FROM read_parquet(?)", (str(path),)).fetchall()
        types: dict[str, LogicalType] = {}
        left_out: dict[str, str] = {}
        for name, engine_type, *_ in described:
            known = _logical(engine_type)
            if known is None:
                left_out[name] = f"its type {engine_type} is none that a model can use"
            else:
                types[name] = known
        if not types:
            raise DataError(
                "No column can be used.", where=str(path), mend="Give numbers, text, booleans or dates."
            )
        source = parquet_source(path, list(types))
        named = [(name, index) for index, name in enumerate(types)]
        rows, columns = _columns(connection, source, named, [TextType(type_) for type_ in types.values()])
    return Profile(path, "parquet", rows, columns, source, left_out=left_out)


def _logical(engine_type: str) -> LogicalType | None:
    if engine_type.endswith("]"):
        return None
    base = re.split(r"[( _]", engine_type, maxsplit=1)[0]
    return next((logical for logical, names in _PARQUET_TYPES if base in names), None)


def _columns(
    connection: duckdb.DuckDBPyConnection, source: Source, named: list[tuple[str, int]], types: list[TextType]
) -> tuple[int, tuple[ColumnProfile, ...]]:
    expressions = ["count(*)"]
    for (_, position), found in zip(named, types, strict=True):
        text, value = source.columns[position], typed(source.columns[position], found.type, found.form)
        expressions += [f"count({text})", f"count({value})", f"approx_count_distinct({value})"]
        expressions += [f"min({value})", f"max({value})"]
    rows, *values = row_of(connection, source, expressions)
    names = declared_names([name for name, _ in named])
    examples = _examples(connection, source)
    columns: list[ColumnProfile] = []
    for number, ((name, position), found) in enumerate(zip(named, types, strict=True)):
        filled, parsed, distinct, low, high = values[number * 5 : number * 5 + 5]
        columns.append(
            ColumnProfile(
                position=position,
                source=name,
                name=names[number],
                type=found.type,
                form=found.form,
                nulls=rows - filled,
                unparsed=filled - parsed,
                distinct=min(distinct, parsed),
                minimum=low,
                maximum=high,
                examples=examples[position],
            )
        )
    return rows, tuple(columns)


def _examples(connection: duckdb.DuckDBPyConnection, source: Source, most: int = 3) -> list[tuple[str, ...]]:
    select = f"SELECT * FROM {source.relation} LIMIT 200"  # noqa: S608
    head = connection.execute(select, source.parameters).fetchall()
    if not head:
        return [() for _ in source.columns]
    firsts = [
        dict.fromkeys(str(value) for value in column if value is not None)
        for column in zip(*head, strict=True)
    ]
    return [tuple(_shortened(value) for value in list(first)[:most]) for first in firsts]


def _shortened(text: str, longest: int = 40) -> str:
    line = " ".join(text.split())
    return line if len(line) <= longest else line[: longest - 1] + "…"
