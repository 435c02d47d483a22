"""The schema of defs.yaml's `attributes`: one pydantic model per section, defaults included."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from mlops_assets.artifacts.metrics import METRICS, metrics_for
from mlops_assets.artifacts.uri import check_key
from mlops_assets.artifacts.values import LogicalType
from mlops_assets.declaration.suggesting import one_of, suggest
from mlops_assets.errors import PathEscapeError

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]


class DeclaredValueError(ValueError):
    """A wrong value, with what its message needs to name the line and the mend.

    Attributes:
        what: what is wrong.
        at: path of the wrong key below the section that raised.
        mend: the close one of the known names, or what else to do.

    """

    def __init__(
        self,
        what: str,
        *,
        at: tuple[str | int, ...] = (),
        name: str = "",
        known: Iterable[str] = (),
        mend: str | None = None,
    ) -> None:
        known = list(known)
        self.what = what
        self.at = at
        self.mend = suggest(name, known, mend or one_of(known))
        super().__init__(f"{what}. {self.mend}")


def _known_metric(name: str) -> str:
    if name not in METRICS:
        raise DeclaredValueError(
            f"unknown metric {name!r}; known are {', '.join(METRICS)}", name=name, known=METRICS
        )
    return name


MetricName = Annotated[str, AfterValidator(_known_metric)]


def _prefix(value: str) -> str:
    try:
        return check_key(value.rstrip("/"))
    except PathEscapeError as error:
        raise DeclaredValueError(
            error.what, mend="Write a folder below the store, such as landing/houses/."
        ) from None


class Declared(BaseModel):
    """Base: unknown keys are mistakes."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class ArrivalColumn(Declared):
    """A column of arriving files.

    Attributes:
        type: logical type that values are parsed as.
        source: its name in the file, where that differs from the declared one.

    """

    type: LogicalType
    source: str | None = None
    description: str | None = None


def _column(value: Any) -> Any:
    return {"type": value} if isinstance(value, str) else value


class ColumnCheck(Declared):
    """A condition that every arriving row must meet; a row that does not goes to quarantine."""

    column: str
    min: float | None = None
    max: float | None = None
    not_null: bool = False
    one_of: tuple[str | int | float | bool, ...] | None = None
    matches: str | None = Field(
        default=None, description="Regular expression that the whole text must match."
    )


class Arrivals(Declared):
    """Where data arrives and what it looks like."""

    prefix: Annotated[str, AfterValidator(_prefix)]
    format: Literal["csv", "parquet", "json"] = "csv"
    columns: dict[
        str,
        Annotated[
            ArrivalColumn, BeforeValidator(_column, json_schema_input_type=LogicalType | ArrivalColumn)
        ],
    ] = Field(min_length=1)
    checks: tuple[ColumnCheck, ...] = ()
    delimiter: str = Field(default=",", min_length=1, max_length=1)
    null_values: tuple[str, ...] = ("",)

    @model_validator(mode="after")
    def _checks_name_columns(self) -> Self:
        for index, check in enumerate(self.checks):
            if check.column not in self.columns:
                raise DeclaredValueError(
                    f"a check names the unknown column {check.column!r}",
                    at=("checks", index, "column"),
                    name=check.column,
                    known=self.columns,
                )
        return self


class SplitSpec(Declared):
    """How rows are divided.

    Attributes:
        by: `hash` (of the key, so an entity never changes its split), or `time` (oldest to train).
        key: column that identifies an entity; without one a row is its own entity.
        column: the time column, for `time`.
        seed: changes the hash split.
        train, validation, test: shares that add up to 1.

    """

    by: Literal["hash", "time"] = "hash"
    key: str | None = None
    column: str | None = None
    seed: int = 42
    train: float = Field(default=0.6, gt=0, lt=1)
    validation: float = Field(default=0.2, gt=0, lt=1)
    test: float = Field(default=0.2, gt=0, lt=1)

    @model_validator(mode="after")
    def _shares(self) -> Self:
        total = self.train + self.validation + self.test
        if abs(total - 1) > 1e-9:
            raise DeclaredValueError(
                f"train + validation + test must be 1, not {total:g}",
                mend="Give three shares that add up to 1.",
            )
        if self.by == "time" and self.column is None:
            raise DeclaredValueError(
                "a split by time needs `column`, the time column", mend="Add `column: <time column>`."
            )
        return self


class DatasetSpec(Declared):
    """Which relation becomes the training dataset."""

    source: Name = Field(alias="from", description="Table under sql/, or `arrivals`.")
    split: SplitSpec = Field(default_factory=SplitSpec)


class Preprocessing(Declared):
    """What happens to the features inside the model.

    Attributes:
        numeric_impute: for missing numbers; `none` leaves them to estimators that take NaN.
        scale: standardise numbers (fitted on the training split alone).
        encode: `onehot`, or `ordinal` (for trees).
        max_categories: rarer categories are grouped beyond this many.

    """

    numeric_impute: Literal["median", "mean", "zero", "none"] = "median"
    scale: bool = False
    encode: Literal["onehot", "ordinal"] = "onehot"
    max_categories: int = Field(default=50, ge=2)


class Training(Declared):
    """What is trained: an estimator by name, or the user's own program."""

    task: Literal["regression", "classification"]
    target: str
    estimator: str | None = None
    program: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_\-]+\.py$")
    parameters: dict[str, Any] = Field(default_factory=dict)
    features: tuple[str, ...] | None = Field(
        default=None, description="Default: every column but target, key and time."
    )
    exclude: tuple[str, ...] = ()
    preprocessing: Preprocessing = Field(default_factory=Preprocessing)
    seed: int = 0
    timeout: float | None = Field(default=None, gt=0, description="Seconds; none by default.")

    @model_validator(mode="after")
    def _one_program(self) -> Self:
        if (self.estimator is None) == (self.program is None):
            raise DeclaredValueError(
                "give either `estimator` or `program`",
                mend="Name one estimator (`estimator: sklearn.ensemble.RandomForestRegressor`), or one file "
                "(`program: train.py`).",
            )
        return self


class EvaluationSpec(Declared):
    """How a candidate is measured."""

    metrics: tuple[MetricName, ...] | None = Field(default=None, description="Default: all of the task.")
    slices: tuple[str, ...] = ()
    bootstrap: int = Field(
        default=200, ge=0, le=10_000, description="Resamples for the confidence intervals; 0: none."
    )
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    importance: bool = True


class BaselineGate(Declared):
    """Better than the naive baseline by at least this share of the baseline's value (0.1: 10 % better)."""

    better_by: float = Field(default=0.0, ge=0)


class ChampionGate(Declared):
    """No worse than the champion on the same rows, by more than this share of the champion's value."""

    tolerance: float = Field(default=0.0, ge=0)


class Gate(Declared):
    """A condition on one metric. Several of min, max, baseline and champion hold together."""

    metric: MetricName
    min: float | None = None
    max: float | None = None
    baseline: BaselineGate | None = None
    champion: ChampionGate | None = None
    slice: str | None = Field(
        default=None,
        description="A slice column (min and max hold in each of its slices), or one `column=value`.",
    )
    min_rows: int = Field(default=30, ge=1, description="A slice with fewer rows is reported, not judged.")
    severity: Literal["error", "warn"] = "error"

    @model_validator(mode="after")
    def _asks_something(self) -> Self:
        if self.min is None and self.max is None and self.baseline is None and self.champion is None:
            raise DeclaredValueError(
                "a gate needs at least one of min, max, baseline, champion",
                mend="Add `min: …` or another of them.",
            )
        if self.slice is not None and (self.baseline or self.champion):
            raise DeclaredValueError(
                "a gate on a slice takes min and max only",
                mend="Move baseline or champion to a gate without a slice.",
            )
        return self

    @property
    def name(self) -> str:
        """A name for the asset check: metric, kind and slice, in letters that Dagster allows."""
        kinds = [kind for kind in ("min", "max", "baseline", "champion") if getattr(self, kind) is not None]
        text = "_".join([self.metric, *kinds, *([self.slice] if self.slice else [])])
        return "".join(letter if letter.isalnum() else "_" for letter in text)


class RegistrySpec(Declared):
    """Whether a registered version becomes champion by itself or waits for a person."""

    approval: Literal["automatic", "manual"] = "automatic"


class EndpointSpec(Declared):
    """Whether and how the champion serves."""

    enabled: bool = True
    smoke_rows: int = Field(default=20, ge=1, le=1000)


class Monitoring(Declared):
    """When a new arrival counts as drifted.

    Attributes:
        psi: population stability index per column (0.1 slight, 0.2 marked; Siddiqi 2006).
        ks: largest distance of the two distribution functions, numeric columns.
        null_rate: rise of the share of missing values, absolute.
        new_categories: share of rows with a category never seen in training.

    """

    psi: float = Field(default=0.2, gt=0)
    ks: float = Field(default=0.2, gt=0, le=1)
    null_rate: float = Field(default=0.1, gt=0, le=1)
    new_categories: float = Field(default=0.05, gt=0, le=1)
    columns: tuple[str, ...] | None = None
    severity: Literal["error", "warn"] = "warn"


class ModelDeclaration(Declared):
    """One model, from arriving files to monitoring."""

    name: Name
    description: str | None = None
    owners: tuple[str, ...] = ()
    tags: dict[str, str] = Field(default_factory=dict)
    arrivals: Arrivals
    tables: str = Field(
        default="sql/", description="Folder of SQL files beside defs.yaml: one SELECT per file."
    )
    dataset: DatasetSpec
    training: Training
    evaluation: EvaluationSpec = Field(default_factory=EvaluationSpec)
    gates: tuple[Gate, ...] = Field(min_length=1)
    registry: RegistrySpec = Field(default_factory=RegistrySpec)
    endpoint: EndpointSpec = Field(default_factory=EndpointSpec)
    monitoring: Monitoring = Field(default_factory=Monitoring)
    schedule: str | None = Field(
        default=None, description="Cron expression of the retraining job; none by default."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        known = metrics_for(self.training.task)
        names: set[str] = set()
        for index, gate in enumerate(self.gates):
            place = ("gates", index)
            if gate.metric not in known:
                raise DeclaredValueError(
                    f"gate metric {gate.metric!r} is not defined for {self.training.task}",
                    at=(*place, "metric"),
                    name=gate.metric,
                    known=known,
                )
            column = gate.slice.split("=", 1)[0] if gate.slice else None
            if column is not None and column not in self.evaluation.slices:
                raise DeclaredValueError(
                    f"a gate names the slice {gate.slice!r}, but evaluation.slices has no {column!r}",
                    at=(*place, "slice"),
                    name=column,
                    known=self.evaluation.slices,
                    mend=f"Name a column of the dataset and add it under evaluation: `slices: [{column}]`.",
                )
            if self.evaluation.metrics is not None and gate.metric not in self.evaluation.metrics:
                raise DeclaredValueError(
                    f"the gate's metric {gate.metric!r} is left out by evaluation.metrics",
                    at=(*place, "metric"),
                    mend=f"Add {gate.metric} to evaluation.metrics.",
                )
            if gate.name in names:
                raise DeclaredValueError(
                    "two gates have the same metric, conditions and slice", at=place, mend="Keep one of them."
                )
            names.add(gate.name)
        return self
