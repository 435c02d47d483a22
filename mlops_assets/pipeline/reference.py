"""What drift is measured against: the profile of a dataset's training split, made when it is first needed.

Most datasets never see an arrival after them, so no run waits for a profile that nobody asks for. A dataset
is immutable; its profile is made once and kept under the training split's digest.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mlops_assets.artifacts import Dataset
from mlops_assets.errors import ArtifactError, DataError, StorageError
from mlops_assets.pipeline.names import Names
from mlops_assets.pipeline.profiling import FORMAT, profile_parquet
from mlops_assets.platforms.embedded import EmbeddedEngine

if TYPE_CHECKING:
    from mlops_assets.platforms.ports import Platform


def reference(platform: Platform, dataset: Dataset) -> Mapping[str, Any] | None:
    """The profile (profiling.py says what it holds); None where the split's file is gone."""
    store, train = platform.store, dataset.split("train")
    kept = Names(dataset.model).profile(store.root, f"{train.sha256}-{FORMAT}")
    if store.head(kept) is not None:
        return json.loads(store.read(kept))
    try:
        made = profile_parquet(
            EmbeddedEngine.of(platform.settings), platform.store.local(train.uri), dataset.columns
        )
    except (ArtifactError, DataError, StorageError):
        if store.head(train.uri) is None:
            return None
        raise
    store.write(kept, json.dumps(made, sort_keys=True, allow_nan=False).encode())
    return made
