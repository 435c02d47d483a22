"""What a transport to Redshift must offer, whichever it is, and what can go wrong on the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

CONFLICTS = ("40001", "40P01", "55P03", "23505", "42P06", "42P07", "1023", "1018")
"""SQLSTATEs (and Redshift's own numbers) of a statement that lost against another transaction.

23505, 42P06 and 42P07: two transactions that created the same schema or table at once.
"""


@dataclass(frozen=True)
class Rows:
    """What a statement gave.

    Attributes:
        columns: names, in order; none for a statement without a result.
        types: column types as the catalogue spells them, numeric with its digits: `numeric(12,2)`.
        rows: a sequence of values each.
    """

    columns: Sequence[str] = ()
    types: Sequence[str] = ()
    rows: Sequence[Sequence[Any]] = field(default_factory=list)

    def one(self) -> Any:
        """The first value of the first row."""
        return self.rows[0][0]


class StatementError(Exception):
    """The service refused a statement. The message holds none of its values.

    Attributes:
        code: SQLSTATE, empty where the transport gives none.
    """

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code

    @property
    def is_conflict(self) -> bool:
        """Another transaction was in the way: the same again may succeed."""
        text = str(self).lower()
        return self.code in CONFLICTS or "serializable isolation violation" in text or "deadlock" in text


class ConnectionLostError(Exception):
    """The connection ended before the answer came; what the statement did is not known."""


class RefusedLoginError(Exception):
    """The service does not know the user, or not with this password."""


class Connection(Protocol):
    """One session. Statements run in a transaction, which begins with the first."""

    def execute(self, sql: str, parameters: Mapping[str, Any] | None = None) -> Rows:
        """Run one statement; `:name` marks a parameter.

        Raises:
            StatementError: where the service refuses it.
            ConnectionLostError: where the answer does not come.
        """
        ...

    def commit(self) -> None:
        """End the transaction; ConnectionLostError leaves open whether it was committed."""
        ...

    def rollback(self) -> None:
        """End the transaction and forget what it did."""
        ...

    def close(self) -> None:
        """End the session; errors do not matter any more."""
        ...


class Transport(Protocol):
    """Opens connections."""

    @property
    def where(self) -> str:
        """What messages call the service: no secret."""
        ...

    def connect(self) -> Connection:
        """A new session.

        Raises:
            RefusedLoginError: where the service does not let us in.
            ConnectionLostError: where it cannot be reached.
        """
        ...
