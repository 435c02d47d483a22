"""One endpoint of Vertex AI by id: deployed to, its traffic split, asked, emptied, deleted."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlops_assets.artifacts.digest import digest_of
from mlops_assets.errors import DeploymentError
from mlops_assets.platforms.gcp.vertex_client import authorized_session
from mlops_assets.platforms.smoke import request_body
from mlops_assets.runtime.job_environment import redacted

if TYPE_CHECKING:
    from mlops_assets.artifacts import ArtifactUri
    from mlops_assets.platforms.gcp.settings import GcpSettings
    from mlops_assets.platforms.gcp.vertex_client import VertexPlace
    from mlops_assets.platforms.gcp.vertex_settings import VertexSettings

ROUTE = ":rawPredict"
_SECONDS = 60
_WHO = "X-Vertex-AI-Deployed-Model-Id"


@dataclass(frozen=True)
class Deployed:
    """A version on an endpoint.

    Attributes:
        id: Vertex AI's.
        config: the display name that it was deployed under.
        share: percentage of the requests that it gets.
    """

    id: str
    config: str
    share: int


class HostedEndpoint:
    """An endpoint, which may not exist.

    Args:
        place: project and region.
        vertex: machines, replicas and times.
        gcp: the key that disks are encrypted with.
        endpoint_id: of the resource.
    """

    def __init__(
        self, place: VertexPlace, vertex: VertexSettings, gcp: GcpSettings, endpoint_id: str
    ) -> None:
        self._place, self._vertex, self._gcp, self._id = place, vertex, gcp, endpoint_id
        self.name = f"{place.parent}/endpoints/{endpoint_id}"

    @property
    def url(self) -> str:
        """Base address; `ROUTE` after it asks for predictions, with a token of Google Cloud."""
        return f"{self._place.url}/v1/{self.name}"

    @property
    def console(self) -> str:
        """Link to its page."""
        return (
            f"https://console.cloud.google.com/vertex-ai/online-prediction/locations/{self._place.region}"
            f"/endpoints/{self._id}?project={self._place.project}"
        )

    @property
    def curl(self) -> tuple[str, ...]:
        """What lets a request by curl in: a token of the caller's own."""
        return ('-H "Authorization: Bearer $(gcloud auth print-access-token)"',)

    def deployed(self) -> list[Deployed] | None:
        """What is deployed, the largest share first; None where there is no endpoint."""
        from google.api_core.exceptions import NotFound

        try:
            found = self._client.get_endpoint(name=self.name)
        except NotFound:
            return None
        split = dict(found.traffic_split)
        items = [
            Deployed(item.id, item.display_name, split.get(item.id, 0)) for item in found.deployed_models
        ]
        return sorted(items, key=lambda item: -item.share)

    def ensure(self, title: str, labels: Mapping[str, str]) -> None:
        """Make it where it is not there."""
        if self.deployed() is not None:
            return
        endpoint: dict[str, Any] = {"display_name": title[:128], "labels": dict(labels)}
        if self._gcp.kms_key:
            endpoint["encryption_spec"] = {"kms_key_name": self._gcp.kms_key}
        asked = {"parent": self._place.parent, "endpoint": endpoint, "endpoint_id": self._id}
        self._finish(self._client.create_endpoint(request=asked))

    def deploy(
        self, model: str, config: str, before: Mapping[str, int], *, replicas: int | None = None
    ) -> str:
        """Deploy a version beside what is there; its id, once it is healthy.

        Args:
            model: the Model's resource name with its version.
            config: its display name.
            before: traffic split of the others; where there is none, the new one gets all.
            replicas: servers. Default: the settings'.

        Raises:
            DeploymentError: where it does not become healthy; the others go on as before.
        """
        from google.api_core.exceptions import GoogleAPICallError

        deployed: dict[str, Any] = {
            "model": model,
            "display_name": config,
            "dedicated_resources": {
                "machine_spec": {"machine_type": self._vertex.serving_machine},
                "min_replica_count": replicas or self._vertex.min_replicas,
                "max_replica_count": replicas or max(self._vertex.min_replicas, self._vertex.max_replicas),
            },
        }
        if self._vertex.service_account:
            deployed["service_account"] = self._vertex.service_account
        split = {**before, "0": 0} if before else {"0": 100}
        operation = self._client.deploy_model(
            endpoint=self.name, deployed_model=deployed, traffic_split=split
        )
        try:
            return self._finish(operation).deployed_model.id
        except GoogleAPICallError as error:
            raise DeploymentError(f"It did not start: {error.message}", where=self.console) from None

    def split(self, shares: Mapping[str, int]) -> None:
        """Set the traffic split, in one call."""
        endpoint = {"name": self.name, "traffic_split": dict(shares)}
        self._client.update_endpoint(endpoint=endpoint, update_mask={"paths": ["traffic_split"]})

    def undeploy(self, deployed_id: str) -> None:
        """End a version's servers; nothing happens where they are gone."""
        from google.api_core.exceptions import NotFound

        try:
            self._finish(
                self._client.undeploy_model(
                    endpoint=self.name, deployed_model_id=deployed_id, traffic_split={}
                )
            )
        except NotFound:
            return

    def empty(self) -> None:
        """End every server."""
        deployed = self.deployed() or []
        if len(deployed) > 1 and deployed[0].share:
            self.split({deployed[0].id: 100})  # what gets requests cannot be undeployed beside others
        for item in reversed(deployed):
            self.undeploy(item.id)

    def delete(self) -> None:
        """Empty it and delete it, where it is there."""
        from google.api_core.exceptions import NotFound

        if self.deployed() is None:
            return
        self.empty()
        try:
            self._finish(self._client.delete_endpoint(name=self.name))
        except NotFound:
            return

    def invoke(self, rows: Sequence[Any]) -> tuple[list[dict[str, Any]], str]:
        """Predictions for some rows, and the id of the deployed version that made them.

        Raises:
            DeploymentError: for any other answer than predictions.
        """
        response = authorized_session().post(
            f"{self.url}{ROUTE}",
            data=request_body(rows),
            headers={"Content-Type": "application/json"},
            timeout=_SECONDS,
        )
        if response.status_code != 200:
            told = redacted(response.text[:500])
            raise DeploymentError(f"It answered {response.status_code}: {told}", where="smoke test")
        predictions = json.loads(response.content)["predictions"]
        answers = [item if isinstance(item, dict) else {"prediction": item} for item in predictions]
        return answers, response.headers.get(_WHO, "")

    def log_tail(self, lines: int = 15) -> str:
        """The last lines that its servers wrote; empty where they cannot be read."""
        from google.auth.exceptions import GoogleAuthError
        from requests.exceptions import RequestException

        asked = {
            "resourceNames": [f"projects/{self._place.project}"],
            "filter": 'resource.type="aiplatform.googleapis.com/Endpoint" AND '
            f'resource.labels.endpoint_id="{self._id}"',
            "orderBy": "timestamp desc",
            "pageSize": lines,
        }
        try:
            url = f"{self._vertex.logging_endpoint.rstrip('/')}/v2/entries:list"
            response = authorized_session().post(url, json=asked, timeout=_SECONDS)
            response.raise_for_status()
            entries = response.json().get("entries", [])
        except (RequestException, GoogleAuthError):
            return ""
        texts = [
            item.get("textPayload") or item.get("jsonPayload", {}).get("message", "") for item in entries
        ]
        return redacted("\n".join(reversed(texts)))

    @property
    def _client(self) -> Any:
        return self._place.client("EndpointServiceClient")

    def _finish(self, operation: Any) -> Any:
        """The operation's response.

        Raises:
            DeploymentError: where it takes too long; it goes on, and the next deployment clears what it left.
        """
        from google.api_core.future.polling import DEFAULT_POLLING

        seconds, pause = self._vertex.deployment_timeout, self._vertex.poll_interval
        polling = DEFAULT_POLLING.with_delay(initial=pause, maximum=pause, multiplier=1.0)
        try:
            return operation.result(timeout=seconds, polling=polling)
        except TimeoutError:
            raise DeploymentError(
                f"Vertex AI was not done in {seconds:g} s.",
                where=self.console,
                mend="Raise MLOPS_VERTEX_DEPLOYMENT_TIMEOUT.",
            ) from None


def endpoint_id(root: ArtifactUri, model: str) -> str:
    """The id of a model's endpoint: two deployments (roots) in one project have endpoints of their own."""
    readable = re.sub(r"[^a-z0-9]+", "-", model.lower()).strip("-")[:40]
    return f"e-{readable}-{digest_of([str(root), model])[:8]}"
