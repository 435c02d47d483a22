"""RedshiftStandIn: one class that starts everything, says where it is, and stops it again."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import socket
import ssl
import tempfile
import threading
from collections import defaultdict, deque
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from mlops_assets_tests.standins.redshift.certificates import make_tls
from mlops_assets_tests.standins.redshift.faults import Faults
from mlops_assets_tests.standins.redshift.postgres import SUPERUSER, Postgres
from mlops_assets_tests.standins.redshift.session import Session
from mlops_assets_tests.standins.redshift.tables import quoted
from mlops_assets_tests.standins.redshift.wire import Answer, Backend

_CATALOG = Path(__file__).parent / "catalog.sql"
_TEMPLATE = "template1"


class RedshiftStandIn:
    """A service on 127.0.0.1 that redshift_connector takes for Redshift; it reads and writes the S3 given.

    Attributes:
        host: `localhost`, the name in its certificate.
        port: where it listens.
        user, password, database: what `connect` takes.
        ca: file of the authority that signed its certificate; None without TLS.
        s3: boto3 client of the S3 that COPY and UNLOAD see.
        faults: what is to go wrong.
        seen: the latest statements, as clients sent them.
    """

    host = "localhost"
    user = "awsuser"
    database = "dev"

    def __init__(self, s3: Any, *, tls: bool = False, port: int = 0, password: str = "Stand-in-1") -> None:
        """Start.

        Args:
            s3: boto3 client.
            tls: serve TLS, by a certificate for `localhost` of an authority of its own.
            port: to listen on; a free one by default.
            password: of the user `awsuser`.
        """
        self.s3, self.password, self.faults = s3, password, Faults()
        self.seen: deque[str] = deque(maxlen=1_000)
        self._passwords: dict[str, list[str]] = defaultdict(list, {self.user: [password]})
        self._queries = itertools.count(101)
        self._history: deque[tuple[str, str]] = deque(maxlen=10_000)
        self._sessions: set[Session] = set()
        self._guard = threading.Lock()
        self._admin: dict[str, Backend] = {}
        self.tls: ssl.SSLContext | None = None
        self.ca: Path | None = None
        self.scratch = Path(tempfile.mkdtemp(prefix="redshift-scratch-"))
        self.postgres = Postgres()
        try:
            if tls:
                self.tls, self.ca = make_tls(self.scratch)
            self._prepare()
            self._listener = socket.create_server(("127.0.0.1", port))
        except BaseException:
            self.postgres.stop()
            shutil.rmtree(self.scratch, ignore_errors=True)
            raise
        self.port = int(self._listener.getsockname()[1])
        self._acceptor = threading.Thread(target=self._accept, name="redshift-acceptor", daemon=True)
        self._acceptor.start()

    def __enter__(self) -> RedshiftStandIn:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End every connection and the engine; nothing is left behind."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._guard:
            sessions = list(self._sessions)
        for session in sessions:
            session.hang_up()
        for session in sessions:
            session.join(5)
        for backend in self._admin.values():
            backend.close()
        self.postgres.stop()
        shutil.rmtree(self.scratch, ignore_errors=True)

    # --- for tests and for `make cloud-aws` -----------------------------------------------------------------

    def connect(self, **options: Any) -> Any:
        """A connection by redshift_connector, as the options say; without TLS where there is none."""
        import redshift_connector

        usual = {
            "host": self.host,
            "port": self.port,
            "database": self.database,
            "user": self.user,
            "password": self.password,
            "ssl": self.tls is not None,
            "timeout": 60,
        }
        return redshift_connector.connect(**{**usual, **options})

    def create_database(self, name: str) -> None:
        """A new, empty database."""
        self.administer("postgres", f'CREATE DATABASE "{name}" STRATEGY file_copy')

    def admit(self, user: str, password: str) -> None:
        """Let `user` in with `password` too, as with credentials that are lent for a while."""
        self._passwords[user].append(password)

    def passwords(self, user: str) -> Sequence[str]:
        """The passwords that `user` may come with."""
        return self._passwords.get(user, [])

    # --- for sessions ---------------------------------------------------------------------------------------

    def administer(self, database: str, sql: str) -> Answer:
        """Run a statement of the service's own, outside of any client's transaction."""
        with self._guard:
            if database not in self._admin:
                self._admin[database] = Backend(self.postgres.connect(), SUPERUSER, database)
            return self._admin[database].run(sql)

    def next_query(self) -> int:
        """The number of a new statement."""
        return next(self._queries)

    def remember(
        self, session: Session, sql: str, started: datetime, seconds: float, status: str, size: int
    ) -> None:
        """Keep a statement for the history."""
        ended = started + timedelta(seconds=seconds)
        moments = [quoted(moment.strftime("%Y-%m-%d %H:%M:%S.%f")) for moment in (started, ended)]
        kind = sql.split(None, 1)[0].upper() if sql.split() else "OTHER"
        label = session.parameters["query_group"]
        row = [
            *(str(session.query_id), "0", quoted(label), quoted(kind), quoted(status), *moments),
            *(str(session.rows), str(size), quoted(sql[:4000]), "''"),
        ]
        self._history.append((session.database, f"({', '.join(row)})"))

    def write_history(self, database: str) -> None:
        """Make what was kept visible in the database's views."""
        kept: list[tuple[str, str]] = []
        while self._history:
            kept.append(self._history.popleft())
        rows = [row for name, row in kept if name == database]
        self._history.extend(item for item in kept if item[0] != database)
        if rows:
            self.administer(database, f"INSERT INTO rs_internal.queries VALUES {', '.join(rows)}")

    def left(self, session: Session) -> None:
        """A session is over."""
        with self._guard:
            self._sessions.discard(session)

    def _prepare(self) -> None:
        with contextlib.closing(Backend(self.postgres.connect(), SUPERUSER, _TEMPLATE)) as backend:
            backend.run(_CATALOG.read_text())
            # Plain literals read backslashes as escapes, as Redshift's do.
            backend.run(f'CREATE ROLE "{self.user}" SUPERUSER LOGIN')
            for setting in ("standard_conforming_strings = off", "escape_string_warning = off"):
                backend.run(f'ALTER ROLE "{self.user}" SET {setting}')
                backend.run(f'ALTER ROLE "{SUPERUSER}" SET {setting}')
        self.create_database(self.database)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            session = Session(self, connection)
            with self._guard:
                self._sessions.add(session)
            session.start()
