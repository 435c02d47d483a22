"""The values that stages hand on, as frozen pydantic models: JSON in the object store, typed in the code."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from mlops_assets.artifacts.digest import digest_of
from mlops_assets.artifacts.uri import ArtifactUri

LogicalType = Literal["int", "float", "bool", "string", "timestamp", "date"]


def now() -> datetime:
    """The time now, in UTC."""
    return datetime.now(UTC)


class Value(BaseModel):
    """Base: frozen, unknown fields refused, NaN and infinities refused when serialised to a digest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def content_digest(self, *exclude: str) -> str:
        """SHA-256 of the canonical JSON of every field but `exclude`."""
        return digest_of(self.model_dump(mode="json", exclude=set(exclude)))


class Column(Value):
    """A column's name and logical type."""

    name: str
    type: LogicalType


class TableRef(Value):
    """A relation in the warehouse at one version.

    Attributes:
        relation: `schema.table`, unquoted.
        version: digest of the query, its inputs' versions and the engine: the asset's data version.
        rows: rows at that version; None for a view.
    """

    relation: str
    version: str
    columns: tuple[Column, ...] = ()
    rows: int | None = None


class Split(Value):
    """One Parquet file of a dataset: its URI, rows and SHA-256."""

    name: Literal["train", "validation", "test"]
    uri: ArtifactUri
    rows: int
    sha256: str


class Dataset(Value):
    """An immutable training dataset, named by its content.

    Attributes:
        version: digest of the table's version, the query, the split and the splits' bytes.
        uri: folder of the splits and `manifest.json` (this value).
        columns: every column of the splits, in order (key and time included).
        features: the columns that a model may see, in order.
        upstream: version of each table the dataset came from, by relation.
        passthrough: dataset column -> column of the arrivals it copies unchanged (from the column lineage).
    """

    model: str
    version: str
    uri: ArtifactUri
    splits: tuple[Split, ...]
    columns: tuple[Column, ...]
    features: tuple[str, ...]
    target: str
    key: str | None = None
    time: str | None = None
    query: str
    upstream: dict[str, str] = Field(default_factory=dict)
    passthrough: dict[str, str] = Field(default_factory=dict)

    def split(self, name: str) -> Split:
        """The split called `name`; KeyError where it is not there."""
        return {split.name: split for split in self.splits}[name]

    @property
    def data_digest(self) -> str:
        """SHA-256 over the test split's bytes and the target: the identity of the evaluation data."""
        return digest_of({"test": self.split("test").sha256, "target": self.target})


class Origin(Value):
    """The version on another platform that a candidate was copied from.

    Attributes:
        platform: `local`, `aws` or `gcp`.
        uri: folder of the version's files there.
        decision_digest: the verdict reached there, which the one here repeats.
    """

    platform: str
    version: int
    uri: ArtifactUri
    decision_digest: str


class Candidate(Value):
    """A trained model that nothing has judged yet.

    Attributes:
        digest: digest of `files`: what a decision and a registration are bound to.
        uri: folder that holds model.skops (or the user's files) and model.json.
        files: file name -> SHA-256.
        recipe: digest of dataset version, training specification, code and environment.
        metrics: validation metrics seen while training, by name.
        copied_from: where it was trained and registered, if that was on another platform.
    """

    model: str
    digest: str
    uri: ArtifactUri
    files: dict[str, str]
    recipe: str
    dataset_version: str
    dataset_uri: ArtifactUri
    estimator: str
    parameters: dict[str, object] = Field(default_factory=dict)
    metrics: dict[str, float] = Field(default_factory=dict)
    run_id: str | None = None
    git_commit: str | None = None
    copied_from: Origin | None = None


class Interval(Value):
    """A metric with its bootstrap confidence interval; None where it is not a finite number."""

    value: float | None
    low: float | None = None
    high: float | None = None


class Evaluation(Value):
    """A candidate measured on the test split.

    Attributes:
        digest: digest of everything else in this value but `uri`.
        data_digest: `Dataset.data_digest` of the data it was measured on.
        metrics: metric name -> value with interval.
        slices: slice (`column=value`) -> metric name -> value; with `slice_rows` rows in each.
        baseline: metric name -> value of the naive baseline (mean, or most frequent class) on the same rows.
        uri: folder that holds evaluation.json, plots and model_card.md.
    """

    model: str
    digest: str
    candidate_digest: str
    dataset_version: str
    data_digest: str
    rows: int
    metrics: dict[str, Interval]
    slices: dict[str, dict[str, float | None]] = Field(default_factory=dict)
    slice_rows: dict[str, int] = Field(default_factory=dict)
    baseline: dict[str, float | None] = Field(default_factory=dict)
    uri: ArtifactUri


class GateResult(Value):
    """One gate's outcome: what was measured, what was asked, and a sentence a person can read."""

    name: str
    passed: bool
    severity: Literal["error", "warn"] = "error"
    value: float | None = None
    threshold: float | None = None
    message: str


class Decision(Value):
    """The verdict on one candidate, bound to all that it was reached from.

    Attributes:
        digest: digest of every other field but `signature`.
        candidate_digest, evaluation_digest, data_digest: what was judged, and on which rows.
        policy_digest: digest of the gates as declared when it was judged.
        policy: those gates as JSON, so the record can be read alone.
        metrics: the metrics that the gates saw.
        champion: version of the champion it was compared with; None where there was none.
        passed: every gate of severity error passed.
        signature: HMAC-SHA256 of `digest` under the platform's gate key.
    """

    model: str
    digest: str
    candidate_digest: str
    evaluation_digest: str
    data_digest: str
    policy_digest: str
    policy: list[dict[str, object]]
    metrics: dict[str, float | None]
    gates: tuple[GateResult, ...]
    champion: int | None = None
    passed: bool
    decided_at: datetime = Field(default_factory=now)
    run_id: str | None = None
    signature: str = ""


Approval = Literal["pending", "approved", "rejected"]


class ModelVersion(Value):
    """A registered version: numbers count from 1 within a model.

    Attributes:
        recipe, estimator, dataset_uri: the candidate's; None in records that are older than these fields.
        copied_from: the candidate's.
    """

    model: str
    version: int
    candidate_digest: str
    decision_digest: str
    approval: Approval
    aliases: tuple[str, ...] = ()
    uri: ArtifactUri
    files: dict[str, str]
    metrics: dict[str, float] = Field(default_factory=dict)
    parameters: dict[str, object] = Field(default_factory=dict)
    dataset_version: str
    dataset_uri: ArtifactUri | None = None
    recipe: str | None = None
    estimator: str | None = None
    run_id: str | None = None
    git_commit: str | None = None
    copied_from: Origin | None = None


class Deployment(Value):
    """A version that serves, or why it does not.

    Attributes:
        status: `serving` (it answers), `waiting` (approval is outstanding), `stopped`.
        url: base address of the server.
        route: what the base address is followed by where predictions are asked for.
        page: what a person opens to look at it.
        curl: options that a request by curl needs to be let in; secrets stand in them as shell variables.
        latency_ms: mean time of a smoke-test request, where one was just made.
        stopped_by: the person who stopped it; nothing but a restart starts it again.
    """

    model: str
    version: int | None
    status: Literal["serving", "waiting", "stopped"]
    url: str | None = None
    route: str = "/invocations"
    page: str | None = None
    curl: tuple[str, ...] = ()
    message: str = ""
    latency_ms: float | None = None
    stopped_by: str | None = None
