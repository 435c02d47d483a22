"""A file as columns c0, c1, … that DuckDB can count: text as it stands, and the typed value of each column.

What the file means is decided in profile.py; this module only knows how to read it. No file is held whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mlops_assets.errors import DataError

if TYPE_CHECKING:
    import duckdb

    from mlops_assets.artifacts.values import LogicalType

Form = Literal["plain", "decimal_comma", "thousands", "date_text"]

SQL_TYPES: dict[LogicalType, str] = {
    "int": "BIGINT",
    "float": "DOUBLE",
    "bool": "BOOLEAN",
    "string": "VARCHAR",
    "timestamp": "TIMESTAMP",
    "date": "DATE",
}

# Text that stands for a number: how a SELECT turns it into one. {column} is the quoted column.
NUMBER_FORMS: dict[str, str] = {
    "decimal_comma": "TRY_CAST(REPLACE({column}, ',', '.') AS DOUBLE)",
    "thousands": "TRY_CAST(REPLACE({column}, ',', '') AS DOUBLE)",
}


@dataclass(frozen=True)
class Source:
    """How to read a file: a table function for FROM, its parameters, and an expression for each column."""

    relation: str
    parameters: tuple[Any, ...]
    columns: tuple[str, ...]


def csv_source(path: Path, width: int, delimiter: str, null_values: Sequence[str]) -> Source:
    """Every column as text; lines that are not as wide as the header are left out."""
    names = tuple(f"c{index}" for index in range(width))
    columns = ", ".join(f"'{name}': 'VARCHAR'" for name in names)
    relation = (
        f"read_csv(?, columns={{{columns}}}, header=true, auto_detect=false, delim=?, nullstr=?, "
        "quote='\"', escape='\"', ignore_errors=true)"
    )
    return Source(relation, (str(path), delimiter, list(null_values)), names)


def parquet_source(path: Path, columns: Sequence[str]) -> Source:
    """The named columns with the types that the file gives them."""
    chosen = ", ".join(f"{quoted(name)} AS c{index}" for index, name in enumerate(columns))
    names = tuple(f"c{index}" for index in range(len(columns)))
    relation = f"(SELECT {chosen} FROM read_parquet(?))"  # noqa: S608
    return Source(relation, (str(path),), names)


def quoted(name: str) -> str:
    """`name` as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def typed(column: str, type_: LogicalType, form: Form = "plain") -> str:
    """SQL for the typed value of a column; NULL where the text is not one."""
    if form in NUMBER_FORMS:
        return NUMBER_FORMS[form].format(column=column)
    return column if type_ == "string" else f"TRY_CAST({column} AS {SQL_TYPES[type_]})"


@contextmanager
def engine(path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """An in-memory DuckDB; its complaints about `path` become DataError."""
    import duckdb

    connection = duckdb.connect(config={"memory_limit": "300MB"})
    try:
        connection.execute("SET enable_progress_bar = false")
        yield connection
    except duckdb.Error as error:
        first = str(error).strip().splitlines()[0]
        raise DataError(
            f"The file cannot be read: {first}", where=str(path), mend="Check that it is what its name says."
        ) from None
    finally:
        connection.close()


def row_of(
    connection: duckdb.DuckDBPyConnection, source: Source, expressions: Sequence[str]
) -> tuple[Any, ...]:
    """One row of aggregates over the whole file, a hundred expressions per pass."""
    values: list[Any] = []
    for start in range(0, len(expressions), 100):
        part = ", ".join(expressions[start : start + 100])
        select = f"SELECT {part} FROM {source.relation}"  # noqa: S608
        values.extend(connection.execute(select, source.parameters).fetchall()[0])
    return tuple(values)
