"""Endpoint on this machine: one server process per model behind an address that stays.

A new version starts beside the old one, shows the offline answers on sample rows, and takes the listening
socket over; the old one answers what it has accepted and ends. Whenever the deployer dies, one of the two
serves, and the next deployment ends what is left over.
"""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mlops_assets.artifacts import ArtifactUri, Deployment, ModelVersion
from mlops_assets.artifacts.uri import check_key
from mlops_assets.errors import DeploymentError
from mlops_assets.platforms.deployments import not_taken_over, stopped
from mlops_assets.platforms.local import endpoint_state
from mlops_assets.platforms.local.endpoint_state import Served, State
from mlops_assets.platforms.local.server_client import ServerClient, base_url
from mlops_assets.platforms.local.server_process import (
    Launch,
    ServerProcess,
    control_name,
    kill,
    living,
    terminate,
)
from mlops_assets.platforms.ports import ObjectStore
from mlops_assets.platforms.smoke import read_rows
from mlops_assets.runtime.server_environment import TOKEN_VARIABLE
from mlops_assets.runtime.sockets import bind
from mlops_assets.settings import Settings

# Seconds that a take-over may need after its deployer died: handing over a socket takes milliseconds.
_SETTLING = 5.0


class LocalEndpoint:
    """Servers below `<root>/endpoints/<model>/`: state.json, instance files, control sockets, logs."""

    def __init__(self, settings: Settings, store: ObjectStore) -> None:
        self._settings = settings
        self._store = store
        self._root = settings.root / "endpoints"
        token = settings.endpoint_token
        self._token = token.get_secret_value() if token is not None else None

    def deploy(self, version: ModelVersion, *, samples: ArtifactUri, expected: ArtifactUri) -> Deployment:
        """Let `version` take over; nothing happens where it serves already, or where a person stopped it.

        Args:
            version: the registered version; its files are checked against `version.files` before loading.
            samples: rows as a JSON list of records.
            expected: the offline predictions for them, a JSON list.

        Raises:
            DeploymentError: where it does not start, is not healthy within `endpoint_timeout`, or answers
                otherwise than offline. What served before goes on serving.
        """
        served = Served(
            instance=secrets.token_hex(8),
            version=version.version,
            candidate_digest=version.candidate_digest,
            uri=version.uri,
            files=version.files,
            samples=samples,
            expected=expected,
        )
        with self._locked(version.model) as folder:
            state = self._state(version.model)
            current = self._settle(folder, state)
            if (
                current is not None
                and current.is_same_version(served)
                and state.host == self._settings.endpoint_host
            ):
                return self._serving(state, current, "already serving")
            if state.stopped_by is not None:
                return self.status(version.model)
            return self._replace(folder, state, current, served)

    def status(self, model: str) -> Deployment:
        """Who answers the model's address now, asked over HTTP."""
        state = self._state(model)
        if state.port == 0:
            return state.stopped("never deployed")
        answer = ServerClient(state.host, state.port).ping()
        if answer is not None and answer.get("model") == model:
            serving = self._answers(state, answer.get("version"))
            return serving.model_copy(update={"stopped_by": state.stopped_by})
        return stopped(model, state.current.version if state.current else None, state.stopped_by)

    def list(self) -> Sequence[Deployment]:
        """The status of every model that was ever deployed here."""
        return [self.status(path.parent.name) for path in sorted(self._root.glob(f"*/{endpoint_state.FILE}"))]

    def stop(self, model: str, *, by: str | None = None) -> Deployment:
        """End the model's servers; requests under way are answered first."""
        with self._locked(model) as folder:
            if by is not None:
                self._save(self._state(model).model_copy(update={"stopped_by": by}))
            for instance in living(folder):
                terminate(folder, instance)
        return self.status(model)

    def restart(self, model: str) -> Deployment:
        """Start the last deployed version again: beside the running server, where there is one.

        Raises:
            DeploymentError: where nothing was ever deployed, or the version does not start.
        """
        with self._locked(model) as folder:
            state = self._state(model)
            current = self._settle(folder, state)
            known = current or state.current
            if known is None:
                raise DeploymentError(
                    "Nothing was ever deployed.", where=model, mend=f"Run: mlops-assets run {model}"
                )
            served = known.model_copy(update={"instance": secrets.token_hex(8)})
            return self._replace(folder, state, current, served)

    # --- one take-over ------------------------------------------------------------------------------------

    def _replace(self, folder: Path, state: State, current: Served | None, served: Served) -> Deployment:
        host = self._settings.endpoint_host
        # A server on another address has no socket to hand over.
        holder = current if current is not None and state.host == host else None
        listener = None if holder else _bind(host, state.port)
        try:
            port = listener.getsockname()[1] if listener else state.port
            moved = state.port not in (0, port) or (state.port != 0 and state.host != host)
            state = state.model_copy(update={"host": host, "port": port})
            process = self._start(folder, state, served, listener)
        finally:
            if listener is not None:
                listener.close()
        try:
            latency = self._take_over(process, state, served, holder)
        except DeploymentError as error:
            now = self.status(state.model)
            raise not_taken_over(served.version, now, error, process.log_tail()) from None
        self._save(state.serving(served))
        if holder is None:
            self._end_others(folder, served)
        message = f"smoke test passed, {latency:g} ms" + ("; the address is a new one" if moved else "")
        return self._serving(state, served, message, latency)

    def _start(
        self, folder: Path, state: State, served: Served, listener: socket.socket | None
    ) -> ServerProcess:
        # Written first: a deployer that dies from here on leaves a trace of what it started.
        self._save(state.model_copy(update={"pending": served}))
        return ServerProcess(
            Launch(
                folder=folder,
                instance=served.instance,
                model=self._store.local(served.uri),
                files=served.files,
                version=served.version,
                trusted_types=self._settings.trusted_types,
                body_limit=self._settings.endpoint_body_limit,
                token=self._token,
                listener=listener.fileno() if listener else None,
            )
        )

    def _take_over(
        self, process: ServerProcess, state: State, served: Served, holder: Served | None
    ) -> float:
        """Health, smoke test, adoption; returns milliseconds per request. Ends it where one fails."""
        adopting = adopted = False
        try:
            deadline = time.monotonic() + self._settings.endpoint_timeout
            port = process.wait_for("listening", deadline)["port"]
            client = ServerClient("127.0.0.1", port, token=self._token)
            client.wait_until_healthy(deadline, process.check)
            samples, expected = (read_rows(self._store, uri) for uri in (served.samples, served.expected))
            latency = client.smoke(samples, expected, max(deadline - time.monotonic(), 1.0))
            adopting = True
            process.adopt(holder.instance if holder else None)
            process.wait_for("adopted", time.monotonic() + self._settings.endpoint_timeout)
            adopted = True
            return latency
        finally:
            # Interrupted while it took over: whoever answers the address now stays.
            if not adopted and adopting:
                answer = ServerClient(state.host, state.port).ping()
                adopted = answer is not None and answer.get("instance") == served.instance
            if adopted:
                process.release()
            else:
                process.end()

    # --- what is there ------------------------------------------------------------------------------------

    def _settle(self, folder: Path, state: State) -> Served | None:
        """The version that answers the stable address, alone: strays of earlier deployers are ended.

        A living server that should answer but does not is ended too.
        """
        instance = self._answering(folder, state)
        known = [served for served in (state.current, state.pending) if served is not None]
        current = next((served for served in known if served.instance == instance), None)
        for other in living(folder):
            if current is not None and other == current.instance:
                continue
            if current is None and any(served.instance == other for served in known):
                kill(folder, other)
            else:
                terminate(folder, other)
        if current is not None and current != state.current:
            self._save(state.serving(current))
        return current

    def _answering(self, folder: Path, state: State) -> object:
        """The instance that answers the stable address, once no take-over is under way any more.

        A server opens its control socket when it has the address, and its predecessor answers beside it until
        it drains: a deployer killed in between leaves two, of which the newer one stays.
        """
        deadline = time.monotonic() + _SETTLING
        while True:
            answer = ServerClient(state.host, state.port).ping() if state.port else None
            instance = answer.get("instance") if answer else None
            newer = state.pending.instance if state.pending else None
            under_way = newer in living(folder) and (folder / control_name(str(newer))).exists()
            if not under_way or instance == newer or time.monotonic() > deadline:
                return instance
            time.sleep(0.05)

    def _end_others(self, folder: Path, served: Served) -> None:
        for other in living(folder):
            if other != served.instance:
                terminate(folder, other)

    def _serving(
        self, state: State, served: Served, message: str, latency: float | None = None
    ) -> Deployment:
        serving = self._answers(state, served.version)
        return serving.model_copy(update={"message": message, "latency_ms": latency})

    def _answers(self, state: State, version: int | None) -> Deployment:
        url = base_url(state.host, state.port)
        authorization = (f'-H "Authorization: Bearer ${TOKEN_VARIABLE}"',) if self._token else ()
        return Deployment(
            model=state.model,
            version=version,
            status="serving",
            url=url,
            page=f"{url}/ping",
            curl=authorization,
        )

    @contextmanager
    def _locked(self, model: str) -> Iterator[Path]:
        folder = self._root / check_key(model)
        with endpoint_state.locked(folder, self._settings.endpoint_timeout * 3):
            yield folder

    def _state(self, model: str) -> State:
        return endpoint_state.load(self._root / check_key(model), model, self._settings.endpoint_host)

    def _save(self, state: State) -> None:
        endpoint_state.save(self._root / state.model, state)


def _bind(host: str, port: int) -> socket.socket:
    """A socket bound to the preferred port, or to a free one where that is taken."""
    try:
        return bind(host, port)
    except OSError:
        if port != 0:
            return _bind(host, 0)
        raise DeploymentError(
            "No socket can be bound.",
            where=host,
            mend="Set MLOPS_ENDPOINT_HOST to an address of this machine.",
        ) from None
