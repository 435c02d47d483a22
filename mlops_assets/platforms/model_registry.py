"""The port of model registries: who may become a version, and which version may be champion.

What is decided is decided here, the same on every platform; an adapter brings the few reads and writes that
its service offers. Each change of state has one write that commits it: whatever was written before a crash
stays invisible to every reader, and the same call again completes it.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Literal

from mlops_assets.artifacts import Candidate, Decision, Evaluation, ModelVersion
from mlops_assets.artifacts.decisions import changed_file, verify
from mlops_assets.artifacts.values import Approval
from mlops_assets.errors import ArtifactError, ConflictError, GateRefusedError
from mlops_assets.platforms.registry_records import OutsideDecision

if TYPE_CHECKING:
    from mlops_assets.platforms.ports import ObjectStore


_log = logging.getLogger(__name__)


class ModelRegistry(ABC):
    """Versions of models. `register` is the same on every platform and cannot be asked to look away.

    What a person decides in the service's own interface (`_decided_outside`) is taken over under the same
    conditions as `approve` and `reject`, whenever the champion is asked for, which the approval sensor does.
    Where they do not allow it (a version rejected before, files that changed, the rejection of the champion),
    the status is set back and the reason stands beside it.
    """

    def __init__(self, store: ObjectStore, gate_key: bytes) -> None:
        self._store = store
        self._gate_key = gate_key

    # --- what callers use ---------------------------------------------------------------------------------

    def register(
        self,
        candidate: Candidate,
        evaluation: Evaluation,
        decision: Decision | None,
        *,
        policy_digest: str,
        approval: Literal["automatic", "manual"],
    ) -> ModelVersion:
        """Register what passed; the same candidate again gives the same version.

        Verifies the decision against the files in the store, the evaluation, today's policy and today's
        champion before anything is written, and holds the model's lock from the check to the last write: of
        two candidates judged against the same champion, the second is refused. A version registered earlier
        comes back as it is, whatever has become of it since.

        Raises:
            GateRefusedError: the reason, where any part does not hold. Nothing is written then.
        """
        model = candidate.model
        with self.lock(model):
            existing = self.find(model, candidate.digest)
            champion = self.champion(model)
            verify(
                decision,
                candidate=candidate,
                evaluation=evaluation,
                policy_digest=policy_digest,
                champion=champion.version if champion else None,
                registered=existing.version if existing else None,
                files=self._store.published(candidate.uri),
                open_file=lambda name: self._store.open(candidate.uri.join(name)),
                key=self._gate_key,
            )
            if existing is not None:
                return existing
            assert decision is not None  # verify raised otherwise
            version = self._create(candidate, evaluation, decision)
            if approval == "automatic":
                self._crown(model, version, [*self._reign(model, champion), version])
                self._mark(model, version, "approved", by="gates", reason="every gate passed")
            else:
                self._mark(model, version, "pending", by="gates", reason="waits for a person")
            return self.get(model, version)

    def get(self, model: str, version: int) -> ModelVersion:
        """One version. ArtifactError where there is none."""
        found = self._committed(model, version)
        if found is None:
            known = ", ".join(str(item.version) for item in self.versions(model)) or "none"
            raise ArtifactError(
                f"{model} has no version {version} (it has {known}).", mend="List them: mlops-assets models."
            )
        return found

    def champion(self, model: str) -> ModelVersion | None:
        """The version with the alias `champion`, or None.

        An alias that points at a version which was never finished or never approved (a crash, or a hand in
        the registry's own interface) does not count: the champion before it goes on. What was decided in
        that interface meanwhile is taken over first.
        """
        self._take_over(model)
        return self._standing(model)

    def _standing(self, model: str) -> ModelVersion | None:
        """The champion by the records as they are."""
        pointed = self._alias(model)
        if pointed is None:
            return None
        for number in (pointed, *reversed(_before(self._champions(model), pointed))):
            version = self._committed(model, number)
            if version is not None and version.approval == "approved":
                return version
        return None

    def set_champion(self, model: str, version: int, *, expected: int | None) -> None:
        """Compare-and-swap of the alias. ConflictError where the champion is not `expected`.

        Raises:
            GateRefusedError: for a version that is not approved, or whose files changed.
        """
        with self.lock(model):
            champion = self.champion(model)
            if (champion.version if champion else None) != expected:
                raise ConflictError(
                    f"The champion of {model} is {champion.version if champion else 'none'}, "
                    f"not {expected or 'none'}.",
                    mend="Look again: mlops-assets models.",
                )
            wanted = self.get(model, version)
            if wanted.approval != "approved":
                raise _not_promoted(
                    wanted, f"it is {wanted.approval}.", "Approve it first: mlops-assets approve."
                )
            self._check_files(wanted)
            self._crown(model, version, [*self._reign(model, champion), version])

    def approve(self, model: str, version: int, *, by: str, reason: str = "") -> ModelVersion:
        """Approve and make champion. Refused for a version that was rejected.

        A person's word stands over the comparison with the champion: the version takes over from whichever
        version is champion now, also where its gates saw an earlier one. Its files are verified again.
        Approving the champion changes nothing.

        Args:
            by: who approves; kept with the reason and the time.

        Raises:
            ArtifactError: where there is no such version.
            GateRefusedError: where it was rejected or its files changed.
        """
        with self.lock(model):
            wanted = self.get(model, version)
            champion = self._standing(model)
            if champion is not None and champion.version == version:
                return champion
            if wanted.approval == "rejected":
                raise _not_promoted(wanted, "it was rejected.", "Train a new candidate.")
            self._check_files(wanted)
            self._crown(model, version, [*self._reign(model, champion), version])
            self._mark(model, version, "approved", by=by, reason=reason)
            return self.get(model, version)

    def reject(self, model: str, version: int, *, by: str, reason: str = "") -> ModelVersion:
        """Reject, for good. Refused for the champion: roll back first.

        Raises:
            ArtifactError: where there is no such version.
            ConflictError: where it is the champion.
        """
        with self.lock(model):
            wanted = self.get(model, version)
            champion = self._standing(model)
            if champion is not None and champion.version == version:
                raise ConflictError(
                    f"{model} version {version} is the champion.",
                    mend=f"Roll back first: mlops-assets rollback {model}.",
                )
            if wanted.approval != "rejected":
                self._mark(model, version, "rejected", by=by, reason=reason)
            return self.get(model, version)

    def rollback(self, model: str, *, by: str = "", reason: str = "") -> ModelVersion:
        """Make the approved version that was champion before the present one champion again.

        Versions rejected or removed since, or whose files are no longer whole, are passed over.

        Raises:
            ConflictError: where there is no champion, or none before it.
        """
        with self.lock(model):
            champion = self.champion(model)
            if champion is None:
                raise ConflictError(f"{model} has no champion.", mend="Register or approve a version first.")
            reign = self._reign(model, champion)[:-1]
            while reign:
                earlier = self._committed(model, reign[-1])
                if earlier is not None and earlier.approval == "approved" and self._changed(earlier) is None:
                    # The alias last: run again after a crash, it goes no further back than once.
                    self._note(
                        model, champion.version, f"rolled back to {earlier.version}", by=by, reason=reason
                    )
                    self._crown(model, earlier.version, reign)
                    return self.get(model, earlier.version)
                reign = reign[:-1]
            raise ConflictError(
                f"{model} had no usable champion before version {champion.version}.",
                mend="Approve another version: mlops-assets models lists them.",
            )

    def warm(self) -> None:
        """Start what the first write will wait for, in the background; returns at once. Default: nothing."""
        return

    @contextmanager
    def opening(self) -> Iterator[None]:
        """Open what the first write needs while the body waits for something else. Default: nothing."""
        yield

    def console(self, model: str) -> str:  # noqa: ARG002
        """How a person looks at the model's versions: an address or a command; empty where there is none."""
        return ""

    # --- what an adapter brings ---------------------------------------------------------------------------

    @abstractmethod
    def lock(self, model: str) -> AbstractContextManager[object]:
        """Hold the model against every other writer, in any process; may be entered again by its holder.

        Given back when its holder dies.

        Raises:
            ConflictError: where another holds it for too long.
        """

    @abstractmethod
    def find(self, model: str, candidate_digest: str) -> ModelVersion | None:
        """The version registered for this candidate, or None."""

    @abstractmethod
    def versions(self, model: str | None = None) -> Sequence[ModelVersion]:
        """All versions, newest first, of one model or of all."""

    @abstractmethod
    def _committed(self, model: str, version: int) -> ModelVersion | None:
        """The version once `_mark` was called for it, else None. ArtifactError for an edited record."""

    @abstractmethod
    def _alias(self, model: str) -> int | None:
        """What the alias `champion` points at."""

    @abstractmethod
    def _champions(self, model: str) -> Sequence[int]:
        """The champions as last given to `_crown`, oldest first."""

    @abstractmethod
    def _create(self, candidate: Candidate, evaluation: Evaluation, decision: Decision) -> int:
        """Write a version that no reader sees yet, or take up the one that a crash left; its number."""

    @abstractmethod
    def _crown(self, model: str, version: int, champions: Sequence[int]) -> None:
        """Remember `champions`, then point the alias at `version`."""

    @abstractmethod
    def _mark(self, model: str, version: int, state: Approval, *, by: str, reason: str) -> None:
        """Write the approval in one write: the commit of a new version, and of an approval or a rejection."""

    def _decided_outside(self, model: str) -> Iterable[OutsideDecision]:  # noqa: ARG002
        """Decisions to take over, oldest version first; approvals are as good as anybody's word, no better.

        Default: none, for services whose approvals nobody but `_mark` can write.
        """
        return ()

    @abstractmethod
    def _note(self, model: str, version: int, event: str, *, by: str, reason: str) -> None:
        """Add to what is remembered of who did what to a version."""

    # --- shared -------------------------------------------------------------------------------------------

    def _take_over(self, model: str) -> None:
        """Do what was decided outside as `approve` and `reject` do it, or set it back and say why."""
        if not list(self._decided_outside(model)):
            return
        with self.lock(model):
            for decided in list(self._decided_outside(model)):
                decide = self.approve if decided.state == "approved" else self.reject
                try:
                    decide(model, decided.version, by=decided.by, reason=decided.reason)
                except (GateRefusedError, ConflictError) as error:
                    _log.warning("Decided by %s, and not taken over: %s", decided.by, error)
                    kept = self.get(model, decided.version).approval
                    said = f"{error.what} {error.mend}"
                    self._mark(model, decided.version, kept, by="mlops_assets", reason=said)

    def _reign(self, model: str, champion: ModelVersion | None) -> list[int]:
        """Champions up to and with the present one; what a rollback or a crash left after it is dropped."""
        if champion is None:
            return []
        return [*_before(self._champions(model), champion.version), champion.version]

    def _changed(self, version: ModelVersion) -> str | None:
        return changed_file(
            version.files,
            self._store.published(version.uri),
            lambda name: self._store.open(version.uri.join(name)),
        )

    def _check_files(self, version: ModelVersion) -> None:
        if changed := self._changed(version):
            raise _not_promoted(version, changed, "Train again, and register what comes of it.")


def _before(champions: Sequence[int], number: int) -> list[int]:
    """The champions before `number` last was one; all, where it never was."""
    found = [place for place, champion in enumerate(champions) if champion == number]
    return list(champions[: found[-1]] if found else champions)


def _not_promoted(version: ModelVersion, what: str, mend: str) -> GateRefusedError:
    return GateRefusedError(
        f"Not made champion: {what}", where=f"{version.model} version {version.version}", mend=mend
    )
