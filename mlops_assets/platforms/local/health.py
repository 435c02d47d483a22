"""What the local platform looks at for `mlops-assets doctor`: its two files."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from mlops_assets.platforms.health import Checks, Finding, registry, warehouse

if TYPE_CHECKING:
    from mlops_assets.platforms.ports import Platform


def checks(platform: Platform) -> Checks:
    """Looks at the warehouse and the registry, where they are made already."""
    return {
        "warehouse": partial(_warehouse, platform),
        "registry": partial(_registry, platform),
    }


def _warehouse(platform: Platform) -> Finding:
    if not (platform.settings.root / "warehouse.duckdb").exists():
        return Finding("warehouse", "not made yet")
    return warehouse(platform)


def _registry(platform: Platform) -> Finding:
    if not (platform.settings.root / "mlflow.db").exists():
        return Finding("registry", "not made yet")
    return registry(platform)
