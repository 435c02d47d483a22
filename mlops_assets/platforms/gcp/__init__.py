"""Google Cloud: Cloud Storage, BigQuery, Vertex AI. Adapters and their settings are read when first used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_assets.artifacts import ArtifactUri
from mlops_assets.platforms.health import Checks
from mlops_assets.platforms.ports import (
    Adapters,
    ArrivalEvents,
    BatchScorer,
    Endpoint,
    ModelRegistry,
    ObjectStore,
    Platform,
    Trainer,
    Warehouse,
)

if TYPE_CHECKING:
    from mlops_assets.settings import Settings


def build_platform(settings: Settings) -> Platform:
    """The platform below `MLOPS_GCP_ROOT`; what it keeps on this machine lies in `settings.root`."""
    adapters = Adapters(
        _store, _warehouse, _trainer, _registry, _endpoint, events=_events, checks=_checks, batch=_batch
    )
    return Platform(settings, adapters)


def _store(settings: Settings) -> ObjectStore:
    from mlops_assets.platforms.gcp.object_store import CloudStorageObjectStore
    from mlops_assets.platforms.gcp.settings import current_gcp_settings

    return CloudStorageObjectStore(settings, current_gcp_settings())


def _warehouse(settings: Settings) -> Warehouse:
    from mlops_assets.platforms.embedded import EmbeddedEngine
    from mlops_assets.platforms.gcp.bigquery import BigQuery
    from mlops_assets.platforms.gcp.bigquery_settings import current_bigquery_settings
    from mlops_assets.platforms.gcp.bigquery_staging import Staging
    from mlops_assets.platforms.gcp.settings import current_gcp_settings
    from mlops_assets.platforms.gcp.warehouse import BigQueryWarehouse

    bigquery = BigQuery(current_gcp_settings(), current_bigquery_settings())
    return BigQueryWarehouse(bigquery, Staging(_store(settings)), EmbeddedEngine.of(settings))


def _trainer(_settings: Settings, store: ObjectStore) -> Trainer:
    from mlops_assets.platforms.gcp.settings import current_gcp_settings
    from mlops_assets.platforms.gcp.trainer import VertexTrainer
    from mlops_assets.platforms.gcp.vertex_settings import current_vertex_settings

    return VertexTrainer(store, current_gcp_settings(), current_vertex_settings())


def _registry(settings: Settings, store: ObjectStore) -> ModelRegistry:
    from mlops_assets.platforms.gcp.registry import VertexRegistry
    from mlops_assets.platforms.gcp.settings import current_gcp_settings
    from mlops_assets.platforms.gcp.vertex_settings import current_vertex_settings

    return VertexRegistry(settings, current_gcp_settings(), current_vertex_settings(), store)


def _endpoint(settings: Settings, store: ObjectStore) -> Endpoint:
    from mlops_assets.platforms.gcp.endpoint import VertexEndpoint
    from mlops_assets.platforms.gcp.settings import current_gcp_settings
    from mlops_assets.platforms.gcp.vertex_settings import current_vertex_settings

    return VertexEndpoint(settings, store, current_gcp_settings(), current_vertex_settings())


def _batch(settings: Settings, store: ObjectStore) -> BatchScorer:
    from mlops_assets.platforms.gcp.batch import VertexBatchScorer
    from mlops_assets.platforms.gcp.settings import current_gcp_settings
    from mlops_assets.platforms.gcp.vertex_settings import current_vertex_settings

    return VertexBatchScorer(settings, store, current_gcp_settings(), current_vertex_settings())


def _events(prefix: ArtifactUri) -> ArrivalEvents | None:
    from mlops_assets.platforms.arrival_events import QueuedArrivalEvents
    from mlops_assets.platforms.gcp.arrival_events import PubSubQueue
    from mlops_assets.platforms.gcp.settings import current_gcp_settings

    gcp = current_gcp_settings()
    subscription = gcp.event_subscriptions.get(gcp.root.relative(prefix))
    return QueuedArrivalEvents(PubSubQueue(subscription), prefix) if subscription else None


def _checks(platform: Platform) -> Checks:
    from mlops_assets.platforms.gcp.health import checks

    return checks(platform)
