"""Scoring a file with a registered version: what `mlops-assets predict` does."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlops_assets.artifacts import ArtifactUri, ModelVersion
from mlops_assets.errors import ArtifactError, DataError
from mlops_assets.platforms.ports import Platform


def located(text: str) -> Path | ArtifactUri:
    """A file of this machine, or an object where `text` is a URI of a store."""
    return ArtifactUri(text) if text.startswith(("s3://", "gs://")) else Path(text)


def predict(
    platform: Platform,
    name: str,
    data: Path | ArtifactUri,
    out: Path | ArtifactUri,
    version: int | None = None,
    *,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Score `data` to `out` with the champion of `name`, or with `version`.

    Args:
        platform: whose registry and store to use.
        name: the model.
        data: CSV, Parquet or JSON lines, by suffix; an object of the store is scored by the platform, which
            may take fewer formats.
        out: the same; every column of `data`, then the predictions. An object where `data` is one.
        version: default: the champion.
        progress: called with the number of rows done.

    Returns:
        `model`, `version`, `rows` (None where objects were scored), `out` (absolute path or URI), `seconds`.

    Raises:
        ArtifactError: where there is no such version, or its files are not the registered ones.
        DataError, SignatureError: naming file, row and column.
    """
    from mlops_assets.runtime.score import score

    chosen = platform.registry.champion(name) if version is None else platform.registry.get(name, version)
    if chosen is None:
        raise ArtifactError(
            f"{name} has no champion to predict with.",
            where="registry",
            mend=f"Run `mlops-assets run {name}`; where a version waits for approval, "
            f"`mlops-assets approve {name} VERSION`.",
        )
    started = time.monotonic()
    rows = None
    if isinstance(data, Path) and isinstance(out, Path):
        rows = score(
            platform.store.local(chosen.uri),
            data,
            out,
            files=chosen.files,
            trusted_types=platform.settings.trusted_types,
            progress=progress,
        )
    else:
        _score_objects(platform, chosen, data, out)
    return {
        "model": name,
        "version": chosen.version,
        "rows": rows,
        "out": str(out.absolute() if isinstance(out, Path) else out),
        "seconds": round(time.monotonic() - started, 3),
    }


def _score_objects(
    platform: Platform, version: ModelVersion, data: Path | ArtifactUri, out: Path | ArtifactUri
) -> None:
    batch = platform.batch
    if isinstance(data, Path) or isinstance(out, Path) or batch is None:
        raise DataError(
            "Files are scored to files, and objects to objects where the platform has a store elsewhere.",
            where=f"{data} to {out}",
            mend="Name two files, or two URIs below the root of MLOPS_PLATFORM's store.",
        )
    batch.score(version, data, out)
