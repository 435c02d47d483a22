"""Transactions on Redshift: connections used again, labelled, repeated where safe, errors in our words.

A connection that is lost is replaced and the transaction run again: what it did before was rolled back. Where
it is lost while committing, nobody knows; so each transaction can say how to recognise its own work, and on
the new connection that is looked for first. Nothing is done twice.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from mlops_assets.errors import DataError, MlopsAssetsError, SettingsError, StorageError
from mlops_assets.platforms.aws.redshift_connection import (
    Connection,
    ConnectionLostError,
    RefusedLoginError,
    Rows,
    StatementError,
    Transport,
)
from mlops_assets.platforms.aws.redshift_sql import literal
from mlops_assets.platforms.costs import open_account

T = TypeVar("T")
_IDLE = 4
_ATTEMPTS = 4
_PATIENCE = 60.0
_LABEL = 320  # Redshift cuts a query group off there
_UNAVAILABLE = ("53", "57P", "58")  # classes of SQLSTATE: out of resources, shutting down, system error


class Redshift:
    """The warehouse's sessions."""

    def __init__(
        self, transport: Transport, *, statement_timeout: int = 3_600, patience: float = _PATIENCE
    ) -> None:
        """Nothing is connected yet.

        Args:
            transport: how to get there.
            statement_timeout: seconds that one statement may take.
            patience: seconds to go on trying where another transaction is in the way.
        """
        self._transport, self._patience = transport, patience
        self._timeout = statement_timeout
        self._guard = threading.Lock()
        self._idle: list[tuple[Connection, str]] = []

    @property
    def where(self) -> str:
        """What messages call the service."""
        return self._transport.where

    def run(
        self,
        label: str,
        work: Callable[[Connection], T],
        *,
        done: Callable[[Connection], T | None] | None = None,
    ) -> T:
        """Run `work` in one transaction, again where the connection is lost or another one was in the way.

        Args:
            label: the query group of its statements, behind that of the open account: by it the service's
                history tells what they cost.
            work: may run more than once; all it does must be in the transaction.
            done: asked before a repetition, in its transaction: the result, where the work was committed.

        Raises:
            DataError: where the service refuses a statement.
            StorageError: where it cannot be reached, or others stay in the way.
        """
        end = time.monotonic() + self._patience
        lost = 0
        again = False
        while True:
            try:
                with self._session(label) as connection:
                    found = done(connection) if again and done is not None else None
                    result = found if found is not None else work(connection)
                    connection.commit()
                    return result
            except ConnectionLostError as error:
                lost, again = lost + 1, True
                self.close()  # those that wait are likely to be as dead
                if lost >= _ATTEMPTS:
                    raise self._unreachable(str(error)) from None
                _pause(lost)
            except StatementError as error:
                if not error.is_conflict or time.monotonic() > end:
                    raise self._explained(error) from None
                _pause(1)

    def query(self, label: str, sql: str, parameters: Mapping[str, Any] | None = None) -> Rows:
        """One statement that changes nothing, in a transaction of its own."""
        return self.run(label, lambda connection: connection.execute(sql, parameters))

    @contextmanager
    def session(self, label: str) -> Iterator[Connection]:
        """A connection for as long as the caller reads from it."""
        try:
            with self._session(label) as connection:
                yield connection
                connection.commit()  # there is nothing to commit but the label
        except ConnectionLostError as error:
            raise self._unreachable(str(error)) from None
        except StatementError as error:
            raise self._explained(error) from None

    def close(self) -> None:
        """Close the connections that nobody uses."""
        with self._guard:
            idle, self._idle = self._idle, []
        for connection, _ in idle:
            connection.close()

    @contextmanager
    def _session(self, label: str) -> Iterator[Connection]:
        """An idle connection, else a new one. It goes back where it is still good.

        The transaction is the caller's to commit. What it said of the label holds from then on, so that the
        next one under the same label need not say it again.
        """
        account = open_account()
        label = f"{account.label}: {label}" if account else label
        connection, before = self._take(label)
        holds, good = before, False
        try:
            if before != label:
                connection.execute(f"SET query_group TO {literal(label[:_LABEL])}")
            yield connection
            holds, good = label, True
        except ConnectionLostError:
            raise
        except BaseException:
            with suppress(ConnectionLostError, StatementError):
                connection.rollback()
                good = True
            raise
        finally:
            self._give_back(connection, holds, good=good)

    def _take(self, label: str) -> tuple[Connection, str]:
        """A connection and the label that it has, `label` where there is one."""
        with self._guard:
            if self._idle:
                same = [at for at, (_, has) in enumerate(self._idle) if has == label]
                return self._idle.pop(same[0] if same else -1)
        try:
            connection = self._transport.connect()
        except RefusedLoginError as error:
            raise SettingsError(
                f"Redshift does not let us in: {error}",
                where=self.where,
                mend="Check MLOPS_REDSHIFT_USER and _PASSWORD, the secret, or the IAM identity.",
            ) from None
        # Names keep their case, as they do in DuckDB; without it even quoted ones are folded.
        connection.execute("SET enable_case_sensitive_identifier TO true")
        connection.execute(f"SET statement_timeout TO {self._timeout * 1000}")
        connection.commit()
        return connection, ""

    def _give_back(self, connection: Connection, label: str, *, good: bool) -> None:
        with self._guard:
            if good and len(self._idle) < _IDLE:
                self._idle.append((connection, label))
                return
        connection.close()

    def _unreachable(self, reason: str) -> MlopsAssetsError:
        return StorageError(
            f"The connection to Redshift is lost: {reason}",
            where=self.where,
            mend="Check the endpoint, the security group, TLS and that the cluster is available; run again.",
        )

    def _explained(self, error: StatementError) -> MlopsAssetsError:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else "no reason given"
        if error.is_conflict:
            return StorageError(
                reason, where=self.where, mend="Run again: another run changed the same relation."
            )
        if error.code.startswith(_UNAVAILABLE):
            return StorageError(reason, where=self.where, mend="Run again when the cluster is available.")
        return DataError(reason, mend="Correct the SQL, or the data it reads.")


def _pause(attempt: int) -> None:
    """Half a second at most, with jitter, so that two that met do not meet again."""
    time.sleep(min(0.5, 0.05 * 2**attempt) * random.uniform(0.5, 1.5))  # noqa: S311 - not for secrets
