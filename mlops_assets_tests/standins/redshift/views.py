"""Late-binding views: the engine's views hold on to their tables, so these are unbound and bound again.

Before a relation is dropped or changed, the late-binding views that read it are taken out of the engine;
after any change of relations, those that are out are put back where they can be. All of it in the
statement's own transaction. A view that cannot be put back answers as one whose table is gone.
"""

from __future__ import annotations

from collections.abc import Sequence

from mlops_assets_tests.standins.redshift.tables import quoted
from mlops_assets_tests.standins.redshift.tokens import Reader, Token, text
from mlops_assets_tests.standins.redshift.wire import SYNTAX, Backend, PostgresError, RedshiftError

_UNBOUND = """
SELECT l.schema_name, l.view_name, l.query FROM rs_internal.late_binding l
WHERE NOT EXISTS (SELECT 1 FROM rs_internal.relations r
                  WHERE r.schema_name = l.schema_name AND r.table_name = l.view_name)
ORDER BY l.schema_name, l.view_name"""


def _quoted_name(schema: str, name: str) -> str:
    return ".".join('"' + part.replace('"', '""') + '"' for part in (schema, name))


def unbind(backend: Backend, relation: str) -> None:
    """Take the late-binding views that read `relation` out, and those that read these."""
    readers = backend.run(
        "SELECT DISTINCT r.schema_name, r.table_name FROM pg_depend d JOIN pg_rewrite w ON w.oid = d.objid "
        "JOIN rs_internal.relations r ON r.oid = w.ev_class "
        "JOIN rs_internal.late_binding l ON l.schema_name = r.schema_name AND l.view_name = r.table_name "
        f"WHERE d.refobjid = to_regclass({quoted(relation)}) AND d.classid = 'pg_rewrite'::regclass "
        f"AND w.ev_class <> to_regclass({quoted(relation)})"
    )
    for schema, view in readers.rows:
        name = _quoted_name(str(schema), str(view))
        unbind(backend, name)
        backend.run(f"DROP VIEW IF EXISTS {name}")


def bind(backend: Backend) -> None:
    """Put back every late-binding view that can be."""
    waiting = backend.run(_UNBOUND).rows
    while waiting:
        left = [row for row in waiting if not _bound(backend, *map(str, row))]
        if len(left) == len(waiting):
            return
        waiting = left


def _bound(backend: Backend, schema: str, view: str, query: str) -> bool:
    backend.run("SAVEPOINT binding")
    try:
        backend.run(f"CREATE VIEW {_quoted_name(schema, view)} AS {query}")
    except PostgresError:
        backend.run("ROLLBACK TO SAVEPOINT binding")
        return False
    finally:
        backend.run("RELEASE SAVEPOINT binding")
    return True


def forget(backend: Backend, relation: str) -> bool:
    """A view was dropped by name: unregister it. False where it is no late-binding view."""
    reader = Reader(_parts(relation))
    names = [part.name for part in reader.relation() if part.is_name]
    schema, view = ("public", *names)[-2:]
    gone = backend.run(
        f"DELETE FROM rs_internal.late_binding WHERE schema_name = {quoted(schema)} "
        f"AND view_name = {quoted(view)}"
    )
    return gone.count > 0


def register(backend: Backend, relation: Sequence[Token], query: Sequence[Token]) -> None:
    """Keep a late-binding view; it must name the schema of what it reads, as the service demands."""
    names = [part.name for part in relation if part.is_name]
    if len(names) != 2:
        raise RedshiftError("A late-binding view is created with its schema here", SYNTAX)
    schema, view = names
    backend.run(
        f"DELETE FROM rs_internal.late_binding WHERE schema_name = {quoted(schema)} "
        f"AND view_name = {quoted(view)}"
    )
    values = ", ".join(map(quoted, (schema, view, text(query))))
    backend.run(f"INSERT INTO rs_internal.late_binding VALUES ({values})")


def _parts(relation: str) -> list[Token]:
    from mlops_assets_tests.standins.redshift.tokens import tokens

    return tokens(relation)
