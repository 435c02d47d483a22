"""The PostgreSQL wire protocol, version 3: messages, and enough of a client to run our own statements."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

_READ = 1 << 18
_ROW = ord("d")
FEATURE, SYNTAX, INTERNAL = "0A000", "42601", "XX000"


class RedshiftError(Exception):
    """What the service answers: a message, its SQLSTATE and a detail."""

    def __init__(self, message: str, code: str = INTERNAL, detail: str = "") -> None:
        super().__init__(message)
        self.code, self.detail = code, detail

    def encoded(self) -> bytes:
        """An ErrorResponse."""
        fields = [("S", "ERROR"), ("C", self.code), ("M", str(self))]
        fields += [("D", self.detail)] if self.detail else []
        return message(b"E", b"".join(_field(key, value) for key, value in fields) + b"\0")


class PostgresError(Exception):
    """What the engine answered: `C` SQLSTATE, `M` message, `D` detail, `W` context, `n` constraint."""

    def __init__(self, fields: dict[str, str]) -> None:
        super().__init__(fields.get("M", ""))
        self.fields = fields


class Closed(Exception):
    """The other side hung up."""


@dataclass
class Answer:
    """What a simple query gave: rows as text, (name, type's OID, type modifier) of each column, the tag."""

    columns: list[tuple[str, int, int]] = field(default_factory=list)
    rows: list[list[str | None]] = field(default_factory=list)
    tag: str = ""

    @property
    def count(self) -> int:
        """Rows that the statement touched, as its tag says."""
        last = self.tag.rsplit(" ", 1)[-1]
        return int(last) if last.isdigit() else 0


def message(kind: bytes, body: bytes = b"") -> bytes:
    """One message with its length."""
    return kind + struct.pack("!i", len(body) + 4) + body


def notice(text: str) -> bytes:
    """A NoticeResponse of severity INFO."""
    fields = [("S", "INFO"), ("C", "00000"), ("M", text)]
    return message(b"N", b"".join(_field(key, value) for key, value in fields) + b"\0")


def complete(tag: str) -> bytes:
    """A CommandComplete."""
    return message(b"C", tag.encode() + b"\0")


def error_fields(body: bytes) -> dict[str, str]:
    """The fields of an ErrorResponse or NoticeResponse, behind its header."""
    return {part[:1].decode(): part[1:].decode(errors="replace") for part in body[5:].split(b"\0") if part}


def _field(key: str, value: str) -> bytes:
    return key.encode() + value.encode(errors="replace") + b"\0"


class Peer:
    """One side of a conversation: whole messages out, whole messages in."""

    def __init__(self, connection: socket.socket) -> None:
        if connection.family != socket.AF_UNIX:
            # Without it each small exchange waits 40 ms for Nagle's algorithm.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = connection
        self._buffer = bytearray()

    def send(self, data: bytes) -> None:
        """Send bytes that are whole messages."""
        self.socket.sendall(data)

    def exactly(self, size: int) -> bytes:
        """The next `size` bytes."""
        while len(self._buffer) < size:
            self._fill()
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    def receive(self) -> tuple[bytes, bytes]:
        """The next message: its kind, and all of it, header included."""
        head = self.exactly(5)
        return head[:1], head + self.exactly(struct.unpack_from("!i", head, 1)[0] - 4)

    def startup(self) -> bytes:
        """The next message of the start, which has no kind, behind its length."""
        return self.exactly(struct.unpack("!i", self.exactly(4))[0] - 4)

    def ready(self) -> bytes:
        """Bytes that have arrived already, or the next that do."""
        if not self._buffer:
            self._fill()
        data = bytes(self._buffer)
        self._buffer.clear()
        return data

    def rows_arrived(self) -> bytes:
        """What the rows of a COPY hold that have arrived whole, one behind the other: each is a message."""
        buffer, end, at, parts = self._buffer, len(self._buffer), 0, []
        while at + 5 <= end and buffer[at] == _ROW:
            size = struct.unpack_from("!i", buffer, at + 1)[0] + 1
            alike = _alike(buffer, at, size)
            if not alike:
                break
            rows = np.frombuffer(buffer, np.uint8, alike * size, at).reshape(alike, size)
            parts.append(rows[:, 5:].tobytes())
            del rows  # else the buffer could not shrink
            at += alike * size
        del buffer[:at]
        return b"".join(parts)

    def _fill(self) -> None:
        try:
            data = self.socket.recv(_READ)
        except OSError as error:
            raise Closed from error
        if not data:
            raise Closed
        self._buffer += data


def _alike(buffer: bytearray, at: int, size: int) -> int:
    """How many messages of this size lie whole in the buffer, from a place on."""
    count = (len(buffer) - at) // size
    if count < 2 or buffer[at : at + 5] != buffer[at + size : at + size + 5]:
        return min(count, 1)
    heads = np.frombuffer(buffer, np.uint8, count * size, at).reshape(count, size)[:, :5]
    same = (heads == heads[0]).all(axis=1)
    return count if same.all() else int(same.argmin())


class Backend(Peer):
    """A connection to the engine.

    Attributes:
        status: `I` idle, `T` in a transaction, `E` in one that has failed.
    """

    def __init__(self, connection: socket.socket, user: str, database: str) -> None:
        """Connect without a password, as the engine's own socket allows.

        Raises:
            PostgresError: where the database does not exist.
        """
        super().__init__(connection)
        self.status = b"I"
        self.greeting: list[bytes] = []
        pairs = {"user": user, "database": database, "client_encoding": "UTF8", "DateStyle": "ISO"}
        body = b"".join(part.encode() + b"\0" for pair in pairs.items() for part in pair) + b"\0"
        self.send(struct.pack("!ii", len(body) + 8, 196608) + body)
        while True:
            kind, data = self.receive()
            if kind == b"E":
                raise PostgresError(error_fields(data))
            if kind in b"SK":
                self.greeting.append(data)
            if kind == b"Z":
                self.status = data[5:6]
                return

    def run(
        self,
        sql: str,
        *,
        copy_in: Iterable[bytes] | None = None,
        copy_out: Callable[[bytes], object] | None = None,
    ) -> Answer:
        """Run one statement; COPY takes its rows from `copy_in` or gives them to `copy_out`.

        Raises:
            PostgresError: what the engine says. What `copy_in` raises is raised as well.
        """
        self.send(message(b"Q", sql.encode() + b"\0"))
        answer, failure, broken = Answer(), None, None
        while True:
            kind, data = self.receive()
            if kind == b"T":
                answer.columns = _described(data[5:])
            elif kind == b"D":
                answer.rows.append(_row(data))
            elif kind == b"C":
                answer.tag = data[5:-1].decode()
            elif kind == b"E":
                failure = PostgresError(error_fields(data))
            elif kind == b"G":
                broken = self._feed(copy_in or ())
            elif kind == b"d" and copy_out is not None:
                copy_out(data[5:] + self.rows_arrived())
            elif kind == b"Z":
                self.status = data[5:6]
                if broken is not None:
                    raise broken
                if failure is not None:
                    raise failure
                return answer

    def close(self) -> None:
        """Hang up."""
        try:
            self.send(message(b"X"))
        except OSError:
            pass
        finally:
            self.socket.close()

    def _feed(self, chunks: Iterable[bytes]) -> Exception | None:
        try:
            for chunk in chunks:
                self.send(message(b"d", chunk))
        except Exception as error:
            self.send(message(b"f", b"the source failed\0"))
            return error
        self.send(message(b"c"))
        return None


def _described(body: bytes) -> list[tuple[str, int, int]]:
    (count,), at, found = struct.unpack_from("!h", body), 2, []
    for _ in range(count):
        end = body.index(b"\0", at)
        _, _, oid, _, modifier, _ = struct.unpack_from("!ihihih", body, end + 1)
        found.append((body[at:end].decode(), oid, modifier))
        at = end + 19
    return found


def _row(data: bytes) -> list[str | None]:
    (count,), at, found = struct.unpack_from("!h", data, 5), 7, []
    for _ in range(count):
        (size,) = struct.unpack_from("!i", data, at)
        at += 4
        found.append(None if size < 0 else data[at : at + size].decode())
        at += max(size, 0)
    return found
