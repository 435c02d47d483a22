"""The local platform: one folder, nothing installed but Python. Adapters are imported when first used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_assets.platforms.health import Checks
from mlops_assets.platforms.ports import (
    Adapters,
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
    """The local platform in `settings.root`."""
    return Platform(settings, Adapters(_store, _warehouse, _trainer, _registry, _endpoint, checks=_checks))


def _store(settings: Settings) -> ObjectStore:
    from mlops_assets.platforms.local.object_store import LocalObjectStore

    return LocalObjectStore(settings)


def _warehouse(settings: Settings) -> Warehouse:
    from mlops_assets.platforms.local.warehouse_process import LocalWarehouse

    return LocalWarehouse(settings)


def _trainer(settings: Settings, store: ObjectStore) -> Trainer:
    from mlops_assets.platforms.local.trainer import SubprocessTrainer

    return SubprocessTrainer(settings, store)


def _registry(settings: Settings, store: ObjectStore) -> ModelRegistry:
    from mlops_assets.platforms.local.registry import MlflowRegistry

    return MlflowRegistry(settings, store)


def _endpoint(settings: Settings, store: ObjectStore) -> Endpoint:
    from mlops_assets.platforms.local.endpoint import LocalEndpoint

    return LocalEndpoint(settings, store)


def _checks(platform: Platform) -> Checks:
    from mlops_assets.platforms.local.health import checks

    return checks(platform)
