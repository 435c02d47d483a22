"""One writer per model: a file's lock against this machine's processes, a lease against other machines.

The kernel takes the file's lock back from a dead process, so that a lease that this machine left is free at
once; one that another machine left is free once it has shown no life for `lease.SECONDS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from mlops_assets.errors import ConflictError
from mlops_assets.platforms.lease import Lease, machine_of

if TYPE_CHECKING:
    from mlops_assets.artifacts import ArtifactUri
    from mlops_assets.platforms.ports import ObjectStore

# Seconds to wait for another holder.
PATIENCE = 120.0


class ModelLocks:
    """The locks of one deployment's models.

    Args:
        folder: where this machine's lock files lie.
        store: where the leases lie.
        lease: a model's lease.
        patience: seconds to wait for another holder. Default: `PATIENCE`.
    """

    def __init__(
        self,
        folder: Path,
        store: ObjectStore,
        lease: Callable[[str], ArtifactUri],
        *,
        patience: float | None = None,
    ) -> None:
        self._folder, self._store, self._uri, self._given = folder, store, lease, patience
        self._files: dict[str, FileLock] = {}
        self._leases: dict[str, Lease] = {}

    @property
    def _patience(self) -> float:
        return PATIENCE if self._given is None else self._given

    @contextmanager
    def hold(self, model: str) -> Iterator[None]:
        """Hold the model while the body runs; may be entered again by its holder.

        Raises:
            ConflictError: where another holds it for too long.
        """
        with self._alone_here(model):
            if model in self._leases:
                yield
                return
            machine = machine_of(self._folder)
            with Lease(self._store, self._uri(model), machine=machine, patience=self._patience) as lease:
                self._leases[model] = lease
                try:
                    yield
                finally:
                    del self._leases[model]

    def renew(self, model: str) -> None:
        """The fence: return where the model is held still, as the store says; before each write.

        Raises:
            ConflictError: where another process has taken it over.
        """
        self._leases[model].renew()

    @contextmanager
    def _alone_here(self, model: str) -> Iterator[None]:
        path = self._folder / self._uri(model).name
        path.parent.mkdir(parents=True, exist_ok=True)
        file = self._files.setdefault(model, FileLock(path.with_suffix(".lock"), timeout=self._patience))
        try:
            held = file.acquire()
        except Timeout:
            raise ConflictError(
                f"Another process of this machine has held {model} for {self._patience:.0f} s.",
                where=file.lock_file,
                mend="Wait for the other run, or end it; the lock goes with its process.",
            ) from None
        with held:
            yield
