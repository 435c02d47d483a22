"""What the Google Cloud platform looks at for `mlops-assets doctor`: caller, place, Vertex AI, image."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING

from mlops_assets.errors import SettingsError
from mlops_assets.platforms.gcp.bigquery_settings import BigQuerySettings, current_bigquery_settings
from mlops_assets.platforms.gcp.client import TIMEOUT, credentials, speaking, storage_client
from mlops_assets.platforms.gcp.settings import GcpSettings, current_gcp_settings
from mlops_assets.platforms.gcp.vertex_client import place_of
from mlops_assets.platforms.gcp.vertex_settings import VertexSettings, current_vertex_settings
from mlops_assets.platforms.health import Checks, Finding, bucket, registry, transfer, warehouse

if TYPE_CHECKING:
    from mlops_assets.platforms.ports import Platform

_REGION = re.compile(r"^[a-z]+-[a-z]+\d+$")


def checks(platform: Platform) -> Checks:
    """Looks at what a run needs; what it writes it removes.

    Raises:
        SettingsError: where MLOPS_GCP_…, MLOPS_BIGQUERY_… or MLOPS_VERTEX_… is wrong or missing.
    """
    gcp, vertex = current_gcp_settings(), current_vertex_settings()
    return {
        "credentials": _credentials,
        "project": partial(_project, gcp, vertex),
        "region": partial(_region, gcp, vertex),
        "bucket": partial(bucket, platform),
        "location": partial(_location, gcp),
        "datasets": partial(_datasets, gcp, current_bigquery_settings()),
        "warehouse": partial(warehouse, platform),
        "transfer": partial(transfer, platform),
        "vertex": partial(_vertex, gcp, vertex),
        "service account": partial(_service_account, vertex),
        "image": partial(_image, vertex),
        "registry": partial(registry, platform),
    }


def _credentials() -> Finding:
    """Who calls: a service account by its address; a person's login does not tell it."""
    from google.auth.transport.requests import Request

    with speaking("credentials", SettingsError):
        found, _ = credentials()
        found.refresh(Request())
    account = getattr(found, "service_account_email", None) or getattr(found, "account", None)
    return Finding("credentials", str(account or f"a login without an address ({type(found).__name__})"))


def _project(gcp: GcpSettings, vertex: VertexSettings) -> Finding:
    named = "MLOPS_GCP_PROJECT" if gcp.project else "the credentials"
    return Finding("project", f"{place_of(gcp, vertex).project}, by {named}")


def _region(gcp: GcpSettings, vertex: VertexSettings) -> Finding:
    """Vertex AI is in regions alone; a location of several is for buckets and datasets."""
    region = place_of(gcp, vertex).region
    if not _REGION.match(region):
        return Finding(
            "region",
            f"{region} is no region of Vertex AI",
            f"Set MLOPS_VERTEX_REGION to a region in {gcp.location}, such as europe-west4 in EU.",
        )
    return Finding("region", f"{region} for jobs and models, {gcp.location} for datasets")


def _location(gcp: GcpSettings) -> Finding:
    """Where the bucket lies; not everybody who may use it may ask that."""
    from google.api_core.exceptions import Forbidden

    name = gcp.root.bucket
    with speaking(name):
        try:
            found = storage_client(gcp.project).get_bucket(name, timeout=TIMEOUT[1])
        except Forbidden:
            return Finding(
                "location", f"{gcp.location}; the bucket's is not told: storage.buckets.get is denied"
            )
    at, ours = str(found.location).lower(), gcp.location.lower()
    if found.location_type == "region" and _REGION.match(ours) and at != ours:
        return Finding(
            "location",
            f"{gcp.location}, but the bucket lies in {at}",
            "Set MLOPS_GCP_LOCATION to the bucket's location, or take a bucket there: BigQuery loads from "
            "buckets of its own location.",
        )
    return Finding("location", f"{gcp.location}; the bucket lies in {at}")


def _datasets(gcp: GcpSettings, settings: BigQuerySettings) -> Finding:
    """Datasets of another location cannot be joined with these, nor filled from the bucket."""
    from google.api_core.exceptions import NotFound
    from google.cloud import bigquery

    name = settings.staging_dataset
    with speaking("BigQuery"):
        client = bigquery.Client(project=gcp.project, location=gcp.location)
        try:
            at = str(client.get_dataset(name).location)
        except NotFound:
            return Finding("datasets", f"{name} is not there yet: its first use makes it in {gcp.location}")
    if at.lower() != gcp.location.lower():
        return Finding(
            "datasets",
            f"{name} lies in {at}, not in {gcp.location}",
            "Set MLOPS_GCP_LOCATION to the datasets' and bucket's, or MLOPS_BIGQUERY_STAGING_DATASET to "
            "another name.",
        )
    return Finding("datasets", f"{name} lies in {at}")


def _vertex(gcp: GcpSettings, vertex: VertexSettings) -> Finding:
    """Jobs can be listed, so the API is enabled there and the caller is let in."""
    place = place_of(gcp, vertex)
    try:
        with speaking("Vertex AI", SettingsError):
            jobs = place.client("JobServiceClient").list_custom_jobs(
                request={"parent": place.parent, "page_size": 1}, retry=None, timeout=60
            )
            any(jobs)
    except SettingsError as error:
        enable = f"gcloud services enable aiplatform.googleapis.com --project {place.project}"
        return Finding("vertex", error.what, f"{error.mend} Where the API is not enabled: {enable}")
    return Finding("vertex", f"{place.url} lists jobs of {place.parent}")


def _service_account(vertex: VertexSettings) -> Finding:
    """Whom jobs run as. Whether the caller may let them shows with the first job alone."""
    account = vertex.service_account or "Vertex AI's own: MLOPS_VERTEX_SERVICE_ACCOUNT is not set"
    return Finding("service account", f"jobs and model servers run as {account}")


def _image(settings: VertexSettings) -> Finding:
    return Finding("image", settings.needed("image"))
