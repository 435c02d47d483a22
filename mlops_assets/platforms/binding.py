"""Which platform: MLOPS_PLATFORM binds one, by name, and the resources of every asset with it."""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from mlops_assets.errors import NotInstalledError
from mlops_assets.platforms.ports import Platform

if TYPE_CHECKING:
    from mlops_assets.settings import Settings

_NEEDS = {"aws": "boto3", "gcp": "google.cloud.storage"}


def build_platform(settings: Settings) -> Platform:
    """The platform that `settings.platform` names.

    Raises:
        NotInstalledError: where its packages are not installed.
    """
    name = settings.platform
    needed = _NEEDS.get(name)
    if needed is not None and not _installed(needed):
        raise NotInstalledError(
            f"The platform {name!r} is not installed ({needed} is missing).",
            where="MLOPS_PLATFORM",
            mend=f"Run: pip install 'mlops-assets[{name}]', or set MLOPS_PLATFORM=local.",
        )
    return import_module(f"mlops_assets.platforms.{name}").build_platform(settings)


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def resources_for(platform: Platform) -> dict[str, Any]:
    """The resources of every asset, bound to `platform`."""
    from mlops_assets.io_managers import dataset_io_manager, model_io_manager, table_io_manager
    from mlops_assets.pipeline.handover import handover_io_manager

    return {
        "platform": platform,
        "handover": handover_io_manager,
        "table_io_manager": table_io_manager,
        "dataset_io_manager": dataset_io_manager,
        "model_io_manager": model_io_manager,
    }


@lru_cache(maxsize=1)
def resources() -> dict[str, Any]:
    """The resources of this process's settings; one object, so that definitions of several models merge."""
    from mlops_assets.settings import current_settings

    return resources_for(build_platform(current_settings()))
