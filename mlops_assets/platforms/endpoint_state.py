"""What a service does not keep of an endpoint: a JSON object in the store, replaced only as it was read.

An endpoint that is stopped is gone, or empty; the state says what was deployed last, and who stopped it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pydantic import ValidationError

from mlops_assets.artifacts import ArtifactUri, Value
from mlops_assets.artifacts.uri import check_key
from mlops_assets.errors import ArtifactError, ConflictError
from mlops_assets.platforms.ports import ObjectStore

_FILE = "state.json"
_ROUNDS = 20


class Served(Value):
    """A version as it was deployed: enough to start it again.

    Attributes:
        files: file name -> SHA-256, as registered.
        config: how the service calls what serves it: on SageMaker its endpoint config, on Vertex AI the
            deployed model.
    """

    version: int
    candidate_digest: str
    uri: ArtifactUri
    files: dict[str, str]
    config: str


class State(Value):
    """What is known of a model's endpoint.

    Attributes:
        current: the last one that took over.
        pending: one that may have taken over, where a deployer ended before it could say so.
        stopped_by: the person who stopped it, until it is restarted.
    """

    model: str
    current: Served | None = None
    pending: Served | None = None
    stopped_by: str | None = None

    def of_config(self, config: str | None) -> Served | None:
        """What a config of that name serves, where it was deployed from here."""
        known = (served for served in (self.pending, self.current) if served is not None)
        return next((served for served in known if served.config == config), None)

    def serving(self, served: Served) -> State:
        """The state once `served` has taken over."""
        return self.model_copy(update={"current": served, "pending": None, "stopped_by": None})


class States:
    """The states of every model's endpoint, at `<root>/endpoints/<model>/state.json`."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._root = store.root.join("endpoints")

    def load(self, model: str) -> State:
        """The state; a blank one where nothing was ever deployed.

        Raises:
            ArtifactError: where it cannot be read.
        """
        return self._read(model)[0]

    def update(self, model: str, change: Callable[[State], State]) -> State:
        """Replace the state by what `change` makes of it, asked again where somebody else was faster."""
        for _ in range(_ROUNDS):
            before, version = self._read(model)
            after = change(before)
            if after == before:
                return before
            try:
                data = after.model_dump_json(indent=1).encode()
                self._store.write(self._uri(model), data, if_absent=version is None, if_version=version)
            except ConflictError:
                continue
            return after
        raise ConflictError(
            "Others keep changing the endpoint's state.", where=str(self._uri(model)), mend="Run it again."
        )

    def models(self) -> Iterator[str]:
        """Every model that was ever deployed or stopped."""
        for info in self._store.list(self._root):
            model, _, file = self._root.relative(info.uri).rpartition("/")
            if file == _FILE:
                yield model

    def _read(self, model: str) -> tuple[State, str | None]:
        uri = self._uri(model)
        info = self._store.head(uri)
        if info is None:
            return State(model=model), None
        try:
            return State.model_validate_json(self._store.read(uri)), info.version
        except ValidationError:
            raise ArtifactError(
                "The endpoint's state cannot be read.",
                where=str(uri),
                mend="Remove the object and deploy again.",
            ) from None

    def _uri(self, model: str) -> ArtifactUri:
        return self._root.join(check_key(model), _FILE)
