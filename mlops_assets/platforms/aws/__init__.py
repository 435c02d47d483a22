"""The AWS platform: S3, Redshift, SageMaker. Adapters and their settings are read when first used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_assets.artifacts import ArtifactUri
from mlops_assets.platforms.health import Checks
from mlops_assets.platforms.model_registry import ModelRegistry
from mlops_assets.platforms.ports import (
    Adapters,
    ArrivalEvents,
    BatchScorer,
    Endpoint,
    ObjectStore,
    Platform,
    Trainer,
    Warehouse,
)

if TYPE_CHECKING:
    from mlops_assets.settings import Settings


def build_platform(settings: Settings) -> Platform:
    """The AWS platform below `MLOPS_AWS_ROOT`; what it keeps on this machine lies in `settings.root`."""
    adapters = Adapters(_store, _warehouse, _trainer, _registry, _endpoint, _events, _checks, _batch)
    return Platform(settings, adapters)


def _store(settings: Settings) -> ObjectStore:
    from mlops_assets.platforms.aws.object_store import S3ObjectStore
    from mlops_assets.platforms.aws.settings import current_aws_settings

    return S3ObjectStore(settings, current_aws_settings())


def _warehouse(settings: Settings) -> Warehouse:
    from mlops_assets.platforms.aws.client import client
    from mlops_assets.platforms.aws.redshift_settings import current_redshift_settings
    from mlops_assets.platforms.aws.redshift_warehouse import build_warehouse
    from mlops_assets.platforms.aws.settings import current_aws_settings

    aws = current_aws_settings()
    return build_warehouse(
        current_redshift_settings(),
        staging=aws.root.join("staging", "redshift"),
        clients=lambda service: client(service, aws.region),
        settings=settings,
    )


def _trainer(_settings: Settings, store: ObjectStore) -> Trainer:
    from mlops_assets.platforms.aws.object_store import S3ObjectStore
    from mlops_assets.platforms.aws.settings import current_aws_settings
    from mlops_assets.platforms.aws.trainer import SageMakerTrainer

    assert isinstance(store, S3ObjectStore)
    return SageMakerTrainer(store, current_aws_settings())


def _registry(settings: Settings, store: ObjectStore) -> ModelRegistry:
    from mlops_assets.platforms.aws.registry import SageMakerRegistry
    from mlops_assets.platforms.aws.settings import current_aws_settings

    return SageMakerRegistry(settings, current_aws_settings(), store)


def _endpoint(settings: Settings, store: ObjectStore) -> Endpoint:
    from mlops_assets.platforms.aws.endpoint import SageMakerEndpoint
    from mlops_assets.platforms.aws.settings import current_aws_settings

    return SageMakerEndpoint(settings, store, current_aws_settings())


def _batch(settings: Settings, store: ObjectStore) -> BatchScorer:
    from mlops_assets.platforms.aws.batch import SageMakerBatchScorer
    from mlops_assets.platforms.aws.object_store import S3ObjectStore
    from mlops_assets.platforms.aws.settings import current_aws_settings

    assert isinstance(store, S3ObjectStore)
    return SageMakerBatchScorer(settings, store, current_aws_settings())


def _events(prefix: ArtifactUri) -> ArrivalEvents | None:
    from mlops_assets.platforms.arrival_events import QueuedArrivalEvents
    from mlops_assets.platforms.aws.arrival_events import SqsQueue
    from mlops_assets.platforms.aws.settings import current_aws_settings

    aws = current_aws_settings()
    url = aws.event_queues.get(aws.root.relative(prefix))
    return QueuedArrivalEvents(SqsQueue(aws, url), prefix) if url else None


def _checks(platform: Platform) -> Checks:
    from mlops_assets.platforms.aws.health import checks

    return checks(platform)
