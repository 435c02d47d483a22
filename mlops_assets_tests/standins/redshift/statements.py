"""What becomes of a statement: forwarded in PostgreSQL's words, or a command of our own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from mlops_assets_tests.standins.redshift import views
from mlops_assets_tests.standins.redshift.copying import Copy
from mlops_assets_tests.standins.redshift.dialect import expressions, refuse
from mlops_assets_tests.standins.redshift.tables import Attributes, create_table, quoted
from mlops_assets_tests.standins.redshift.tokens import Reader, Token, text, tokens, word
from mlops_assets_tests.standins.redshift.unloading import Unload
from mlops_assets_tests.standins.redshift.wire import FEATURE, RedshiftError

if TYPE_CHECKING:
    from mlops_assets_tests.standins.redshift.session import Session

# Parameters of the service that the engine has not, with their defaults.
PARAMETERS = {
    "query_group": "unset",
    "enable_case_sensitive_identifier": "off",
    "enable_result_cache_for_session": "on",
    "wlm_query_slot_count": "1",
}


class Command(Protocol):
    """A statement that is not forwarded; `run` gives its tag."""

    def run(self, session: Session) -> str:
        """Do it."""
        ...


class Change:
    """A change of relations: late-binding views make way for it and come back after it."""

    def __init__(self, tag: str, changed: str | None, work: Callable[[Session], object]) -> None:
        """`changed`: the relation that is dropped or altered; None where one is only added."""
        self._tag, self._changed, self._work = tag, changed, work

    def run(self, session: Session) -> str:
        """Unbind, change, bind, in one transaction."""
        with session.atomically():
            if self._changed is not None:
                views.unbind(session.backend, self._changed)
            self._work(session)
            views.bind(session.backend)
        return self._tag


class Direct:
    """A command that is one function."""

    def __init__(self, tag: str, work: Callable[[Session], object]) -> None:
        self._tag, self._work = tag, work

    def run(self, session: Session) -> str:
        """Do it."""
        self._work(session)
        return self._tag


def translate(sql: str, session: Session) -> str | Command:
    """The statement for the engine, or what to do instead.

    Raises:
        RedshiftError: for what the service, or this stand-in, does not do.
    """
    parts = tokens(sql)
    if not parts:
        return sql
    refuse(parts)
    keys = [part.key for part in parts[:6]]
    made = _own(parts, keys, session)
    if made is not None:
        return made
    return text(expressions(parts, case_sensitive=session.case_sensitive))


def _own(parts: Sequence[Token], keys: Sequence[str], session: Session) -> str | Command | None:
    first, sensitive = keys[0], session.case_sensitive
    if first == "COPY":
        return Copy(parts)
    if first == "UNLOAD":
        return Unload(parts, case_sensitive=sensitive)
    if first in ("SET", "RESET", "SHOW"):
        return _parameter(parts)
    if first == "VACUUM":
        return Direct(first, _vacuum)
    if first == "ANALYZE":
        return Direct(first, lambda _: None)
    if first == "CREATE" and "TABLE" in keys[:4]:
        return _create_table(parts, sensitive)
    if first == "CREATE" and "VIEW" in keys[:5]:
        return _create_view(parts, sensitive)
    if first in ("DROP", "ALTER", "TRUNCATE", "REFRESH"):
        return _changing(expressions(parts, case_sensitive=sensitive))
    return None


# --- session parameters -----------------------------------------------------------------------------------


def _parameter(parts: Sequence[Token]) -> str | Command | None:
    reader = Reader(parts)
    verb, name = reader.take().key, reader.take().text.lower()
    if name not in PARAMETERS:
        return None
    if verb == "RESET":
        return Direct(verb, lambda session: session.parameters.update({name: PARAMETERS[name]}))
    if verb == "SHOW":
        return Show(name)
    if not reader.accept("TO"):
        reader.expect("=")
    given = reader.take()
    value = given.value if given.kind == "string" else given.text.lower()
    return Direct(verb, lambda session: session.parameters.update({name: value}))


class Show:
    """SHOW of a parameter that the engine does not have: answered by a SELECT."""

    def __init__(self, name: str) -> None:
        self.name = name

    def run(self, session: Session) -> str:
        """Never run: the session asks for `select` instead."""
        raise AssertionError

    def select(self, session: Session) -> str:
        """A SELECT that gives the value."""
        return f'SELECT {quoted(session.parameters[self.name])}::text AS "{self.name}"'


def _vacuum(session: Session) -> None:
    if session.backend.status != b"I":
        raise RedshiftError("VACUUM cannot run inside a transaction block", "25001")


# --- relations --------------------------------------------------------------------------------------------


def _create_table(parts: Sequence[Token], sensitive: bool) -> Command:
    table = create_table(parts, case_sensitive=sensitive)

    def work(session: Session) -> None:
        backend = session.backend
        there = backend.run(f"SELECT to_regclass({quoted(table.relation)}) IS NOT NULL").rows[0][0] == "t"
        session.rows = backend.run(table.sql).count
        if not there:
            _give_digits(session, table.relation)
            table.attributes.record(backend, table.relation)

    return Change("CREATE TABLE", None, work)


def _give_digits(session: Session, relation: str) -> None:
    """CREATE TABLE AS: a numeric of any digits, which the engine alone has, gets those of its values."""
    found = session.backend.run(
        f"SELECT quote_ident(attname) FROM pg_attribute WHERE attrelid = {quoted(relation)}::regclass "
        "AND attnum > 0 AND NOT attisdropped AND atttypid = 'numeric'::regtype AND atttypmod = -1"
    )
    for (name,) in found.rows:
        digits = session.backend.run(f"SELECT coalesce(max(scale({name})), 0) FROM {relation}").rows[0][0]
        session.backend.run(f"ALTER TABLE {relation} ALTER COLUMN {name} TYPE numeric(38, {digits})")


def _create_view(parts: Sequence[Token], sensitive: bool) -> Command:
    reader = Reader(expressions(parts, case_sensitive=sensitive))
    reader.expect("CREATE")
    replaces = reader.accept("OR", "REPLACE")
    materialized = reader.accept("MATERIALIZED")
    reader.expect("VIEW")
    relation = reader.relation()
    name = text(relation)
    if materialized:
        attributes = Attributes()
        while attributes.take(reader) or reader.accept("AUTO", "REFRESH", "YES"):
            pass
        reader.accept("AUTO", "REFRESH", "NO")
    reader.expect("AS")
    query = reader.rest()
    if materialized:
        sql = f"CREATE MATERIALIZED VIEW {name} AS {text(query)}"
        return Change("CREATE MATERIALIZED VIEW", None, lambda session: session.backend.run(sql))
    late = [part.key for part in query[-4:]] == ["WITH", "NO", "SCHEMA", "BINDING"]
    if not late:
        sql = f"CREATE {'OR REPLACE ' if replaces else ''}VIEW {name} AS {text(query)}"
        return Change("CREATE VIEW", name if replaces else None, lambda session: session.backend.run(sql))

    def work(session: Session) -> None:
        if replaces:
            session.backend.run(f"DROP VIEW IF EXISTS {name}")
        elif session.backend.run(f"SELECT to_regclass({quoted(name)})").rows[0][0] is not None:
            raise RedshiftError(f'relation "{relation[-1].name}" already exists', "42P07")
        views.register(session.backend, relation, query[:-4])

    return Change("CREATE VIEW", name if replaces else None, work)


def _changing(parts: Sequence[Token]) -> Command | None:
    """DROP, ALTER, TRUNCATE and REFRESH of tables and views; None for what is forwarded as it is."""
    reader = Reader(parts)
    verb = reader.take().key
    if verb == "REFRESH":
        reader.expect("MATERIALIZED", "VIEW")
        return Direct("REFRESH MATERIALIZED VIEW", lambda session: session.backend.run(text(parts)))
    if verb == "TRUNCATE":
        return Direct("TRUNCATE TABLE", lambda session: _truncate(session, text(parts)))
    materialized = reader.accept("MATERIALIZED")
    if not (reader.accept("TABLE") or reader.accept("VIEW")):
        return None
    if verb == "ALTER":
        return _alter(reader, parts)
    what = "MATERIALIZED VIEW" if materialized else parts[1].key
    if_exists = reader.accept("IF", "EXISTS")
    relation = text(reader.relation())
    if reader.peek().text == ",":
        raise RedshiftError("DROP of several relations is not built into this stand-in", FEATURE)

    def work(session: Session) -> None:
        was_late = what == "VIEW" and views.forget(session.backend, relation)
        absent = word("IF EXISTS").text if if_exists or was_late else ""
        session.backend.run(f"DROP {what} {absent} {relation} {text(reader.rest())}")

    return Change(f"DROP {what}", relation, work)


def _alter(reader: Reader, parts: Sequence[Token]) -> Command:
    relation = text(reader.relation())
    if reader.accept("APPEND"):
        raise RedshiftError("ALTER TABLE APPEND is not built into this stand-in", FEATURE)
    if reader.accept("ALTER"):
        _refuse_type(reader)
    renames = reader.accept("RENAME", "TO")

    def work(session: Session) -> None:
        if renames:
            session.server.faults.reached("swap", session)
        elif reader.peek().key == "TYPE" and session.backend.status != b"I":
            raise RedshiftError("ALTER TABLE ALTER COLUMN cannot run inside a transaction block", "25001")
        session.backend.run(text(parts))

    return Change("ALTER TABLE", relation, work)


def _refuse_type(reader: Reader) -> None:
    """Only the length of a VARCHAR can be changed, and not inside a transaction."""
    reader.accept("COLUMN")
    reader.relation()
    if reader.peek().key == "TYPE" and reader.peek(1).key not in ("VARCHAR", "CHARACTER"):
        raise RedshiftError("ALTER COLUMN TYPE changes the length of a VARCHAR and nothing else", FEATURE)


def _truncate(session: Session, sql: str) -> None:
    """TRUNCATE commits the transaction that it runs in."""
    session.backend.run(sql)
    if session.backend.status == b"T":
        session.backend.run("COMMIT")
