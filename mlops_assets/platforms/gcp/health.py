"""What the Google Cloud platform looks at for `mlops-assets doctor`, beside what every cloud is asked."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from mlops_assets.platforms.gcp.vertex_settings import VertexSettings, current_vertex_settings
from mlops_assets.platforms.health import Checks, Finding, bucket, registry, transfer, warehouse

if TYPE_CHECKING:
    from mlops_assets.platforms.ports import Platform


def checks(platform: Platform) -> Checks:
    """Looks at what a run needs; what it writes it removes.

    Raises:
        SettingsError: where MLOPS_GCP_… or MLOPS_VERTEX_… is wrong or missing.
    """
    return {
        "image": partial(_image, current_vertex_settings()),
        "bucket": partial(bucket, platform),
        "warehouse": partial(warehouse, platform),
        "transfer": partial(transfer, platform),
        "registry": partial(registry, platform),
    }


def _image(settings: VertexSettings) -> Finding:
    return Finding("image", settings.needed("image"))
