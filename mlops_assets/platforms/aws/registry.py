"""The model registry on AWS: SageMaker model package groups, records and lease in the object store.

A version is a model package. One UpdateModelPackage writes its approval status together with the sealed state
in its customer metadata, so either both change or neither, and a status that differs from the sealed state
was set by a person in SageMaker. Customer metadata holds 256 characters a value: records and histories are
objects below `registry/`, named by their SHA-256, which the seal covers.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from mlops_assets.artifacts import Candidate, Decision, Evaluation, ModelVersion
from mlops_assets.artifacts.decisions import sign
from mlops_assets.artifacts.digest import canonical_json, digest_of
from mlops_assets.artifacts.values import Approval, now
from mlops_assets.errors import ArtifactError, ConflictError
from mlops_assets.platforms.aws.model_packages import ModelPackages, package_request
from mlops_assets.platforms.model_locks import ModelLocks
from mlops_assets.platforms.model_registry import ModelRegistry
from mlops_assets.platforms.registry_objects import RegistryObjects
from mlops_assets.platforms.registry_records import OutsideDecision, version_record

if TYPE_CHECKING:
    from mlops_assets.platforms.aws.settings import AwsSettings
    from mlops_assets.platforms.ports import ObjectStore
    from mlops_assets.settings import Settings

# Tags of the group.
CHAMPION = "mlops-assets/champion"
CHAMPIONS = "mlops-assets/champions"
# Customer metadata of a version: what the seal covers, and the seal.
CANDIDATE = "mlops.candidate"
RECORD = "mlops.record"
STATE = "mlops.state"
HISTORY = "mlops.history"
SEAL = "mlops.seal"

_STATUSES: dict[Approval, str] = {
    "pending": "PendingManualApproval",
    "approved": "Approved",
    "rejected": "Rejected",
}
_STATES: dict[str, Approval] = {status: state for state, status in _STATUSES.items()}
_STAGE = "mlops-assets"
_TAG_CHARACTERS = 256
_DESCRIPTION_CHARACTERS = 1_024
_READERS = 8
_log = logging.getLogger(__name__)


class SageMakerRegistry(ModelRegistry):
    """Versions in SageMaker; artifacts stay where the object store has them.

    Args:
        settings: gives the key that seals records, and the folder of this machine's locks.
        aws: gives the region, the root and the image.
        store: holds the candidates' files, and the records.
    """

    def __init__(self, settings: Settings, aws: AwsSettings, store: ObjectStore) -> None:
        super().__init__(store, settings.seal_key())
        self._aws = aws
        self._packages = ModelPackages(aws)
        self._objects = RegistryObjects(store)
        self._locks = ModelLocks(settings.root / "locks", store, self._objects.lease)

    def console(self, model: str) -> str:
        """The command that lists the versions; in SageMaker Studio: Models, then the group of this name."""
        return f"aws sagemaker list-model-packages --model-package-group-name {self.group(model)}"

    def group(self, model: str) -> str:
        """The name of the model's package group."""
        return self._packages.group(model)

    def package_arn(self, model: str, version: int) -> str:
        """The ARN of a version that there is. ArtifactError where there is none."""
        arn = self._packages.arn(model, self.get(model, version).version)
        assert arn is not None  # a version has a group
        return arn

    # --- reading ------------------------------------------------------------------------------------------

    def find(self, model: str, candidate_digest: str) -> ModelVersion | None:
        """The version registered for this candidate, or None."""
        number = self._objects.version_of(model, candidate_digest)
        version = None if number is None else self._committed(model, number)
        return version if version and version.candidate_digest == candidate_digest else None

    def versions(self, model: str | None = None) -> Sequence[ModelVersion]:
        """All versions, newest first, of one model or of all; edited ones are logged and left out."""
        models = self._objects.models() if model is None else [model]
        return [version for name in models for version in self._versions(name)]

    def _versions(self, model: str) -> Iterator[ModelVersion]:
        self._take_over(model)
        numbers = [item["ModelPackageVersion"] for item in self._packages.summaries(model)]
        alias = self._alias(model)

        def read(number: int) -> ModelVersion | None:
            try:
                return self._version(model, number, alias)
            except ArtifactError as error:
                _log.warning("%s", error)
                return None

        with ThreadPoolExecutor(_READERS) as readers:
            found = readers.map(read, sorted(numbers, reverse=True))
            yield from (version for version in found if version is not None)

    def _committed(self, model: str, version: int) -> ModelVersion | None:
        return self._version(model, version, self._alias(model))

    def _alias(self, model: str) -> int | None:
        numbers = self._numbers(model, CHAMPION)
        return numbers[0] if numbers else None

    def _champions(self, model: str) -> list[int]:
        return self._numbers(model, CHAMPIONS)

    def _numbers(self, model: str, tag: str) -> list[int]:
        try:
            return [int(number) for number in self._packages.tags(model).get(tag, "").split()]
        except ValueError:
            raise ArtifactError(
                f"The tag {tag} was edited.",
                where=self._packages.group(model),
                mend="Set it to versions between spaces, oldest champion first.",
            ) from None

    def _version(self, model: str, number: int, alias: int | None) -> ModelVersion | None:
        """The version; None where there is none, or it was never committed."""
        described = self._packages.describe(model, number)
        return None if described is None else self._read(model, described, alias)

    def _read(self, model: str, described: dict[str, Any], alias: int | None) -> ModelVersion | None:
        """The version that a description and its record give; None where it was never committed.

        Raises:
            ArtifactError: where its record or state is not what was sealed.
        """
        metadata, number = described.get("CustomerMetadataProperties", {}), described["ModelPackageVersion"]
        if SEAL not in metadata and STATE not in metadata:
            return None
        try:
            if metadata[SEAL] != self._seal(model, number, metadata):
                raise ValueError("seal")
            return ModelVersion(
                **self._objects.record(model, metadata[RECORD]),
                model=model,
                version=number,
                approval=metadata[STATE],
                aliases=("champion",) if number == alias else (),
            )
        except (ValueError, KeyError, TypeError, ValidationError):
            raise ArtifactError(
                "The registry's record was edited, or sealed with another gate key.",
                where=f"{model} version {number}",
                mend="Restore its customer metadata or the gate key (MLOPS_GATE_KEY, <root>/gate.key); or "
                "delete the version in SageMaker and register its candidate again.",
            ) from None

    def _seal(self, model: str, number: int, metadata: dict[str, str]) -> str:
        covered = [metadata[key] for key in (CANDIDATE, RECORD, STATE, HISTORY)]
        return sign(canonical_json(["registry", model, number, *covered]), self._gate_key)

    def _decided_outside(self, model: str) -> Iterator[OutsideDecision]:
        """Where a status is not what `_mark` left beside it: a summary shows both, so one call finds 100."""
        for item in reversed(list(self._packages.summaries(model))):
            shown = item.get("ModelLifeCycle", {}).get("StageStatus")
            if shown != _STATES.get(item.get("ModelApprovalStatus", "")):
                yield from self._outside(model, item["ModelPackageVersion"])

    def _outside(self, model: str, number: int) -> Iterator[OutsideDecision]:
        described = self._packages.describe(model, number)
        if described is None:
            return
        try:
            version = self._read(model, described, None)
        except ArtifactError as error:
            _log.warning("%s", error)
            return
        state = _STATES.get(described.get("ModelApprovalStatus", ""), "pending")
        if version is not None and state not in ("pending", version.approval):
            yield OutsideDecision(
                number, state, by=_person(described), reason=described.get("ApprovalDescription", "")
            )

    # --- writing ------------------------------------------------------------------------------------------

    def lock(self, model: str) -> AbstractContextManager[None]:
        """Hold the model against every other writer; given back when its holder dies."""
        return self._locks.hold(model)

    def _create(self, candidate: Candidate, evaluation: Evaluation, decision: Decision) -> int:
        model = candidate.model
        record = self._objects.write_record(model, version_record(candidate, evaluation, decision))
        self._objects.add_model(model)
        self._packages.ensure_group(model)
        number = self._new(candidate, evaluation)
        metadata = {
            CANDIDATE: candidate.digest,
            RECORD: record,
            "mlops.decision": decision.digest,
            "mlops.evaluation": evaluation.digest,
            "mlops.dataset_version": candidate.dataset_version,
            **({"dagster.run_id": candidate.run_id} if candidate.run_id else {}),
        }
        self._update(model, number, CustomerMetadataProperties=metadata)
        return number

    def _new(self, candidate: Candidate, evaluation: Evaluation) -> int:
        """A package that nobody has committed: the one that a crash left, else a new one.

        Both come by the same token; a token may outlive its package, so that a candidate whose version was
        deleted in SageMaker needs another.
        """
        model, token = candidate.model, digest_of([candidate.model, candidate.digest, str(candidate.uri)])
        request = package_request(self._aws, candidate, evaluation)
        while True:
            self._locks.renew(model)
            number = self._packages.create(model, token[:32], request)
            described = self._packages.describe(model, number)
            if described is not None:
                break
            token = digest_of([token, number])
        self._objects.write_version_of(model, candidate.digest, number)
        if self._read(model, described, None) is not None:
            raise ConflictError(
                f"The candidate is version {number} already; its entry in the store was gone.",
                where=self._objects.entry(model, candidate.digest),
                mend="Run it again: the entry is there.",
            )
        return number

    def _crown(self, model: str, version: int, champions: Sequence[int]) -> None:
        remembered = " ".join(map(str, champions))
        while len(remembered) > _TAG_CHARACTERS:  # a rollback goes back some sixty champions, then
            remembered = remembered.partition(" ")[2]
        self._locks.renew(model)
        self._packages.tag(model, {CHAMPIONS: remembered, CHAMPION: str(version)})

    def _mark(self, model: str, version: int, state: Approval, *, by: str, reason: str) -> None:
        said = " ".join(f"{state} by {by or 'unknown'}: {reason}".split())
        self._write_state(
            model,
            version,
            state,
            {"event": state, "by": by, "reason": reason},
            ModelApprovalStatus=_STATUSES[state],
            ModelLifeCycle={"Stage": _STAGE, "StageStatus": state},
            ApprovalDescription=said[:_DESCRIPTION_CHARACTERS],
        )

    def _note(self, model: str, version: int, event: str, *, by: str, reason: str) -> None:
        self._write_state(model, version, None, {"event": event, "by": by, "reason": reason})

    def _write_state(
        self, model: str, version: int, state: Approval | None, event: dict[str, str], **beside: Any
    ) -> None:
        """Sealed state, history and what people see change in one call."""
        described = self._packages.describe(model, version) or {}
        metadata = described.get("CustomerMetadataProperties", {})
        at = {"at": now().isoformat(timespec="seconds")}
        changed = {
            STATE: state or metadata[STATE],
            HISTORY: self._objects.add_event(model, metadata.get(HISTORY), event | at),
        }
        changed[SEAL] = self._seal(model, version, metadata | changed)
        self._update(model, version, CustomerMetadataProperties=changed, **beside)

    def _update(self, model: str, version: int, **changes: Any) -> None:
        self._locks.renew(model)
        self._packages.update(model, version, **changes)


def _person(described: dict[str, Any]) -> str:
    """Who changed a package last, as far as the service says."""
    by = described.get("LastModifiedBy", {})
    identity = by.get("IamIdentity", {}).get("Arn", "").rpartition("/")[2]
    return by.get("UserProfileName") or identity or "somebody in SageMaker"
