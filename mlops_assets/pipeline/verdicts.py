"""Decision records in the object store: one per candidate, evaluation, policy, champion; never replaced."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pydantic import ValidationError

from mlops_assets.artifacts import (
    ArtifactUri,
    Candidate,
    Dataset,
    Decision,
    Evaluation,
    GateResult,
    ModelVersion,
)
from mlops_assets.artifacts.decisions import seal, sealed
from mlops_assets.artifacts.digest import finite_or_none
from mlops_assets.declaration.loaded import LoadedDeclaration
from mlops_assets.errors import ConflictError, GateRefusedError
from mlops_assets.pipeline.judgement import policy_digest, policy_of
from mlops_assets.pipeline.names import Names
from mlops_assets.platforms.ports import Platform


@dataclass(frozen=True)
class Measured:
    """What a decision is about: a candidate, how it was measured, under which gates."""

    loaded: LoadedDeclaration
    candidate: Candidate
    evaluation: Evaluation

    @property
    def policy_digest(self) -> str:
        """Digest of the gates as declared now."""
        return policy_digest(self.loaded.spec.gates)

    def uri(self, platform: Platform, champion: int | None) -> ArtifactUri:
        """Where the record lies that compares with version `champion`."""
        names = Names(self.candidate.model)
        return names.decision(
            platform.store.root, self.candidate.digest, self.evaluation.digest, self.policy_digest, champion
        )


@dataclass(frozen=True)
class Case(Measured):
    """The same, and the dataset that is the latest where it is judged."""

    dataset: Dataset

    def check(self) -> None:
        """Return where candidate, evaluation and dataset belong together.

        Raises:
            GateRefusedError: where the evaluation is of another candidate or of other rows, or the candidate
                was trained on another dataset.
        """
        if self.evaluation.candidate_digest != self.candidate.digest:
            what, mend = "the evaluation is of another candidate.", "Materialise the evaluation again."
        elif self.candidate.dataset_version != self.dataset.version:
            what, mend = "the candidate was trained on another dataset than the latest.", "Train again."
        elif (self.evaluation.dataset_version, self.evaluation.data_digest) != (
            self.dataset.version,
            self.dataset.data_digest,
        ):
            what, mend = "the evaluation was made on other rows.", "Materialise the evaluation again."
        else:
            return
        where = f"{self.candidate.model}, candidate {self.candidate.digest[:12]}"
        raise GateRefusedError(f"Not registered: {what}", where=where, mend=mend)


def decide(
    platform: Platform,
    case: Measured,
    champion: ModelVersion | None,
    *,
    run_id: str | None,
    judged: Callable[[], tuple[GateResult, ...]],
) -> tuple[Decision, ArtifactUri]:
    """The decision on a case, and where it lies; the same case again gives the same record.

    Args:
        platform: store and gate key.
        case: what is judged.
        champion: today's champion, which the record is bound to.
        run_id: the Dagster run that judges.
        judged: the gates' results; called only where no record exists.

    Raises:
        GateRefusedError: where a record lies there that the gates did not write.
    """
    number = champion.version if champion else None
    uri = case.uri(platform, number)
    found = _read_own(platform, uri, case, number)
    if found is not None:
        return found, uri
    decision = seal(_decision(case, number, judged(), run_id), platform.settings.seal_key())
    try:
        platform.store.write(uri, decision.model_dump_json(indent=2).encode(), if_absent=True)
    except ConflictError:  # another run judged the same at the same time: its record counts
        decision = _read_own(platform, uri, case, number) or decision
    return decision, uri


def _decision(
    case: Measured, champion: int | None, results: tuple[GateResult, ...], run_id: str | None
) -> Decision:
    return Decision(
        model=case.candidate.model,
        digest="",
        candidate_digest=case.candidate.digest,
        evaluation_digest=case.evaluation.digest,
        data_digest=case.evaluation.data_digest,
        policy_digest=case.policy_digest,
        policy=policy_of(case.loaded.spec.gates),
        metrics={name: finite_or_none(item.value) for name, item in case.evaluation.metrics.items()},
        gates=results,
        champion=champion,
        passed=all(item.passed for item in results if item.severity == "error"),
        run_id=run_id,
    )


def standing(platform: Platform, case: Measured) -> tuple[Decision, ArtifactUri] | None:
    """The record that speaks for registering today, where there is one; the registry verifies it.

    For a candidate that is registered already, any record on it counts that was reached under today's gates:
    the champion it was compared with may be itself by now.

    Raises:
        GateRefusedError: where the record cannot be read.
    """
    champion = platform.registry.champion(case.candidate.model)
    today = case.uri(platform, champion.version if champion else None)
    decision = _read(platform, today)
    if decision is not None:
        return decision, today
    if platform.registry.find(case.candidate.model, case.candidate.digest) is None:
        return None
    key = platform.settings.seal_key()
    for uri in _others(platform, today):
        decision = _read(platform, uri)
        if decision is not None and decision.passed and sealed(decision, key):
            return decision, uri
    return None


def records(platform: Platform, model: str, candidate: str) -> Iterator[Decision]:
    """Every record on a candidate that was sealed with the platform's key; others do not count.

    Raises:
        GateRefusedError: where one cannot be read.
    """
    key = platform.settings.seal_key()
    for item in platform.store.list(Names(model).decisions(platform.store.root, candidate)):
        decision = _read(platform, item.uri)
        if decision is not None and decision.candidate_digest == candidate and sealed(decision, key):
            yield decision


def _others(platform: Platform, uri: ArtifactUri) -> Iterator[ArtifactUri]:
    """Records on the same candidate, evaluation and policy as `uri`'s, with any champion."""
    folder = ArtifactUri(uri.rsplit("/", 1)[0])
    stem = uri.name.rsplit("-", 1)[0]
    return (item.uri for item in platform.store.list(folder) if item.uri.name.startswith(f"{stem}-"))


def _read(platform: Platform, uri: ArtifactUri) -> Decision | None:
    if platform.store.head(uri) is None:
        return None
    try:
        return Decision.model_validate_json(platform.store.read(uri))
    except ValidationError:
        raise _not_ours(uri) from None


def _read_own(platform: Platform, uri: ArtifactUri, case: Measured, champion: int | None) -> Decision | None:
    """The record at `uri`, where the gates wrote it about exactly this case."""
    found = _read(platform, uri)
    if found is None:
        return None
    about = (found.candidate_digest, found.evaluation_digest, found.policy_digest, found.champion)
    asked = (case.candidate.digest, case.evaluation.digest, case.policy_digest, champion)
    if about != asked or not sealed(found, platform.settings.seal_key()):
        raise _not_ours(uri)
    return found


def _not_ours(uri: ArtifactUri) -> GateRefusedError:
    return GateRefusedError(
        "Not registered: the decision record is not what the gates wrote there.",
        where=str(uri),
        mend="Find out who replaced it, delete it, and materialise the evaluation with its gates again.",
    )
