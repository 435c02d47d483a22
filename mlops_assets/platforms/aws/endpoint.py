"""Endpoint on SageMaker: one endpoint per model, updated blue/green after a rehearsal.

A new version is rehearsed before it gets any request: an endpoint of its own, with one instance, answers the
smoke test and is deleted. SageMaker has no other way to ask new servers beforehand that leaves those who
serve alone: a shadow variant's answers are not returned, a variant of weight zero needs an update of the
serving endpoint that starts its old servers anew, and a canary's share of the requests is answered already.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from mlops_assets.artifacts import ArtifactUri, Deployment, ModelVersion
from mlops_assets.errors import ArtifactError, DeploymentError, MlopsAssetsError
from mlops_assets.pipes.sagemaker_limits import tags_of
from mlops_assets.platforms.aws.client import client, speaking
from mlops_assets.platforms.aws.endpoint_requests import (
    Plan,
    alarm_names,
    deployment_config,
    endpoint_name,
    plan,
    rehearsal_prefix,
)
from mlops_assets.platforms.aws.hosted_endpoint import Found, HostedEndpoint, VanishedError, made
from mlops_assets.platforms.aws.settings import AwsSettings
from mlops_assets.platforms.deployments import check_files, not_taken_over, stopped
from mlops_assets.platforms.endpoint_state import Served, State, States
from mlops_assets.platforms.ports import ObjectStore
from mlops_assets.platforms.smoke import read_rows, smoke_test
from mlops_assets.settings import Settings

_LOG = logging.getLogger(__name__)
_ROUNDS = 10


class SageMakerEndpoint:
    """Endpoints named `<model>-<digest>`; what SageMaker forgets of them lies in the store."""

    def __init__(self, settings: Settings, store: ObjectStore, aws: AwsSettings) -> None:
        self._settings, self._store, self._aws = settings, store, aws
        self._states = States(store)
        self._sagemaker = client("sagemaker", aws.region)

    def deploy(self, version: ModelVersion, *, samples: ArtifactUri, expected: ArtifactUri) -> Deployment:
        """Let `version` take over; nothing happens where it serves already, or where a person stopped it.

        What another deployer has under way is waited for, so that one that died in mid-update is caught up
        with.

        Raises:
            DeploymentError: where it is not healthy, answers otherwise than offline, or SageMaker rolled the
                update back, which it does without a word. What served before goes on serving.
        """
        with speaking(f"endpoint of {version.model}", DeploymentError):
            for _ in range(_ROUNDS):
                try:
                    return self._deploy(version, samples, expected)
                except VanishedError:
                    _LOG.info("endpoint of %s: another deployment was faster; looking again", version.model)
        raise DeploymentError(
            "Others keep deploying this model.", where=f"endpoint of {version.model}", mend="Run it again."
        )

    def status(self, model: str) -> Deployment:
        """What SageMaker says of the endpoint now."""
        state = self._states.load(model)
        with speaking(f"endpoint of {model}", DeploymentError):
            found = self._endpoint(model).find()
        if found is None or not found.serves:
            return self._stopped(state, found)
        served = state.of_config(found.config)
        says = "" if found.status == "InService" else found.status
        if served is None:
            says = f"{says} config {found.config}, deployed by other means".strip()
        serving = self._serving(model, served, says)
        return serving.model_copy(update={"stopped_by": state.stopped_by})

    def list(self) -> Sequence[Deployment]:
        """The status of every model that was ever deployed below this root."""
        return [self.status(model) for model in self._states.models()]

    def stop(self, model: str, *, by: str | None = None) -> Deployment:
        """Delete the endpoint, after what is under way; its version and config stay known."""
        if by is not None:
            self._states.update(model, lambda state: state.model_copy(update={"stopped_by": by}))
        with speaking(f"endpoint of {model}", DeploymentError):
            self._endpoint(model).delete()
            self._sweep(model)
        return self.status(model)

    def restart(self, model: str) -> Deployment:
        """Serve the version that was deployed last again; nothing but a state changes where it does.

        Raises:
            DeploymentError: where nothing was ever deployed, or the version does not start.
        """
        state = self._states.load(model)
        with speaking(f"endpoint of {model}", DeploymentError):
            found = self._endpoint(model).settled()
            known = (state.of_config(found.config) if found else None) or state.current or state.pending
            if known is None:
                raise DeploymentError(
                    "Nothing was ever deployed.", where=model, mend=f"Run: mlops-assets run {model}"
                )
            asked = plan(self._settings, self._aws, known, model)
            self._prepare(asked)
            return self._take_over(model, known.model_copy(update={"config": asked.config_name}))

    # --- one take-over ------------------------------------------------------------------------------------

    def _deploy(self, version: ModelVersion, samples: ArtifactUri, expected: ArtifactUri) -> Deployment:
        model = version.model
        asked = plan(self._settings, self._aws, version, model)
        served = Served(
            version=version.version,
            candidate_digest=version.candidate_digest,
            uri=version.uri,
            files=version.files,
            config=asked.config_name,
        )
        found = self._endpoint(model).settled()
        if found is not None and found.status == "InService" and found.config == served.config:
            self._states.update(model, lambda state: state.serving(served))
            return self._serving(model, served, "already serving")
        if self._states.load(model).stopped_by is not None:
            return self.status(model)
        self._sweep(model)
        rehearsal = HostedEndpoint(self._aws, asked.rehearsal_name)
        try:
            check_files(self._store, served.uri, served.files)
            self._prepare(asked)
            latency = self._rehearse(rehearsal, asked, samples, expected)
        except (DeploymentError, ArtifactError) as error:
            raise not_taken_over(served.version, self.status(model), error, rehearsal.log_tail()) from None
        if self._states.load(model).stopped_by is not None:
            return self.status(model)
        return self._take_over(model, served, latency)

    def _prepare(self, asked: Plan) -> None:
        """Model and config: named by what they are, so those of that name are the same."""
        made(lambda: self._sagemaker.create_model(**asked.model))
        made(lambda: self._sagemaker.create_endpoint_config(**asked.config))

    def _rehearse(
        self, rehearsal: HostedEndpoint, asked: Plan, samples: ArtifactUri, expected: ArtifactUri
    ) -> float:
        """Milliseconds per request of a smoke test on servers that nobody else asks."""
        rows, answers = (read_rows(self._store, uri) for uri in (samples, expected))
        made(lambda: self._sagemaker.create_endpoint_config(**asked.rehearsal))
        try:
            rehearsal.create(asked.rehearsal_name, asked.rehearsal["Tags"])
            found = rehearsal.settled()
            if found is None:
                raise VanishedError
            if found.status != "InService":
                raise _unhealthy(rehearsal, found)
            return smoke_test(rehearsal.invoke, rows, answers)
        finally:
            rehearsal.delete()

    def _take_over(self, model: str, served: Served, latency: float | None = None) -> Deployment:
        # Written first: a deployer that dies from here on leaves a trace of what it started.
        self._states.update(model, lambda state: state.model_copy(update={"pending": served}))
        try:
            lasts = self._move(model, served)
        except DeploymentError as error:
            raise not_taken_over(
                served.version, self.status(model), error, self._endpoint(model).log_tail()
            ) from None
        if not lasts:
            return self.status(model)
        self._states.update(model, lambda state: state.serving(served))
        tested = f"smoke test passed, {latency:g} ms" if latency is not None else "restarted"
        return self._serving(model, served, tested, latency)

    def _move(self, model: str, served: Served) -> bool:
        """Create or update, wait, and compare: SageMaker rolls back to InService without a word.

        False where another deployment followed this one before it was looked at.
        """
        endpoint, mine, asked = self._endpoint(model), False, False
        before: str | None = None
        tags = tags_of({"mlops-assets/model": model, "mlops-assets/root": str(self._aws.root)})
        alarms = alarm_names(self._aws, model)
        for _ in range(_ROUNDS):
            found = endpoint.settled()
            serves = found.config if found is not None and found.status == "InService" else None
            if serves == served.config:
                return True
            if asked and serves not in (None, before):
                _LOG.info("endpoint of %s: another deployment followed version %s", model, served.version)
                return False
            mine = mine or (found is not None and served.config in found.pending)
            if mine:
                raise self._rolled_back(endpoint, found, alarms)
            before = found.config if found is not None else None
            if found is None:
                mine = asked = endpoint.create(served.config, tags)
            elif found.status == "Failed":
                endpoint.delete()  # nothing else can be done with one
            else:
                self._check_alarms(alarms)
                mine = asked = endpoint.update(served.config, deployment_config(self._aws, alarms))
        raise DeploymentError("Others keep changing it.", where=endpoint.console, mend="Run it again.")

    def _rolled_back(
        self, endpoint: HostedEndpoint, found: Found | None, alarms: Sequence[str]
    ) -> DeploymentError:
        if found is None:
            return DeploymentError("Somebody deleted it meanwhile.", where=endpoint.console)
        if found.status != "InService":
            return _unhealthy(endpoint, found)
        ringing = [name for name, state in self._alarm_states(alarms).items() if state == "ALARM"]
        why = found.reason or (f"alarm {', '.join(ringing)} is in ALARM" if ringing else "it gives no reason")
        return DeploymentError(
            f"SageMaker rolled the update back: {why.rstrip('.')}.", where=endpoint.console
        )

    def _check_alarms(self, alarms: Sequence[str]) -> None:
        """Refuse an update that is sure to be turned back."""
        states = self._alarm_states(alarms)
        for name in alarms:
            if states.get(name) in ("OK", "INSUFFICIENT_DATA"):
                continue
            what = "is in ALARM: it would turn the update back" if name in states else "does not exist"
            raise DeploymentError(
                f"The alarm {name} {what}.",
                where="MLOPS_AWS_ROLLBACK_ALARMS",
                mend="Mend what it tells of, or take it from the list.",
            )

    def _alarm_states(self, alarms: Sequence[str]) -> dict[str, str]:
        if not alarms:
            return {}
        kinds = ["MetricAlarm", "CompositeAlarm"]
        cloudwatch = client("cloudwatch", self._aws.region)
        found = cloudwatch.describe_alarms(AlarmNames=list(alarms), AlarmTypes=kinds)
        both = found.get("MetricAlarms", []) + found.get("CompositeAlarms", [])
        return {alarm["AlarmName"]: alarm["StateValue"] for alarm in both}

    # --- what is there ------------------------------------------------------------------------------------

    def _sweep(self, model: str) -> None:
        """Delete rehearsals of deployers that died: older than a deployment may take."""
        oldest = datetime.now(UTC) - timedelta(seconds=2 * self._aws.deployment_timeout)
        found = self._sagemaker.list_endpoints(
            NameContains=rehearsal_prefix(self._aws.root, model), LastModifiedTimeBefore=oldest
        )
        for item in found["Endpoints"]:
            _LOG.warning("deleting %s, which a deployment left behind", item["EndpointName"])
            HostedEndpoint(self._aws, item["EndpointName"]).delete()

    def _endpoint(self, model: str) -> HostedEndpoint:
        return HostedEndpoint(self._aws, endpoint_name(self._aws.root, model))

    def _serving(
        self, model: str, served: Served | None, message: str, latency: float | None = None
    ) -> Deployment:
        endpoint = self._endpoint(model)
        return Deployment(
            model=model,
            version=served.version if served else None,
            status="serving",
            url=endpoint.url,
            page=endpoint.console,
            curl=endpoint.curl,
            message=message,
            latency_ms=latency,
        )

    def _stopped(self, state: State, found: Found | None) -> Deployment:
        known = state.current or state.pending
        if known is None and state.stopped_by is None and found is None:
            return Deployment(model=state.model, version=None, status="stopped", message="never deployed")
        how = f"{found.status}: {found.reason}" if found is not None else "not running"
        return stopped(state.model, known.version if known else None, state.stopped_by, how)


def _unhealthy(endpoint: HostedEndpoint, found: Found) -> DeploymentError:
    reason: str | MlopsAssetsError = found.reason or "SageMaker gives no reason."
    return DeploymentError(f"It is {found.status}: {reason}", where=endpoint.console)
