"""The code location: every model below Settings.defs, bound to the platform that the settings name."""

from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

if TYPE_CHECKING:
    from mlops_assets.settings import Settings


def build(
    settings: Settings,
    *,
    models: Sequence[str] | None = None,
    resource_overrides: Mapping[str, Any] | None = None,
) -> dg.Definitions:
    """The definitions of the models declared below `settings.defs`, with their resources.

    Args:
        settings: this deployment's settings.
        models: names of the models to build; default: all.
        resource_overrides: resources in place of the platform's own.

    Raises:
        DeclarationError: listing every mistake of every declaration.
        NotInstalledError: where the platform is not installed.
    """
    from mlops_assets.declaration.loading import load_all
    from mlops_assets.pipeline.build import model_defs
    from mlops_assets.platforms.binding import build_platform, resources_for

    declared = load_all(
        settings.defs, allowed_estimators=settings.allowed_estimators, cache=settings.parse_cache
    )
    wanted = [loaded for loaded in declared if models is None or loaded.name in models]
    resources = {**resources_for(build_platform(settings)), **(resource_overrides or {})}
    parts = [model_defs(loaded, settings) for loaded in wanted]
    return dg.Definitions.merge(*parts, dg.Definitions(resources=resources))


@dg.definitions
def defs() -> dg.Definitions:
    """What `dagster dev` and `dg` load."""
    # Dagster's own objects live as long as the process: looking through them for garbage in the midst of our
    # imports took a tenth of the whole loading time.
    gc.freeze()
    from mlops_assets.settings import load_settings

    return build(load_settings())
