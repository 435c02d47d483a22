"""model.json: what a stored model expects and answers, parsed and checked before any model file is opened."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mlops_assets.artifacts.metrics import Task
from mlops_assets.artifacts.values import LogicalType
from mlops_assets.errors import ArtifactError

Label = bool | int | float | str


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Feature(_Part):
    """A feature in the order the model takes it; `categories` are those seen in training, for people."""

    name: str
    type: LogicalType
    nullable: bool = True
    categories: tuple[str, ...] | None = None


class Target(_Part):
    """What is predicted; `classes`, sorted, for a classification."""

    name: str
    type: LogicalType
    classes: tuple[Label, ...] | None = None


class Delimited(_Part):
    """How arriving CSV is written, so that a file like those of the training is scored as it is."""

    delimiter: str = ","
    null_values: tuple[str, ...] = ("",)


class Baseline(_Part):
    """The naive prediction: the mean of the training target, or its classes' shares.

    Attributes:
        value: the mean, for a regression.
        prior: share of each class, in the order of `Target.classes`.
    """

    kind: Literal["mean", "prior"]
    value: float | None = None
    prior: tuple[float, ...] | None = None


class Signature(_Part):
    """The whole of model.json.

    Attributes:
        aliases: column name in arriving files -> feature, where they differ.
        csv: how arriving files are written, where they are CSV.
        metrics: of the validation split, as seen while training.
        libraries: distribution -> version that the model was trained with.
    """

    format: Literal[1] = 1
    model: str
    task: Task
    target: Target
    features: tuple[Feature, ...] = Field(min_length=1)
    aliases: dict[str, str] = Field(default_factory=dict)
    csv: Delimited = Field(default_factory=Delimited)
    estimator: str
    parameters: dict[str, Any] = Field(default_factory=dict)
    preprocessing: dict[str, Any] = Field(default_factory=dict)
    seed: int = 0
    dataset_version: str
    baseline: Baseline
    metrics: dict[str, float | None] = Field(default_factory=dict)
    libraries: dict[str, str] = Field(default_factory=dict)

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes as text, in order: what `probability_<class>` columns are named by."""
        return tuple(label_text(label) for label in self.target.classes or ())

    @property
    def names(self) -> tuple[str, ...]:
        """The features' names, in order."""
        return tuple(feature.name for feature in self.features)

    def to_json(self) -> bytes:
        """Canonical bytes: sorted keys, indented, no NaN."""
        value = self.model_dump(mode="json")
        return (
            json.dumps(value, sort_keys=True, indent=1, allow_nan=False, ensure_ascii=False).encode() + b"\n"
        )

    @classmethod
    def read(cls, path: Path) -> Signature:
        """Parse model.json.

        Raises:
            ArtifactError: where it is missing or not a signature of this format; the message names the entry.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError:
            raise ArtifactError(
                "The model's signature is missing.", where=str(path), mend="Train the candidate again."
            ) from None
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            raise ArtifactError(
                f"model.json is not a signature of format 1: {place or 'the file'}: {first['msg']}.",
                where=str(path),
                mend="Train the candidate again with this version of mlops_assets.",
            ) from None


def label_text(label: Label) -> str:
    """A class as text: `true`/`false` for bools, as JSON writes them."""
    return str(label).lower() if isinstance(label, bool) else str(label)
