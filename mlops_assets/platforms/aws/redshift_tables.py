"""Building relations in Redshift: beside the old one, then in its place, in one transaction."""

# ruff: noqa: S608 - identifiers are quoted, values are parameters or quoted literals

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mlops_assets.artifacts import TableRef
from mlops_assets.errors import DeclarationError
from mlops_assets.platforms.aws import redshift_relations as relations
from mlops_assets.platforms.aws.redshift_connection import Connection
from mlops_assets.platforms.aws.redshift_sql import DIALECT, beside, quote, quote_relation
from mlops_assets.platforms.ports import TableBuild
from mlops_assets.platforms.sql import transpile

_STYLES = ("auto", "even", "all", "key")
_SORTS = ("compound", "interleaved")


class TableWork:
    """The transaction of one build; `run` may be repeated."""

    def __init__(self, build: TableBuild) -> None:
        """Transpile the SELECT and check the options.

        Raises:
            DataError: for what Redshift cannot express.
            DeclarationError: for an option that it does not know.
        """
        self._build = build
        self._select = transpile(build.select, DIALECT)
        self._attributes = table_attributes(build.options, build.relation)
        self._encodings = _pairs(build.options.get("encode", ""))
        self._token = beside(build.relation, "made")

    def run(self, connection: Connection) -> TableRef:
        """Build and put in place."""
        build = self._build
        relations.make_schema(connection, build.relation)
        if build.materialization == "view":
            return self._view(connection)
        if build.materialization == "materialized_view":
            return self._materialized_view(connection)
        staging = beside(build.relation)
        self._stage(connection, staging)
        keeps = build.materialization == "incremental" and build.unique_key
        merge(connection, staging, build.relation, build.unique_key if keeps else (), self._token)
        return reference(connection, build.relation)

    def done(self, connection: Connection) -> TableRef | None:
        """What this very build made, where it was committed."""
        return made(connection, self._build.relation, self._token)

    def _view(self, connection: Connection) -> TableRef:
        """A late-binding view: it goes on reading a table that is replaced under its name."""
        name = quote_relation(self._build.relation)
        relations.drop(connection, self._build.relation)
        connection.execute(f"CREATE VIEW {name} AS {self._select} WITH NO SCHEMA BINDING")
        columns = relations.columns_of(connection, self._build.relation)
        return TableRef(relation=self._build.relation, version="", columns=columns)

    def _materialized_view(self, connection: Connection) -> TableRef:
        """Made anew, for what it is made of may have been replaced."""
        name = quote_relation(self._build.relation)
        relations.drop(connection, self._build.relation)
        connection.execute(f"CREATE MATERIALIZED VIEW {name} {self._attributes} AS {self._select}")
        return reference(connection, self._build.relation)

    def _stage(self, connection: Connection, staging: str) -> None:
        """CREATE TABLE AS takes no encodings: with them the table is made first, in the SELECT's types."""
        if not self._encodings:
            connection.execute(f"CREATE TABLE {quote_relation(staging)} {self._attributes} AS {self._select}")
            return
        shape = beside(self._build.relation, "shape")
        connection.execute(
            f"CREATE TABLE {quote_relation(shape)} AS SELECT * FROM ({self._select}) AS s WHERE 1 = 0"
        )
        types = relations.types_of(connection, shape)
        relations.drop(connection, shape)
        encoded = {
            name: f"{kind} ENCODE {self._encodings[name]}" if name in self._encodings else kind
            for name, kind in types.items()
        }
        relations.create(connection, staging, encoded, self._attributes)
        connection.execute(f"INSERT INTO {quote_relation(staging)} {self._select}")


def merge(connection: Connection, staging: str, relation: str, unique_key: Sequence[str], token: str) -> None:
    """Let the rows of `staging` replace those of equal key, or all where there is no key or no table yet."""
    if unique_key and relations.kind_of(connection, relation) == "TABLE":
        relations.lock(connection, relation)
        relations.widen(connection, relation, staging)
        relations.replace_keys(connection, relation, staging, unique_key)
        relations.drop(connection, staging)
    else:
        relations.swap(connection, staging, relation)
    relations.sign(connection, relation, token)


def made(connection: Connection, relation: str, token: str) -> TableRef | None:
    """The table, where the transaction of this token was the last to change it.

    The lock waits for that transaction, should it still be ending.
    """
    relations.lock(connection, relation)
    return reference(connection, relation) if relations.is_signed(connection, relation, token) else None


def reference(connection: Connection, relation: str) -> TableRef:
    """The table as it is, with its rows counted."""
    rows = int(connection.execute(f"SELECT count(*) FROM {quote_relation(relation)}").one())
    columns = relations.columns_of(connection, relation)
    return TableRef(relation=relation, version="", columns=columns, rows=rows)


def table_attributes(options: Mapping[str, str], where: str) -> str:
    """The SQL header's options as table attributes; those of other warehouses are passed over.

    >>> table_attributes({"distkey": "id", "sortkey": "day, id"}, "m.t")
    'DISTSTYLE KEY DISTKEY("id") COMPOUND SORTKEY("day", "id")'

    Raises:
        DeclarationError: for a style that Redshift does not know.
    """
    style = options.get("diststyle", "key" if "distkey" in options else "").lower()
    sort = options.get("sortstyle", "compound").lower()
    for value, known, name in ((style or "auto", _STYLES, "diststyle"), (sort, _SORTS, "sortstyle")):
        if value not in known:
            raise DeclarationError(
                f"The {name} {value!r} is not known.", where=where, mend=f"Use one of {', '.join(known)}."
            )
    parts = [f"DISTSTYLE {style.upper()}"] if style else []
    if "distkey" in options:
        parts.append(f"DISTKEY({quote(options['distkey'].strip())})")
    if "sortkey" in options:
        keys = ", ".join(quote(key.strip()) for key in options["sortkey"].split(","))
        parts.append(f"{sort.upper()} SORTKEY({keys})")
    return " ".join(parts)


def _pairs(text: str) -> dict[str, str]:
    """`a zstd, b az64` by column.

    Raises:
        DeclarationError: for anything but pairs of a column and an encoding's name.
    """
    found = {}
    for item in (part.split() for part in text.split(",") if part.strip()):
        if len(item) != 2 or not item[1].isalnum():
            raise DeclarationError(
                f"The encodings {text!r} cannot be read.", mend="Write `-- encode: column zstd, other az64`."
            )
        found[item[0]] = item[1]
    return found
