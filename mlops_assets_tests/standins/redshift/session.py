"""One client's connection: its start, its password, and its statements one batch after the other.

The driver sends everything up to Sync and then waits, so the two sides take turns; that is all it needs.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from mlops_assets_tests.standins.redshift.statements import PARAMETERS, Command, Show, translate
from mlops_assets_tests.standins.redshift.tables import BYTES
from mlops_assets_tests.standins.redshift.wire import (
    Backend,
    Closed,
    Peer,
    PostgresError,
    RedshiftError,
    complete,
    error_fields,
    message,
)

if TYPE_CHECKING:
    from mlops_assets_tests.standins.redshift.server import RedshiftStandIn

_SSL_REQUEST = 80_877_103
_VERSION = b"8.0.2"
_ABORTED = "current transaction is aborted, commands ignored until end of transaction block"


class Session(threading.Thread):
    """Serves one connection until it ends.

    Attributes:
        parameters: those of the service that the engine does not know.
        query_id: of the statement that is running.
        rows: what the statement that is running touched, for its history.
    """

    def __init__(self, server: RedshiftStandIn, connection: socket.socket) -> None:
        super().__init__(name="redshift-session", daemon=True)
        self.server, self._raw = server, connection
        self.parameters = dict(PARAMETERS)
        self.query_id = self.rows = 0
        self.database = ""
        self.backend: Backend
        self._client: Peer
        self._own: dict[bytes, Command] = {}
        self._texts: dict[bytes, str] = {}
        self._portal: bytes = b""
        self._pending: list[bytes] = []

    @property
    def case_sensitive(self) -> bool:
        """Quoted names keep their case."""
        return self.parameters["enable_case_sensitive_identifier"] in ("on", "true")

    def run(self) -> None:
        """Serve; however the client ends, the engine's side ends too."""
        try:
            self._start()
            while True:
                self._batch()
        except (Closed, OSError, struct.error):
            pass
        finally:
            self.hang_up()
            self.server.left(self)

    def hang_up(self) -> None:
        """End both sides; an open transaction is rolled back."""
        for side in (getattr(self, "_client", None), getattr(self, "backend", None)):
            if side is not None:
                with contextlib.suppress(OSError):
                    side.socket.shutdown(socket.SHUT_RDWR)
                side.socket.close()
        self._raw.close()

    def say(self, data: bytes) -> None:
        """Send messages to the client."""
        self._client.send(data)

    @contextlib.contextmanager
    def atomically(self) -> Iterator[None]:
        """Several statements of ours as one: in the session's transaction, else in one of their own."""
        alone = self.backend.status == b"I"
        if alone:
            self.backend.run("BEGIN")
        try:
            yield
        except (PostgresError, RedshiftError):
            if alone:
                self.backend.run("ROLLBACK")
            raise
        if alone:
            self.backend.run("COMMIT")

    # --- the start ----------------------------------------------------------------------------------------

    def _start(self) -> None:
        client = self._client = Peer(self._raw)
        body = client.startup()
        if struct.unpack_from("!i", body)[0] == _SSL_REQUEST:
            client.send(b"S" if self.server.tls else b"N")
            if self.server.tls:
                self._raw = self.server.tls.wrap_socket(self._raw, server_side=True)
                client = self._client = Peer(self._raw)
            body = client.startup()
        words = body[4:].split(b"\0")
        options = {
            words[at].decode(): words[at + 1].decode() for at in range(0, len(words) - 2, 2) if words[at]
        }
        user, self.database = options.get("user", ""), options.get("database", "")
        if not self._knows(user):
            refusal = RedshiftError(f'password authentication failed for user "{user}"', "28P01")
            client.send(refusal.encoded())
            raise Closed
        try:
            self.backend = Backend(self.server.postgres.connect(), self.server.user, self.database)
        except PostgresError as error:
            client.send(RedshiftError(str(error), error.fields.get("C", "XX000")).encoded())
            raise Closed from None
        version = message(b"S", b"server_version\0" + _VERSION + b"\0")
        kept = [part for part in self.backend.greeting if not part[5:].startswith(b"server_version\0")]
        client.send(message(b"R", struct.pack("!i", 0)) + version + b"".join(kept) + self._idle())

    def _knows(self, user: str) -> bool:
        """Ask for the password, as an MD5 digest with a salt of this connection's own."""
        salt = os.urandom(4)
        self._client.send(message(b"R", struct.pack("!i", 5) + salt))
        _, answer = self._client.receive()
        given = answer[5:].rstrip(b"\0")
        return any(
            hmac.compare_digest(given, _md5_answer(user, password, salt))
            for password in self.server.passwords(user)
        )

    def _idle(self) -> bytes:
        return message(b"Z", self.backend.status)

    # --- statements ---------------------------------------------------------------------------------------

    def _batch(self) -> None:
        """Everything up to Sync, or one simple query."""
        batch: list[tuple[bytes, bytes]] = []
        while not batch or batch[-1][0] not in (b"S", b"Q"):
            kind, data = self._client.receive()
            if kind == b"X":
                raise Closed
            if kind != b"H":  # the driver sends Flush after everything
                batch.append((kind, data))
        self._pending = []
        try:
            for kind, data in batch:
                self._message(kind, data)
        except (RedshiftError, PostgresError) as error:
            self._pending = []
            self._fail(error)
            self.say(self._idle())

    def _message(self, kind: bytes, data: bytes) -> None:
        if kind == b"P":
            self._parse(data)
        elif kind in b"BDEC" and self._is_own(kind, data):
            self._forward_pending()
            self._serve_own(kind, data)
        elif kind == b"Q":
            self._simple(data[5:-1].decode())
        elif kind == b"S":
            if self._pending:
                self._pending.append(data)
                self._exchange()
            else:
                self.say(self._idle())
        else:
            self._pending.append(data)

    def _parse(self, data: bytes) -> None:
        name, sql, rest = data[5:].split(b"\0", 2)
        found = self._translated(sql.decode())
        self._texts[name] = sql.decode()
        self._own.pop(name, None)
        if isinstance(found, str):
            self._pending.append(message(b"P", name + b"\0" + found.encode() + b"\0" + rest))
        else:
            self._forward_pending()
            self._own[name] = found
            self.say(message(b"1"))

    def _translated(self, sql: str) -> str | Command:
        self.server.seen.append(sql)
        if "sys_query" in sql.lower():
            self.server.write_history(self.database)
        found = translate(sql, self)
        return found.select(self) if isinstance(found, Show) else found

    def _is_own(self, kind: bytes, data: bytes) -> bool:
        """Whether a Bind, Describe, Execute or Close is about a statement that is not forwarded."""
        if kind == b"B":
            self._portal = data[5:].split(b"\0", 2)[1]
            return self._portal in self._own
        if kind == b"E":
            return self._portal in self._own
        return data[5:6] == b"S" and data[6:-1] in self._own

    def _serve_own(self, kind: bytes, data: bytes) -> None:
        if kind == b"B":
            self.say(message(b"2"))
        elif kind == b"D":
            self.say(message(b"t", b"\0\0") + message(b"n"))
        elif kind == b"C":
            del self._own[data[6:-1]]
            self.say(message(b"3"))
        else:
            self._execute(self._own[self._portal], self._texts[self._portal])

    def _simple(self, sql: str) -> None:
        found = self._translated(sql)
        if isinstance(found, str):
            self._texts[b""], self._portal = sql, b""
            self._pending = [message(b"Q", found.encode() + b"\0")]
            self._exchange()
        else:
            self._execute(found, sql)
            self.say(self._idle())

    def _execute(self, command: Command, sql: str) -> None:
        if self.backend.status == b"E":
            raise RedshiftError(_ABORTED, "25P02")
        with self._timed(sql):
            self.say(complete(command.run(self)))

    def _fail(self, error: RedshiftError | PostgresError) -> None:
        """Tell the client, and fail the transaction as the service would."""
        if isinstance(error, PostgresError):
            error = _in_service_words(error.fields)
        if self.backend.status == b"T":
            with contextlib.suppress(PostgresError):
                self.backend.run("SELECT 1/0")
        self.say(error.encoded())

    @contextlib.contextmanager
    def _timed(self, sql: str) -> Iterator[None]:
        """Number the statement and keep its time."""
        self.query_id, self.rows = self.server.next_query(), 0
        started, clock, status = datetime.now(UTC), time.perf_counter(), "success"
        before = self._received
        try:
            yield
        except BaseException:
            status = "failed"
            raise
        finally:
            seconds = time.perf_counter() - clock
            self.server.remember(self, sql, started, seconds, status, self._received - before)

    # --- the engine's answers -----------------------------------------------------------------------------

    _received = 0

    def _forward_pending(self) -> None:
        """Have the engine answer what came before a statement of our own, without ending the batch."""
        if self._pending:
            self._pending.append(message(b"S"))
            self._exchange(ends=False)

    def _exchange(self, *, ends: bool = True) -> None:
        sent, self._pending = self._pending, []
        sql = self._texts.get(self._portal, "") if any(part[:1] in b"EQ" for part in sent) else ""
        commits = sql.strip().upper().rstrip(";").split(" ")[0] in ("COMMIT", "END")
        if sql:
            self.server.faults.reached("commit" if commits else "statement", self)
        with self._timed(sql) if sql else contextlib.nullcontext():
            self.backend.send(b"".join(sent))
            last = self._relay(hold=commits)
            if commits:
                self.server.faults.reached("committed", self)
                self.say(last)
        if ends:
            self.say(self._idle())

    def _relay(self, *, hold: bool) -> bytes:
        """Hand the engine's messages on up to ReadyForQuery, which is not; with `hold`, give them back."""
        held, rest = bytearray(), b""
        while True:
            data = rest + self.backend.ready()
            at = start = 0
            done = False
            while at + 5 <= len(data):
                end = at + 1 + int.from_bytes(data[at + 1 : at + 5], "big")
                if end > len(data):
                    break
                kind = data[at : at + 1]
                if kind == b"Z":
                    self.backend.status, done = data[at + 5 : at + 6], True
                    break
                if kind == b"E":
                    held += data[start:at] + _in_service_words(error_fields(data[at:end])).encoded()
                    start = end
                at = end
            held += data[start:at]
            rest = data[at:]
            self._received += at
            if done:
                if not hold:
                    self.say(bytes(held))
                return bytes(held)
            if not hold:
                self.say(bytes(held))
                held.clear()


def _md5_answer(user: str, password: str, salt: bytes) -> bytes:
    inner = hashlib.md5((password + user).encode(), usedforsecurity=False).hexdigest()
    return b"md5" + hashlib.md5(inner.encode() + salt, usedforsecurity=False).hexdigest().encode()


def _in_service_words(fields: dict[str, str]) -> RedshiftError:
    constraint = fields.get("n", "")
    if constraint.startswith(BYTES):
        length = constraint.removeprefix(BYTES).split("_")[0]
        return RedshiftError(f"Value too long for character type (varchar({length}))", "22001")
    detail = fields.get("D", "")
    return RedshiftError(fields.get("M", ""), fields.get("C", "XX000"), detail)
