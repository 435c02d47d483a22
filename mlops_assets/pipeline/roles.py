"""Which relation a dataset is made of, and which of its columns is target, key, time or feature."""

from __future__ import annotations

from dataclasses import dataclass

from mlops_assets.artifacts import Column, TableRef
from mlops_assets.declaration.loaded import LoadedDeclaration
from mlops_assets.errors import DataError, DeclarationError
from mlops_assets.pipeline.intake import PROVENANCE
from mlops_assets.pipeline.splits import RESERVED
from mlops_assets.platforms.ports import Platform


@dataclass(frozen=True)
class Source:
    """The relation that a dataset is made of, with its version and columns as they are now."""

    relation: str
    version: str
    columns: tuple[Column, ...]

    @classmethod
    def of(cls, platform: Platform, ref: TableRef) -> Source:
        """The relation that `ref` names, without the columns that say where a row came from.

        Raises:
            DataError: where the relation is gone.

        """
        columns = platform.warehouse.columns(ref.relation)
        if columns is None:
            raise DataError(
                "The relation is not in the warehouse.",
                where=ref.relation,
                mend="Materialise it, then the dataset.",
            )
        kept = tuple(column for column in columns if column.name not in PROVENANCE)
        return cls(ref.relation, ref.version, kept)


@dataclass(frozen=True)
class Roles:
    """Which column is what."""

    target: Column
    features: tuple[str, ...]
    key: str | None
    time: str | None

    @classmethod
    def of(cls, loaded: LoadedDeclaration, source: Source) -> Roles:
        """The declared roles, each checked against the columns that are there.

        Raises:
            DeclarationError: naming the column that is missing or cannot play its role.

        """
        training, split = loaded.spec.training, loaded.spec.dataset.split
        columns = {column.name: column for column in source.columns}
        named = {
            "training.target": training.target,
            "dataset.split.key": split.key,
            "dataset.split.column": split.column,
        }
        named |= {f"training.features[{place}]": name for place, name in enumerate(training.features or ())}
        for where, name in named.items():
            if name is not None and name not in columns:
                raise DeclarationError(
                    f"There is no column {name!r} in {source.relation}; it has {', '.join(columns)}.",
                    where=f"{loaded.folder / 'defs.yaml'}, {where}",
                    mend="Name one of them, or select it in the table's SQL.",
                )
        reserved = [name for name in columns if name.startswith(RESERVED)]
        if reserved:
            raise DeclarationError(
                f"The column {reserved[0]!r} has a reserved name.", where=source.relation, mend="Rename it."
            )
        target = columns[training.target]
        if training.task == "regression" and target.type not in ("int", "float"):
            raise DeclarationError(
                f"The target {target.name!r} is {target.type}; regression needs a number.",
                where=f"{loaded.folder / 'defs.yaml'}, training.target",
                mend="Cast it in the table's SQL, or declare task: classification.",
            )
        time = split.column if split.by == "time" else None
        left_out = {target.name, split.key, split.column, *training.exclude}
        features = training.features or tuple(name for name in columns if name not in left_out)
        if target.name in features or not features:
            raise DeclarationError(
                f"The target {target.name!r} is also a feature."
                if features
                else "No column is left as a feature.",
                where=f"{loaded.folder / 'defs.yaml'}, training.features",
                mend="Take it out." if features else "Select more columns, or exclude fewer.",
            )
        return cls(target, features, split.key, time)
