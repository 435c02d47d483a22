"""Vertex AI's clients (gapic, over REST) and where in Vertex AI this deployment is."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from mlops_assets.errors import SettingsError
from mlops_assets.platforms.gcp.client import speaking

if TYPE_CHECKING:
    from mlops_assets.platforms.gcp.settings import GcpSettings
    from mlops_assets.platforms.gcp.vertex_settings import VertexSettings

_SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)


@dataclass(frozen=True)
class VertexPlace:
    """A project and region of Vertex AI.

    Attributes:
        endpoint: address of the API; a bare host is reached by HTTPS.
    """

    project: str
    region: str
    endpoint: str

    @property
    def parent(self) -> str:
        """`projects/<project>/locations/<region>`."""
        return f"projects/{self.project}/locations/{self.region}"

    def client(self, kind: str) -> Any:
        """A client of aiplatform_v1 by its class's name, one per process.

        Raises:
            SettingsError: where no credentials are found.
        """
        return _client(kind, self.endpoint)

    @property
    def url(self) -> str:
        """The API's address with its scheme."""
        return self.endpoint if "://" in self.endpoint else f"https://{self.endpoint}"


def place_of(gcp: GcpSettings, vertex: VertexSettings) -> VertexPlace:
    """Where jobs, models and endpoints are.

    Raises:
        SettingsError: where neither the settings nor the credentials name a project.
    """
    project = gcp.project or credentials()[1]
    if not project:
        raise SettingsError(
            "No project is known.", where="environment or .env", mend="Set MLOPS_GCP_PROJECT."
        )
    region = vertex.region or gcp.location.lower()
    return VertexPlace(project, region, vertex.endpoint or f"{region}-aiplatform.googleapis.com")


@lru_cache(maxsize=1)
def authorized_session() -> Any:
    """A session of requests that logs in as every client does, for what has no client library here."""
    from google.auth.transport.requests import AuthorizedSession

    return AuthorizedSession(credentials()[0])


@lru_cache(maxsize=16)
def _client(kind: str, endpoint: str) -> Any:
    from google.cloud import aiplatform_v1

    with speaking("Vertex AI"):
        return getattr(aiplatform_v1, kind)(
            credentials=credentials()[0], transport="rest", client_options={"api_endpoint": endpoint}
        )


@lru_cache(maxsize=1)
def credentials() -> tuple[Any, str | None]:
    """The Application Default Credentials, and the project that they name.

    Raises:
        SettingsError: where there are none.
    """
    import google.auth

    with speaking("Google Cloud"):
        return google.auth.default(scopes=_SCOPES)
