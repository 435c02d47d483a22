"""What a local endpoint remembers: state.json in its folder, replaced as a whole, and the deployers' lock."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import ValidationError

from mlops_assets.artifacts import ArtifactUri, Deployment, Value
from mlops_assets.errors import ArtifactError, DeploymentError

FILE = "state.json"


class Served(Value):
    """A version as it was deployed: enough to start it again.

    Attributes:
        instance: the server process's own name, never used again.
        samples, expected: what its smoke test asks and what must come back.
    """

    instance: str
    version: int
    candidate_digest: str
    uri: ArtifactUri
    files: dict[str, str]
    samples: ArtifactUri
    expected: ArtifactUri

    def is_same_version(self, other: Served) -> bool:
        """Whether both are one registered version of one candidate."""
        return self.version == other.version and self.candidate_digest == other.candidate_digest


class State(Value):
    """What is known of a model's endpoint.

    Attributes:
        port: of the stable address; 0 where there is none yet.
        current: the last one that took over; it may have ended since.
        pending: one that may have taken over, where a deployer ended before it could say so.
        stopped_by: the person who stopped it, until it is restarted.
    """

    model: str
    host: str
    port: int = 0
    current: Served | None = None
    pending: Served | None = None
    stopped_by: str | None = None

    def serving(self, served: Served) -> State:
        """The state once `served` has taken over."""
        return self.model_copy(update={"current": served, "pending": None, "stopped_by": None})

    def stopped(self, message: str) -> Deployment:
        """What is said of the endpoint where nothing answers."""
        version = self.current.version if self.current else None
        return Deployment(
            model=self.model, version=version, status="stopped", message=message, stopped_by=self.stopped_by
        )


def load(folder: Path, model: str, host: str) -> State:
    """The state kept in `folder`; a blank one on `host` where nothing was ever deployed.

    Raises:
        ArtifactError: where the file cannot be read.
    """
    path = folder / FILE
    try:
        return State.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return State(model=model, host=host)
    except ValidationError:
        raise ArtifactError(
            "The endpoint's state cannot be read.", where=str(path), mend="Remove the file and deploy again."
        ) from None


def save(folder: Path, state: State) -> None:
    """Replace the state; a crash leaves the old or the new one."""
    aside = folder / f"{FILE}.new"
    with aside.open("w") as file:
        file.write(state.model_dump_json(indent=1))
        file.flush()
        os.fsync(file.fileno())
    aside.replace(folder / FILE)


@contextmanager
def locked(folder: Path, timeout: float) -> Iterator[None]:
    """One deployer at a time in `folder`, which is made where it is not there.

    Raises:
        DeploymentError: where another one holds it for longer than `timeout` seconds.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = FileLock(folder / "deploy.lock", timeout=timeout)
    try:
        lock.acquire()
    except Timeout:
        raise DeploymentError(
            "Another deployment holds this endpoint.", where=folder.name, mend="Wait for it, or end it."
        ) from None
    try:
        yield
    finally:
        lock.release()
