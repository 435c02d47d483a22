"""Endpoint on Vertex AI: one endpoint per model; a new version takes its traffic over in steps.

A new version is rehearsed before it gets any request: an endpoint of its own, with one server, answers the
smoke test and is deleted. Vertex AI has no way to ask one of several deployed versions beforehand. It is then
deployed beside the old one, gets its share in steps, and is watched at each; where it fails, the old split is
set again.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlops_assets.artifacts import ArtifactUri, Deployment, ModelVersion
from mlops_assets.artifacts.digest import digest_of
from mlops_assets.errors import ArtifactError, DeploymentError
from mlops_assets.pipes.vertex_jobs import labels_of
from mlops_assets.platforms.deployments import check_files, not_taken_over, stopped
from mlops_assets.platforms.endpoint_state import Served, States
from mlops_assets.platforms.gcp.client import speaking
from mlops_assets.platforms.gcp.hosted_endpoint import ROUTE, Deployed, HostedEndpoint, endpoint_id
from mlops_assets.platforms.gcp.model_messages import model_message
from mlops_assets.platforms.gcp.model_versions import ModelVersions
from mlops_assets.platforms.gcp.vertex_client import place_of
from mlops_assets.platforms.model_locks import ModelLocks
from mlops_assets.platforms.smoke import compare, read_rows, smoke_test

if TYPE_CHECKING:
    from mlops_assets.platforms.gcp.settings import GcpSettings
    from mlops_assets.platforms.gcp.vertex_settings import VertexSettings
    from mlops_assets.platforms.ports import ObjectStore
    from mlops_assets.settings import Settings

_LOG = logging.getLogger(__name__)
# How often more than needed on average a version of some share is asked until it answers.
_PERSEVERANCE = 20


@dataclass(frozen=True)
class _Smoke:
    """Sample rows, and what the model answers them offline."""

    rows: Sequence[Any]
    answers: Sequence[Any]


class VertexEndpoint:
    """Endpoints named `e-<model>-<digest>`; what Vertex AI forgets of them lies in the store."""

    def __init__(
        self, settings: Settings, store: ObjectStore, gcp: GcpSettings, vertex: VertexSettings
    ) -> None:
        self._settings, self._store, self._gcp, self._vertex = settings, store, gcp, vertex
        self._place = place_of(gcp, vertex)
        self._states = States(store)
        self._models = ModelVersions(self._place, store.root)
        self._locks = ModelLocks(
            settings.root / "locks" / "endpoints",
            store,
            lambda model: store.root.join("endpoints", model, "lease.json"),
            patience=vertex.deployment_timeout,
        )

    def deploy(self, version: ModelVersion, *, samples: ArtifactUri, expected: ArtifactUri) -> Deployment:
        """Let `version` take over; nothing happens where it serves already, or where a person stopped it.

        What a deployer that died has left behind is cleared first.

        Raises:
            DeploymentError: where it is not healthy, or answers otherwise than offline. What served before
                goes on serving.
        """
        model = version.model
        served = Served(
            version=version.version,
            candidate_digest=version.candidate_digest,
            uri=version.uri,
            files=version.files,
            config=self._config(version),
        )
        with speaking(f"endpoint of {model}", DeploymentError), self._locks.hold(model):
            current = self._settle(model)
            if current is not None and current.config == served.config:
                self._states.update(model, lambda state: state.serving(served))
                return self._serving(model, served, "already serving")
            if self._states.load(model).stopped_by is not None:
                return self.status(model)
            rehearsal = self._endpoint(model, "-rehearsal")
            try:
                check_files(self._store, served.uri, served.files)
                smoke = _Smoke(read_rows(self._store, samples), read_rows(self._store, expected))
                latency = self._rehearse(rehearsal, model, served, smoke)
            except (DeploymentError, ArtifactError) as error:
                tail = rehearsal.log_tail()
                raise not_taken_over(served.version, self.status(model), error, tail) from None
            finally:
                rehearsal.delete()
            if self._states.load(model).stopped_by is not None:
                return self.status(model)
            return self._take_over(model, served, current, smoke, latency)

    def status(self, model: str) -> Deployment:
        """What Vertex AI says of the endpoint now."""
        state = self._states.load(model)
        with speaking(f"endpoint of {model}", DeploymentError):
            deployed = self._endpoint(model).deployed() or []
        serving = [item for item in deployed if item.share]
        if not serving:
            known = state.current or state.pending
            if known is None and state.stopped_by is None:
                return Deployment(model=model, version=None, status="stopped", message="never deployed")
            return stopped(model, known.version if known else None, state.stopped_by)
        served = state.of_config(serving[0].config)
        says = ", ".join(f"{item.share} % {item.config}" for item in serving) if len(serving) > 1 else ""
        message = says if served else f"{serving[0].config}, deployed by other means"
        found = self._serving(model, served, message)
        return found.model_copy(update={"stopped_by": state.stopped_by})

    def list(self) -> Sequence[Deployment]:
        """The status of every model that was ever deployed below this root."""
        return [self.status(model) for model in self._states.models()]

    def stop(self, model: str, *, by: str | None = None) -> Deployment:
        """End the servers, after what is under way; the version and the endpoint's address stay."""
        if by is not None:
            self._states.update(model, lambda state: state.model_copy(update={"stopped_by": by}))
        with speaking(f"endpoint of {model}", DeploymentError), self._locks.hold(model):
            self._endpoint(model).empty()
            self._endpoint(model, "-rehearsal").delete()
        return self.status(model)

    def restart(self, model: str) -> Deployment:
        """Serve the version that was deployed last again; nothing but a state changes where it does.

        Raises:
            DeploymentError: where nothing was ever deployed, or the version does not start.
        """
        with speaking(f"endpoint of {model}", DeploymentError), self._locks.hold(model):
            state, current = self._states.load(model), self._settle(model)
            known = (state.of_config(current.config) if current else None) or state.current or state.pending
            if known is None:
                raise DeploymentError(
                    "Nothing was ever deployed.", where=model, mend=f"Run: mlops-assets run {model}"
                )
            if current is None:
                endpoint = self._endpoint(model)
                endpoint.ensure(model, self._labels(model))
                endpoint.deploy(self._model_of(model, known), known.config, {})
            self._states.update(model, lambda state: state.serving(known))
            return self._serving(model, known, "restarted")

    # --- one take-over ------------------------------------------------------------------------------------

    def _settle(self, model: str) -> Deployed | None:
        """What serves, alone: what another, dead deployer has left beside it is undeployed.

        Of two that share the traffic the one that had taken over before goes on.
        """
        endpoint = self._endpoint(model)
        deployed = endpoint.deployed() or []
        serving = [item for item in deployed if item.share]
        if not serving:
            endpoint.empty()
            return None
        current = self._states.load(model).current
        kept = next((item for item in serving if current and item.config == current.config), serving[0])
        if len(deployed) > 1:
            _LOG.warning("endpoint of %s: clearing what another deployment left behind", model)
            endpoint.split({kept.id: 100})
        for item in deployed:
            if item.id != kept.id:
                endpoint.undeploy(item.id)
        return kept

    def _rehearse(self, rehearsal: HostedEndpoint, model: str, served: Served, smoke: _Smoke) -> float:
        """Milliseconds per request of a smoke test on a server that nobody else asks."""
        rehearsal.ensure(f"{model} rehearsal", self._labels(model))
        rehearsal.empty()
        rehearsal.deploy(self._model_of(model, served), served.config, {}, replicas=1)
        return smoke_test(lambda part: rehearsal.invoke(part)[0], smoke.rows, smoke.answers)

    def _take_over(
        self, model: str, served: Served, old: Deployed | None, smoke: _Smoke, latency: float
    ) -> Deployment:
        # Written first: a deployer that dies from here on leaves a trace of what it started.
        self._states.update(model, lambda state: state.model_copy(update={"pending": served}))
        endpoint = self._endpoint(model)
        try:
            endpoint.ensure(model, self._labels(model))
            before = {old.id: 100} if old else {}
            new = endpoint.deploy(self._model_of(model, served), served.config, before)
            self._locks.renew(model)
            self._shift(endpoint, old, new, smoke)
        except DeploymentError as error:
            raise not_taken_over(served.version, self.status(model), error, endpoint.log_tail()) from None
        self._states.update(model, lambda state: state.serving(served))
        if old is not None:
            endpoint.undeploy(old.id)
        return self._serving(model, served, f"smoke test passed, {latency:g} ms", latency)

    def _shift(self, endpoint: HostedEndpoint, old: Deployed | None, new: str, smoke: _Smoke) -> None:
        """Move the traffic step by step; back again, where the new version answers wrongly on its way."""
        steps = [*self._vertex.traffic_steps, 100] if old else [100]
        try:
            for share in steps:
                endpoint.split({new: share, **({old.id: 100 - share} if old and share < 100 else {})})
                _watch(endpoint, new, share, smoke)
                if share < 100:
                    time.sleep(self._vertex.traffic_wait)
        except Exception:
            endpoint.split({old.id: 100} if old else {})
            endpoint.undeploy(new)
            raise

    # --- what is there ------------------------------------------------------------------------------------

    def _model_of(self, model: str, served: Served) -> str:
        """The Model that serves: the registered version, else one made for it alone."""
        message = model_message(self._settings, self._vertex, model=model, uri=served.uri, files=served.files)
        return self._models.serving(model, served.version, message)

    def _config(self, version: ModelVersion) -> str:
        """What serves a version, by name: other files, machines or numbers are another."""
        asked = [
            version.candidate_digest,
            str(version.uri),
            version.files,
            self._vertex.image,
            self._vertex.serving_machine,
            self._vertex.min_replicas,
            self._vertex.max_replicas,
        ]
        return f"v{version.version}-{digest_of(asked)[:12]}"

    def _endpoint(self, model: str, suffix: str = "") -> HostedEndpoint:
        return HostedEndpoint(
            self._place, self._vertex, self._gcp, endpoint_id(self._store.root, model) + suffix
        )

    def _labels(self, model: str) -> dict[str, str]:
        return labels_of({"mlops-assets-model": model})

    def _serving(
        self, model: str, served: Served | None, message: str, latency: float | None = None
    ) -> Deployment:
        endpoint = self._endpoint(model)
        return Deployment(
            model=model,
            version=served.version if served else None,
            status="serving",
            url=endpoint.url,
            route=ROUTE,
            page=endpoint.console,
            curl=endpoint.curl,
            message=message,
            latency_ms=latency,
        )


def _watch(endpoint: HostedEndpoint, new: str, share: int, smoke: _Smoke) -> None:
    """Ask until the new version answers, and compare.

    Raises:
        DeploymentError: where it answers otherwise than offline, or never.
    """
    for _ in range(math.ceil(_PERSEVERANCE * 100 / share)):
        given, who = endpoint.invoke(smoke.rows[:1])
        if who == new:
            compare(given, smoke.answers[:1])
            return
    raise DeploymentError(
        f"It answered none of the requests at a share of {share} %.", where=endpoint.console
    )
