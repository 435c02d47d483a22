"""The warehouse of one machine as the platform has it: operations on much data run in a process of their own.

What DuckDB takes of memory (MLOPS_MEMORY_LIMIT) lies beside the orchestrator then, and the orchestrator's own
memory stays as it is however much data there is. There is one such process per root. It is started by the
first operation that needs it, does one at a time, and ends with the process that started it, however that
ends; an operation that is interrupted ends it at once, and DuckDB undoes what was not committed.

`python -m mlops_assets.platforms.local.warehouse_process FD` serves the connection FD: first the settings
come, then operations of `DuckDBWarehouse` with their arguments; each is answered by what comes of it.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import socket
import subprocess
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from mlops_assets.artifacts import ArtifactUri, TableRef
from mlops_assets.errors import StorageError
from mlops_assets.platforms.costs import query
from mlops_assets.platforms.local.warehouse import DuckDBWarehouse
from mlops_assets.platforms.ports import LoadRequest, LoadResult, TableBuild, TemporaryTable
from mlops_assets.runtime.process import end_with_parent

if TYPE_CHECKING:
    from mlops_assets.settings import Settings

# Bytes of the warehouse's file and of what is loaded into it. Below, memory is not at stake, and starting a
# process takes longer than most operations do.
_MUCH = 64 << 20


class LocalWarehouse(DuckDBWarehouse):
    """A `DuckDBWarehouse` whose loads, builds, exports and queries take this process's memory for little data
    only; streams (`read`, `write`) pass through it in any case.
    """

    def __init__(self, settings: Settings, *, much: int = _MUCH) -> None:
        """`much`: bytes in the warehouse from which on operations run elsewhere."""
        super().__init__(settings)
        self._settings, self._much = settings, much

    def prepare(self, arriving: int) -> None:
        """Start the process where so much would be loaded there."""
        if self._is_much(arriving):
            with self._database.gate.there() as free:
                if free:
                    WarehouseProcess.of(self._settings).start()

    def load(self, request: LoadRequest) -> LoadResult:
        """As `DuckDBWarehouse.load`."""
        return self._run("load", request, arriving=_size(self._store.local(request.uri)))

    def build(self, build: TableBuild) -> TableRef:
        """As `DuckDBWarehouse.build`."""
        return self._run("build", build)

    def export(self, select: str, path_or_uri: ArtifactUri) -> int:
        """As `DuckDBWarehouse.export`."""
        return self._run("export", select, path_or_uri)

    def query(self, select: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """As `DuckDBWarehouse.query`."""
        return self._run("query", select, parameters)

    @contextmanager
    def temporary(self, relation: str, select: str) -> Iterator[TemporaryTable]:
        """As `DuckDBWarehouse.temporary`."""
        with self._elsewhere() as process:
            if process is None:
                with super().temporary(relation, select) as table:
                    yield table
                return
            name = process.run("begin_temporary", relation, select)
            try:
                yield TemporaryTableThere(name, process)
            finally:
                if process.pid is not None:
                    process.run("end_temporary")

    def _run(self, operation: str, *arguments: Any, arriving: int = 0) -> Any:
        with self._elsewhere(arriving) as process:
            if process is not None:
                return process.run(operation, *arguments)
        return getattr(super(), operation)(*arguments)

    @contextmanager
    def _elsewhere(self, arriving: int = 0) -> Iterator[WarehouseProcess | None]:
        """A block, one query, that has the file there; None where it has not: little data, or open here."""
        if self._is_much(arriving):
            with self._database.gate.there() as free:
                if free:
                    with query():
                        yield WarehouseProcess.of(self._settings)
                    return
        yield None

    def _is_much(self, arriving: int) -> bool:
        return arriving + _size(self._database.path) >= self._much


@dataclass(frozen=True)
class TemporaryTableThere:
    """The one temporary table of a warehouse process."""

    relation: str
    process: WarehouseProcess

    def query(self, select: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """As `DuckDBWarehouse.query`."""
        return self.process.run("query_temporary", select, parameters)

    def export(self, select: str, path_or_uri: ArtifactUri) -> int:
        """As `DuckDBWarehouse.export`."""
        return self.process.run("export_temporary", select, path_or_uri)


def _size(path: Path) -> int:
    """Bytes of a file; 0 where there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


class WarehouseProcess:
    """The process of one root, seen from here. The file's gate lets one thread at a time come here."""

    _processes: ClassVar[dict[Path, WarehouseProcess]] = {}

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None

    @classmethod
    def of(cls, settings: Settings) -> WarehouseProcess:
        """The one that everybody here shares who has these settings' root."""
        found = cls._processes.get(settings.root)
        if found is None or found._settings != settings:
            if found is not None:
                found.end()
            found = cls._processes[settings.root] = cls(settings)
        return found

    @property
    def pid(self) -> int | None:
        """Its id; None where it does not run."""
        return None if self._process is None or self._process.poll() is not None else self._process.pid

    def run(self, operation: str, *arguments: Any) -> Any:
        """What the operation of `DuckDBWarehouse` returns.

        Raises:
            Exception: whatever the operation raises.
            StorageError: where the process was ended before it answered.
        """
        self.start()
        try:
            assert self._connection is not None
            self._connection.send((operation, arguments))
            failed, value = self._connection.recv()
        except (EOFError, ConnectionError) as error:
            raise self._ended(operation) from error
        except BaseException:
            self.end()
            raise
        if failed:
            raise value
        return value

    def start(self) -> None:
        """Start it unless it runs; it imports what it needs while the caller goes on."""
        if self.pid is not None:
            return
        self.end()
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-m", __name__, str(theirs.fileno())]
        # Its standard input tells it that we have ended; of a session of its own, it does not hear Ctrl-C.
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )
        theirs.close()
        self._connection = Connection(ours.detach())
        atexit.register(self.end)
        self._connection.send(self._settings)

    def _ended(self, operation: str) -> StorageError:
        assert self._process is not None
        status = self._process.wait()
        self.end()
        return StorageError(
            f"The warehouse's process ended ({status}) before it answered.",
            where=operation,
            mend="Run again: no half of it stays. Where memory was short, lower MLOPS_MEMORY_LIMIT.",
        )

    def end(self) -> None:
        """End it without waiting for its operation; what that has not committed is undone."""
        atexit.unregister(self.end)
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdin is not None
            self._process.stdin.close()
        if self._connection is not None:
            self._connection.close()
        self._process = self._connection = None


class _Served(DuckDBWarehouse):
    """The warehouse in its process, with the one temporary table that is there at a time."""

    _block: AbstractContextManager[TemporaryTable] | None = None
    _table: TemporaryTable

    def begin_temporary(self, relation: str, select: str) -> str:
        block = self.temporary(relation, select)
        self._table, self._block = block.__enter__(), block
        return self._table.relation

    def query_temporary(self, select: str, parameters: Sequence[Any]) -> list[dict[str, Any]]:
        return self._table.query(select, parameters)

    def export_temporary(self, select: str, path_or_uri: ArtifactUri) -> int:
        return self._table.export(select, path_or_uri)

    def end_temporary(self) -> None:
        if self._block is not None:
            block, self._block = self._block, None
            block.__exit__(None, None, None)


def serve(connection: Connection) -> None:
    """Do what is asked until the connection is closed."""
    warehouse = _Served(connection.recv())
    for library in ("duckdb", "pyarrow.csv"):
        importlib.import_module(library)
    with contextlib.suppress(EOFError):
        while True:
            operation, arguments = connection.recv()
            try:
                answer = False, getattr(warehouse, operation)(*arguments)
            except Exception as error:
                error.add_note(traceback.format_exc())
                answer = True, error
            connection.send(answer)


if __name__ == "__main__":
    end_with_parent(watch_stdin=True)
    serve(Connection(int(sys.argv[1])))
