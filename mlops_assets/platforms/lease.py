"""A lease: one object that one process at a time holds, on whichever machine, by conditional writes.

Nobody's clock is believed: whoever waits takes a lease over once it has seen no beat of its holder for
`SECONDS` by its own clock. A holder that was paused for longer finds at its next `renew` that it lost it, so
it renews before each write that the lease protects.
"""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
import uuid
from typing import TYPE_CHECKING, Any

from mlops_assets.artifacts.digest import canonical_json
from mlops_assets.errors import ArtifactError, ConflictError, MlopsAssetsError

if TYPE_CHECKING:
    from pathlib import Path

    from mlops_assets.artifacts import ArtifactUri
    from mlops_assets.platforms.ports import ObjectInfo, ObjectStore

# Without a beat for this long, a holder counts as dead; it beats three times as often.
SECONDS = 30.0
_POLL = 0.5
_log = logging.getLogger(__name__)


def machine_of(folder: Path) -> str:
    """What every process that uses this folder on this machine has in common, and no other has."""
    status = folder.stat()
    return f"{socket.gethostname()}/{status.st_dev}-{status.st_ino}"


class Lease:
    """One acquisition of the lease at `uri`; use it once, as a context manager.

    Args:
        store: where the lease lies.
        uri: its object.
        machine: who may not hold it beside the caller: a lease of the same machine is taken over at once. The
            caller makes sure, by a lock that the kernel takes back, that no such holder lives.
        patience: seconds to wait for another holder.

    Raises:
        ConflictError: on entering, where another holds it for longer than `patience`.
    """

    def __init__(self, store: ObjectStore, uri: ArtifactUri, *, machine: str, patience: float) -> None:
        self._store, self._uri, self._patience = store, uri, patience
        self._state: dict[str, Any] = {
            "holder": uuid.uuid4().hex,
            "machine": machine,
            "held": True,
            "beat": 0,
        }
        self._version = ""
        self._changing = threading.Lock()
        self._done = threading.Event()
        self._heart = threading.Thread(target=self._beat, name="lease", daemon=True)

    def __enter__(self) -> Lease:
        self._version = self._acquire().version
        self._heart.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._heart.join()
        try:
            self._write(held=False)
        except MlopsAssetsError as error:  # lost, or not reachable: it expires
            _log.warning("The lease was not given back: %s", error)

    def renew(self) -> None:
        """Return where the lease is still held, as the store says now.

        Raises:
            ConflictError: where another has taken it over.
        """
        try:
            self._write(held=True)
        except ConflictError:
            raise ConflictError(
                "This process was silent for too long, and another took its lease over.",
                where=self._uri,
                mend="Run it again; what it has not written yet stays unwritten.",
            ) from None

    def _write(self, *, held: bool) -> None:
        with self._changing:
            self._state |= {"held": held, "beat": self._state["beat"] + 1}
            self._version = self._store.write(self._uri, self._body(), if_version=self._version).version

    def _beat(self) -> None:
        while not self._done.wait(SECONDS / 3):
            try:
                self._write(held=True)
            except ConflictError:
                return  # the next renew says so to whoever writes
            except MlopsAssetsError as error:
                _log.warning("The lease was not renewed: %s", error)

    def _acquire(self) -> ObjectInfo:
        seen, since = "", time.monotonic()
        deadline = since + self._patience
        while True:
            info = self._store.head(self._uri)
            now = time.monotonic()
            if info is None or info.version != seen:
                seen, since = info.version if info else "", now
            if info is None or self._free() or now - since >= SECONDS:
                try:
                    if info is None:
                        return self._store.write(self._uri, self._body(), if_absent=True)
                    return self._store.write(self._uri, self._body(), if_version=info.version)
                except ConflictError:
                    continue
            if now >= deadline:
                raise ConflictError(
                    f"Another process has held this lease for {self._patience:.0f} s.",
                    where=self._uri,
                    mend=f"Wait for the other run, or end it; {SECONDS:.0f} s after its end it is free.",
                )
            time.sleep(_POLL)

    def _free(self) -> bool:
        try:
            state = json.loads(self._store.read(self._uri))
            return not state["held"] or state["machine"] == self._state["machine"]
        except (ArtifactError, ValueError, KeyError, TypeError):
            return False  # gone just now, or damaged: waiting for a beat decides

    def _body(self) -> bytes:
        return canonical_json(self._state).encode()
