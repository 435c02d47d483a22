"""Connections to the DuckDB file: opened per operation, waited for, confined, errors in our words.

DuckDB lets one process write. Whoever finds the file taken waits, and nobody keeps it longer than an
operation, so that two runs at once both succeed.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from mlops_assets.errors import DataError, MlopsAssetsError, StorageError
from mlops_assets.platforms.costs import query
from mlops_assets.platforms.local.gate import Gate
from mlops_assets.platforms.sql import literal

if TYPE_CHECKING:
    import duckdb
    from duckdb import DuckDBPyConnection

    from mlops_assets.settings import Settings

T = TypeVar("T")
_PATIENCE = 60.0
_SETTING_UP = threading.Lock()  # connections of one process share the database and its settings
_FULL = (
    "no space left",
    "file too large",
    "disk quota",
    "could not write",
    "failed to write",
    "out of space",
)


class Database:
    """The warehouse's file, `settings.root`/warehouse.duckdb."""

    def __init__(self, settings: Settings, *, patience: float = _PATIENCE) -> None:
        """`patience`: seconds to wait for another process or transaction."""
        self.root = settings.root
        self.path = settings.root / "warehouse.duckdb"
        self.scratch = settings.root / "tmp"
        self.gate = Gate.of(self.path)
        self._patience = patience
        self._configuration: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": settings.memory_limit,
            "temp_directory": str(self.scratch),
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "allow_community_extensions": "false",
            "python_enable_replacements": "false",
            "preserve_insertion_order": "true",
        }
        if settings.threads is not None:
            self._configuration["threads"] = settings.threads

    @contextmanager
    def connect(self) -> Iterator[DuckDBPyConnection]:
        """A connection that is closed at the end; DuckDB's errors leave as this package's.

        It counts as one query; waiting for the file does not.

        Raises:
            StorageError: where the file stays taken, the disk is full, or the file is damaged.
            DataError: where the SQL is wrong.
        """
        with self.gate.here():
            connection = self._open()
            try:
                with query(), self.explaining():
                    yield connection
            finally:
                connection.close()

    @contextmanager
    def explaining(self) -> Iterator[None]:
        """A block that DuckDB's errors leave as this package's."""
        import duckdb

        try:
            yield
        except duckdb.Error as error:
            raise explained(error, str(self.path)) from error

    def transact(self, connection: DuckDBPyConnection, work: Callable[[DuckDBPyConnection], T]) -> T:
        """Run `work` in one transaction, again where another one changed the same rows first."""
        import duckdb

        for pause in self._pauses():
            connection.execute("BEGIN TRANSACTION")
            try:
                result = work(connection)
                connection.execute("COMMIT")
            except BaseException as error:
                _roll_back(connection)
                # A full disk fails a commit as a conflict does; waiting makes no room.
                is_conflict = isinstance(error, duckdb.TransactionException) and not _full(error)
                if not (is_conflict and pause):
                    raise
                time.sleep(pause)
            else:
                return result
        raise AssertionError("the last pause is 0")

    def run(self, work: Callable[[DuckDBPyConnection], T]) -> T:
        """Connect and run `work` in one transaction; it may run more than once."""
        with self.connect() as connection:
            return self.transact(connection, work)

    def _open(self) -> DuckDBPyConnection:
        import duckdb

        try:
            self.scratch.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(
                f"The folder cannot be made: {error.strerror}.",
                where=str(self.root),
                mend="Check MLOPS_ROOT.",
            ) from error
        for pause in self._pauses():
            try:
                self._make_file()
                return self._connect()
            except duckdb.Error as error:
                if not (_taken(error) and pause):
                    raise explained(error, str(self.path)) from error
                time.sleep(pause)
        raise AssertionError("the last pause is 0")

    def _make_file(self) -> None:
        """Make the file aside and rename it: DuckDB gives it its name before it is a database.

        Raises:
            StorageError: where it cannot be written.
        """
        if self.path.exists():
            return
        import duckdb
        from filelock import FileLock

        aside = self.scratch / f"{self.path.name}.new"
        try:
            with FileLock(self.scratch / f"{self.path.name}.lock"):
                if not self.path.exists():
                    aside.unlink(missing_ok=True)
                    duckdb.connect(str(aside)).close()
                    aside.replace(self.path)
        except OSError as error:
            raise StorageError(
                f"The warehouse cannot be made: {error.strerror}.",
                where=str(self.path),
                mend="Free space on the disk, or check the folder's permissions.",
            ) from error

    def _connect(self) -> DuckDBPyConnection:
        """SQL reads and writes files in the store and the scratch folder alone, and cannot change that."""
        import duckdb

        with _SETTING_UP:
            connection = duckdb.connect(str(self.path), config=self._configuration)
            if connection.execute("SELECT current_setting('enable_external_access')").fetchall() == [(True,)]:
                roots = {self.root, self.root.resolve()}
                folders = sorted(f"{root}/{part}/" for root in roots for part in ("store", "tmp"))
                connection.execute("SET GLOBAL TimeZone = 'UTC'")
                connection.execute(f"SET allowed_directories = [{', '.join(map(literal, folders))}]")
                connection.execute("SET enable_external_access = false")
                connection.execute("SET lock_configuration = true")
        return connection

    def _pauses(self) -> Iterator[float]:
        """Pauses of 10 ms to half a second with jitter (so that waiters do not meet), then a last 0."""
        end = time.monotonic() + self._patience
        pause = 0.01
        while time.monotonic() < end:
            yield pause * random.uniform(0.5, 1.5)  # noqa: S311 - not for secrets
            pause = min(pause * 1.5, 0.5)
        yield 0.0


def explained(error: duckdb.Error, where: str) -> MlopsAssetsError:
    """DuckDB's error as one of ours, with its first line as the reason."""
    import duckdb

    reason = str(error).strip().splitlines()[0]
    if _taken(error):
        return StorageError(
            "Another process keeps the warehouse open.",
            where=where,
            mend="Close it (a DuckDB shell?), run again.",
        )
    if _full(error):
        return StorageError(
            f"The warehouse cannot write: {reason}", where=where, mend="Free space on the disk."
        )
    if isinstance(error, duckdb.OutOfMemoryException):
        return StorageError(reason, where=where, mend="Raise MLOPS_MEMORY_LIMIT.")
    if isinstance(error, duckdb.IOException | duckdb.FatalException | duckdb.InternalException):
        return StorageError(reason, where=where, mend="Check the disk and the file's permissions.")
    if isinstance(error, duckdb.TransactionException):
        return StorageError(reason, where=where, mend="Run again: another run changed the same relation.")
    return DataError(reason, mend="Correct the SQL, or the data it reads.")


def _taken(error: duckdb.Error) -> bool:
    text = str(error)
    return "Could not set lock" in text or "Conflicting lock" in text


def _full(error: BaseException) -> bool:
    return any(sign in str(error).lower() for sign in _FULL)


def _roll_back(connection: DuckDBPyConnection) -> None:
    import duckdb

    try:
        connection.execute("ROLLBACK")
    except duckdb.Error:  # the failure has ended the transaction already
        return
