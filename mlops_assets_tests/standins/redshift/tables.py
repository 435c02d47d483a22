"""CREATE TABLE with Redshift's attributes: accepted, kept where the catalogue's views show them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from mlops_assets_tests.standins.redshift.dialect import TYPES, expressions
from mlops_assets_tests.standins.redshift.tokens import Reader, Token, separated, text, word
from mlops_assets_tests.standins.redshift.wire import FEATURE, Backend, RedshiftError

_STYLES = ("EVEN", "ALL", "KEY", "AUTO")


@dataclass
class Attributes:
    """How a table is spread and sorted, and how its columns are encoded."""

    style: str = "AUTO"
    key: str = ""
    sort: list[str] = field(default_factory=list)
    sort_style: str = "COMPOUND"
    encodings: dict[str, str] = field(default_factory=dict)

    def take(self, reader: Reader) -> bool:
        """Take one table attribute from the tokens; False where none comes next."""
        if reader.accept("DISTSTYLE"):
            self.style = reader.take().key
            if self.style not in _STYLES:
                raise RedshiftError(f"Invalid DISTSTYLE {self.style}", FEATURE)
        elif reader.accept("DISTKEY"):
            self.style, (self.key,) = "KEY", reader.names()
        elif reader.accept("SORTKEY", "AUTO"):
            self.sort_style = "AUTO"
        elif reader.peek().key in ("COMPOUND", "INTERLEAVED", "SORTKEY"):
            if not reader.accept("SORTKEY"):
                self.sort_style = reader.take().key
                reader.expect("SORTKEY")
            self.sort = reader.names()
        elif not (reader.accept("BACKUP", "YES") or reader.accept("BACKUP", "NO")):
            return reader.accept("ENCODE", "AUTO")
        return True

    def check(self, columns: Sequence[str]) -> None:
        """Raise what the service says to keys that are not columns, or do not go together."""
        for name in [*([self.key] if self.key else []), *self.sort]:
            if name not in columns:
                raise RedshiftError(f'column "{name}" named in key does not exist', "42703")
        if self.style == "KEY" and not self.key:
            raise RedshiftError("A distribution key must be specified for DISTSTYLE KEY", "42601")

    def record(self, backend: Backend, relation: str) -> None:
        """Keep them for the catalogue, under the relation's own identity, so that a rename keeps them."""
        columns = backend.run(
            f"SELECT attname FROM pg_attribute WHERE attrelid = {quoted(relation)}::regclass AND attnum > 0 "
            "AND NOT attisdropped"
        )
        self.check([str(name) for (name,) in columns.rows])
        sort = ", ".join(quoted(name) for name in self.sort)
        encodings = ", ".join(f"{quoted(name)}, {quoted(code)}" for name, code in self.encodings.items())
        backend.run(
            f"INSERT INTO rs_internal.attributes VALUES ({quoted(relation)}::regclass::oid, "
            f"{quoted(self.style)}, {quoted(self.key)}, ARRAY[{sort}]::text[], {quoted(self.sort_style)}, "
            f"jsonb_build_object({encodings}))"
        )


def quoted(value: str) -> str:
    """A string literal for an engine that reads backslashes as escapes."""
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


@dataclass
class CreateTable:
    """A table to create, with its attributes set apart."""

    relation: str
    sql: str
    attributes: Attributes
    only_if_absent: bool


def create_table(parts: Sequence[Token], *, case_sensitive: bool) -> CreateTable:
    """Read CREATE TABLE, with columns or AS a SELECT."""
    reader = Reader(expressions(parts, case_sensitive=case_sensitive))
    head = [reader.take()]
    while not reader.accept("TABLE"):
        head.append(reader.take())
    head.append(word("TABLE"))
    only_if_absent = reader.accept("IF", "NOT", "EXISTS")
    if only_if_absent:
        head.append(word("IF NOT EXISTS"))
    relation = reader.relation()
    attributes = Attributes()
    head += [word(""), *relation]
    if reader.peek().text == "(" and reader.peek(1).key != "SELECT":
        head.append(word(f"({_columns(reader.bracketed(), attributes)})"))
    while attributes.take(reader):
        pass
    if reader and reader.peek().key != "AS":
        raise reader.error()
    rest = reader.rest()
    return CreateTable(text(relation), text([*head, *rest]), attributes, only_if_absent)


def _columns(parts: Sequence[Token], attributes: Attributes) -> str:
    """The column definitions; keys and foreign keys are informational in Redshift, so they are left out."""
    kept = []
    for place, item in enumerate(separated(parts)):
        first = [part.key for part in item[:3]]
        if first[0] == "CONSTRAINT":
            first = first[2:]
        if first[0] in ("PRIMARY", "UNIQUE", "FOREIGN"):
            continue
        kept.append(text(item) if first[0] == "LIKE" else _column(item, place, attributes))
    return ", ".join(kept)


def _column(parts: Sequence[Token], place: int, attributes: Attributes) -> str:
    reader = Reader(parts)
    name = reader.take()
    kind = reader.take()
    definition = [name, word(TYPES.get(kind.key, kind.text))]
    length = None
    while reader:
        if reader.accept("ENCODE"):
            attributes.encodings[name.name] = reader.take().text.lower()
        elif reader.accept("DISTKEY"):
            attributes.style, attributes.key = "KEY", name.name
        elif reader.accept("SORTKEY"):
            attributes.sort = [name.name]
        elif reader.accept("IDENTITY"):
            seed, _, step = (part.text for part in reader.bracketed())
            generated = f"GENERATED BY DEFAULT AS IDENTITY (START {seed} INCREMENT {step})"
            definition.append(word(generated))
        elif reader.accept("PRIMARY", "KEY") or reader.accept("UNIQUE"):
            continue
        elif reader.accept("REFERENCES"):
            reader.relation()
            if reader.peek().text == "(":
                reader.bracketed()
        else:
            part = reader.take()
            if part.text == "(" and length is None and reader.peek().kind == "number":
                length = reader.peek().text
            definition.append(part)
    is_varchar = definition[1].key in ("VARCHAR", "NVARCHAR", "CHARACTER")
    return text(definition) + (f" {_bytes(name, length, place)}" if is_varchar and length else "")


BYTES = "rs_bytes_"


def _bytes(name: Token, length: str, place: int) -> str:
    """VARCHAR(n) counts bytes; the constraint's name lets its error be told in the service's words."""
    return f"CONSTRAINT {BYTES}{length}_{place} CHECK (octet_length({name.text}) <= {length})"
