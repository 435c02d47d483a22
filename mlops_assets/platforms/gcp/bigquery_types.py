"""Types of columns, nested ones too: as BigQuery's SQL and its API spell them, and as Arrow does."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from mlops_assets.artifacts.values import LogicalType

if TYPE_CHECKING:
    import pyarrow as pa
    from google.cloud.bigquery import SchemaField

STRUCT = "STRUCT"
# The API's names of types, by those of SQL.
_LEGACY = {"INTEGER": "INT64", "FLOAT": "FLOAT64", "BOOLEAN": "BOOL", "RECORD": STRUCT}
_LOGICAL: Mapping[str, LogicalType] = {
    "INT64": "int",
    "FLOAT64": "float",
    "NUMERIC": "float",
    "BIGNUMERIC": "float",
    "BOOL": "bool",
    "DATETIME": "timestamp",
    "TIMESTAMP": "timestamp",
    "DATE": "date",
}
_TOKEN = re.compile(r"`[^`]*`|\w+|[<>]")


@dataclass(frozen=True)
class Shape:
    """A type taken apart; as text it is what SQL says.

    Attributes:
        scalar: its name in SQL.
        fields: of a STRUCT, with their names in BigQuery.
        repeated: whether it is an ARRAY of that.
    """

    scalar: str
    fields: tuple[tuple[str, Shape], ...] = ()
    repeated: bool = False

    @property
    def nested(self) -> bool:
        """Whether it is an ARRAY or a STRUCT."""
        return self.repeated or self.scalar == STRUCT

    @property
    def element(self) -> Shape:
        """What an ARRAY is of."""
        return replace(self, repeated=False)

    def __str__(self) -> str:
        text = self.scalar
        if text == STRUCT:
            text += f"<{', '.join(f'`{name}` {shape}' for name, shape in self.fields)}>"
        return f"ARRAY<{text}>" if self.repeated else text


@lru_cache(maxsize=1024)
def parsed(kind: str) -> Shape:
    """The type that is spelled so.

    >>> parsed("ARRAY<STRUCT<`a` INT64>>")
    Shape(scalar='STRUCT', fields=(('a', Shape(scalar='INT64', fields=(), repeated=False)),), repeated=True)
    """
    return _parsed(list(reversed(_TOKEN.findall(kind))))


def _parsed(tokens: list[str]) -> Shape:
    """What the last of the tokens begin."""
    word = tokens.pop()
    if word not in ("ARRAY", STRUCT):
        return Shape(word)
    tokens.pop()  # <
    if word == "ARRAY":
        made = replace(_parsed(tokens), repeated=True)
    else:
        fields = []
        while tokens[-1] != ">":
            name = tokens.pop().strip("`")
            fields.append((name, _parsed(tokens)))
        made = Shape(STRUCT, tuple(fields))
    tokens.pop()  # >
    return made


def shape_of(field: SchemaField) -> Shape:
    """The type of a field of a schema."""
    fields = tuple((item.name, shape_of(item)) for item in field.fields)
    kind = field.field_type
    return Shape(_LEGACY.get(kind, kind), fields, field.mode == "REPEATED")


def sql_type(field: SchemaField) -> str:
    """The same as SQL spells it."""
    return str(shape_of(field))


def schema_field(name: str, kind: str) -> SchemaField:
    """A field of a schema, for a column that is called so in BigQuery."""
    return _field(name, parsed(kind))


def _field(name: str, shape: Shape) -> SchemaField:
    from google.cloud.bigquery import SchemaField

    mode = "REPEATED" if shape.repeated else "NULLABLE"
    if shape.scalar != STRUCT:
        return SchemaField(name, shape.scalar, mode)
    return SchemaField(name, "RECORD", mode, fields=[_field(*item) for item in shape.fields])


def logical_type(kind: str) -> LogicalType:
    """The logical type of a column type; what has none of its own, as nested ones have not, is a string."""
    return _LOGICAL.get(kind, "string")


def arrow_type(kind: str) -> pa.DataType:
    """The Arrow type that holds a column type."""
    return _arrow(parsed(kind))


def _arrow(shape: Shape) -> pa.DataType:
    import pyarrow as pa

    if shape.repeated:
        return pa.list_(_arrow(shape.element))
    if shape.scalar == STRUCT:
        return pa.struct([(name, _arrow(item)) for name, item in shape.fields])
    return {
        "INT64": pa.int64(),
        "FLOAT64": pa.float64(),
        "BOOL": pa.bool_(),
        "DATE": pa.date32(),
        "DATETIME": pa.timestamp("us"),
        "TIMESTAMP": pa.timestamp("us", "UTC"),
        "NUMERIC": pa.decimal128(38, 9),
    }.get(shape.scalar, pa.string())
