"""model_io_manager: fitted estimators as skops files in the object store, checked before they are parsed."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import dagster as dg

from mlops_assets.artifacts import digest_file
from mlops_assets.errors import ArtifactError, DataError
from mlops_assets.io_managers import context as read
from mlops_assets.io_managers.pointers import Pointers
from mlops_assets.platforms.ports import Platform

FILE = "model.skops"


class ModelIOManager(dg.IOManager):
    """Fitted estimators as data, never as code: a type that nobody trusts is neither stored nor loaded."""

    def __init__(self, platform: Platform) -> None:
        self._store = platform.store
        self._trusted = platform.settings.trusted_types
        self._pointers = Pointers(platform.store)

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Store the estimator, unless it could not be loaded again."""
        from mlops_assets.runtime.archive import dump_archive, load_archive

        name = read.name(context)
        _refuse_unfitted(obj, name)
        with tempfile.TemporaryDirectory(prefix="model-") as folder:
            files = Path(folder) / "files"
            files.mkdir()
            try:
                dump_archive(obj, files / FILE)
            except (TypeError, ValueError, NotImplementedError) as error:
                raise DataError(
                    f"{type(obj).__name__} cannot be stored by skops: {str(error)[:200]}.",
                    where=name,
                    mend="Return an estimator of scikit-learn, or one made of parts that skops knows.",
                ) from error
            load_archive(files / FILE, trusted_types=self._trusted)
            stored = self._pointers.publish(read.path(context), _partition(context, name), files)
        context.add_output_metadata(
            {
                "dagster/uri": str(stored.file(FILE)),
                "version": dg.MetadataValue.text(stored.version),
                "sha256": dg.MetadataValue.text(stored.files[FILE]),
                "estimator": dg.MetadataValue.text(f"{type(obj).__module__}.{type(obj).__qualname__}"),
            }
        )

    def load_input(self, context: dg.InputContext) -> Any:
        """The latest version, its digest checked first, then its types."""
        from mlops_assets.runtime.archive import load_archive

        stored = self._pointers.required(read.path(context), _partition(context, read.name(context)))
        path = self._store.local(stored.file(FILE))
        if digest_file(path) != stored.files.get(FILE):
            raise ArtifactError(
                "The model file is not the one that was stored.",
                where=str(stored.file(FILE)),
                mend="Materialise the asset again.",
            )
        return load_archive(path, trusted_types=self._trusted)


def _partition(context: dg.InputContext | dg.OutputContext, name: str) -> str | None:
    partitions = read.partitions(context)
    if partitions is not None and len(partitions) != 1:
        raise DataError(
            f"{len(partitions)} partitions are not one model.",
            where=name,
            mend="Store and load one partition per run (a PartitionMapping chooses it).",
        )
    return partitions[0] if partitions else None


def _refuse_unfitted(obj: Any, name: str) -> None:
    from sklearn.base import BaseEstimator
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    if not isinstance(obj, BaseEstimator):
        raise DataError(
            f"{type(obj).__name__} is no estimator.",
            where=name,
            mend="Return a fitted scikit-learn estimator or pipeline.",
        )
    try:
        check_is_fitted(obj)
    except NotFittedError:
        raise DataError(
            f"{type(obj).__name__} is not fitted.", where=name, mend="Call fit before returning it."
        ) from None


@dg.io_manager(required_resource_keys={"platform"})
def model_io_manager(context: Any) -> ModelIOManager:
    """Fitted estimators on the platform bound to the resource `platform`."""
    return ModelIOManager(context.resources.platform)
