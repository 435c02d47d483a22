"""The model registry on Google Cloud: Vertex AI's models, records and lease in the object store.

A version is a version of a Vertex model. One UpdateModel writes its labels, the approval that people see and
the sealed state beside it, so either both change or neither. An approval that differs from the sealed state,
or the alias `champion` on a version that waits, was set by a person in Vertex AI. A label holds 63
characters: records and histories are objects below `registry/`, named by their SHA-256, which is sealed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from mlops_assets.artifacts import Candidate, Decision, Evaluation, ModelVersion
from mlops_assets.artifacts.decisions import sign
from mlops_assets.artifacts.digest import canonical_json
from mlops_assets.artifacts.values import Approval, now
from mlops_assets.errors import ArtifactError
from mlops_assets.platforms.gcp.lineage import Lineage
from mlops_assets.platforms.gcp.model_messages import evaluation_message, model_message
from mlops_assets.platforms.gcp.model_versions import ModelVersions, digest_in, label_of
from mlops_assets.platforms.gcp.vertex_client import place_of
from mlops_assets.platforms.model_locks import ModelLocks
from mlops_assets.platforms.model_registry import ModelRegistry
from mlops_assets.platforms.registry_objects import RegistryObjects
from mlops_assets.platforms.registry_records import OutsideDecision, version_record

if TYPE_CHECKING:
    from mlops_assets.platforms.gcp.settings import GcpSettings
    from mlops_assets.platforms.gcp.vertex_settings import VertexSettings
    from mlops_assets.platforms.ports import ObjectStore
    from mlops_assets.settings import Settings

CHAMPION = "champion"
# Labels of a version: what people see and may change, what the seal covers, and the seal.
APPROVAL = "mlops-approval"
CANDIDATE = "mlops-candidate"
RECORD = "mlops-record"
STATE = "mlops-state"
HISTORY = "mlops-history"
SEAL = "mlops-seal"

_STATES: tuple[Approval, ...] = ("pending", "approved", "rejected")
_DESCRIPTION_CHARACTERS = 1_024
_log = logging.getLogger(__name__)


class VertexRegistry(ModelRegistry):
    """Versions in Vertex AI; artifacts stay where the object store has them.

    Args:
        settings: gives the key that seals records, and the folder of this machine's locks.
        gcp, vertex: give project, region and image.
        store: holds the candidates' files, and the records.
    """

    def __init__(
        self, settings: Settings, gcp: GcpSettings, vertex: VertexSettings, store: ObjectStore
    ) -> None:
        super().__init__(store, settings.seal_key())
        self._settings, self._vertex = settings, vertex
        place = place_of(gcp, vertex)
        self._versions_there = ModelVersions(place, store.root)
        self._lineage = Lineage(place, self._versions_there, gcp)
        self._objects = RegistryObjects(store)
        self._locks = ModelLocks(settings.root / "locks", store, self._objects.lease)

    def console(self, model: str) -> str:  # noqa: ARG002
        """The page that lists the models."""
        return self._versions_there.console

    # --- reading ------------------------------------------------------------------------------------------

    def find(self, model: str, candidate_digest: str) -> ModelVersion | None:
        """The version registered for this candidate, or None."""
        for message in self._versions_there.list(model, {CANDIDATE: label_of(candidate_digest)}):
            version = self._read(model, message)
            if version is not None and version.candidate_digest == candidate_digest:
                return version
        return None

    def versions(self, model: str | None = None) -> Sequence[ModelVersion]:
        """All versions, newest first, of one model or of all; edited ones are logged and left out."""
        found: list[ModelVersion] = []
        for name in self._objects.models() if model is None else [model]:
            for message in self._versions_there.list(name):
                try:
                    version = self._read(name, message)
                except ArtifactError as error:
                    _log.warning("%s", error)
                else:
                    found += [version] if version is not None else []
        return found

    def _committed(self, model: str, version: int) -> ModelVersion | None:
        message = self._versions_there.get(model, version)
        return None if message is None else self._read(model, message)

    def _alias(self, model: str) -> int | None:
        message = self._versions_there.get(model, CHAMPION)
        return None if message is None else int(message.version_id)

    def _champions(self, model: str) -> Sequence[int]:
        return self._objects.champions(model)

    def _read(self, model: str, message: Any) -> ModelVersion | None:
        """The version that a message and its record give; None where it was never committed.

        Raises:
            ArtifactError: where its record or state is not what was sealed.
        """
        labels, number = dict(message.labels), int(message.version_id)
        if SEAL not in labels and STATE not in labels:
            return None
        try:
            if labels[SEAL] != self._seal(model, number, labels):
                raise ValueError("seal")
            return ModelVersion(
                **self._objects.record(model, digest_in(labels[RECORD])),
                model=model,
                version=number,
                approval=labels[STATE],  # type: ignore[arg-type]  # pydantic checks it
                aliases=(CHAMPION,) if CHAMPION in message.version_aliases else (),
            )
        except (ValueError, KeyError, TypeError, ValidationError):
            raise ArtifactError(
                "The registry's record was edited, or sealed with another gate key.",
                where=f"{model} version {number}",
                mend="Restore its labels or the gate key (MLOPS_GATE_KEY, <root>/gate.key); or delete the "
                "version in Vertex AI and register its candidate again.",
            ) from None

    def _seal(self, model: str, number: int, labels: dict[str, str]) -> str:
        covered = [labels[key] for key in (CANDIDATE, RECORD, STATE, HISTORY)]
        return label_of(sign(canonical_json(["registry", model, number, *covered]), self._gate_key))

    def _decided_outside(self, model: str) -> Iterator[OutsideDecision]:
        """Where the label `mlops-approval` is not what `_mark` left, or a waiting version is `champion`."""
        for message in reversed(self._versions_there.list(model)):
            try:
                version = self._read(model, message)
            except ArtifactError as error:
                _log.warning("%s", error)
                continue
            if version is None:
                continue
            state: Any = message.labels.get(APPROVAL)
            if version.approval == "pending" and version.aliases:
                state = "approved"
            if state in _STATES and state not in ("pending", version.approval):
                yield OutsideDecision(version.version, state, by="somebody in Vertex AI")

    # --- writing ------------------------------------------------------------------------------------------

    def lock(self, model: str) -> AbstractContextManager[None]:
        """Hold the model against every other writer; given back when its holder dies."""
        return self._locks.hold(model)

    def register(
        self,
        candidate: Candidate,
        evaluation: Evaluation,
        decision: Decision | None,
        *,
        policy_digest: str,
        approval: Literal["automatic", "manual"],
    ) -> ModelVersion:
        """Register what passed, and write its lineage; that of a version registered earlier is completed."""
        version = super().register(
            candidate, evaluation, decision, policy_digest=policy_digest, approval=approval
        )
        self._lineage.record(version, candidate, evaluation)
        return version

    def _create(self, candidate: Candidate, evaluation: Evaluation, decision: Decision) -> int:
        model = candidate.model
        record = self._objects.write_record(model, version_record(candidate, evaluation, decision))
        self._objects.add_model(model)
        labels = {CANDIDATE: label_of(candidate.digest), RECORD: label_of(record)}
        left = self._left_by_a_crash(model, labels[CANDIDATE])
        self._locks.renew(model)
        if left is None:
            message = model_message(
                self._settings, self._vertex, model=model, uri=candidate.uri, files=candidate.files
            )
            about = f"{candidate.estimator}, trained on dataset {candidate.dataset_version[:12]}"
            number = self._versions_there.upload(
                model, {**message, "labels": labels, "version_description": about}
            )
        else:
            number = left
            self._versions_there.update(model, number, labels=labels)
        self._versions_there.ensure_evaluation(model, number, evaluation_message(evaluation))
        return number

    def _left_by_a_crash(self, model: str, candidate: str) -> int | None:
        """A version of the candidate that nobody has committed."""
        for message in self._versions_there.list(model, {CANDIDATE: candidate}):
            if self._read(model, message) is None:
                return int(message.version_id)
        return None

    def _crown(self, model: str, version: int, champions: Sequence[int]) -> None:
        self._locks.renew(model)
        self._objects.write_champions(model, champions)
        self._versions_there.alias(model, version, CHAMPION)

    def _mark(self, model: str, version: int, state: Approval, *, by: str, reason: str) -> None:
        said = " ".join(f"{state} by {by or 'unknown'}: {reason}".split())
        self._write_state(
            model,
            version,
            state,
            {"event": state, "by": by, "reason": reason},
            version_description=said[:_DESCRIPTION_CHARACTERS],
        )
        if state != "approved" and self._alias(model) == version:
            self._uncrown(model, version)

    def _uncrown(self, model: str, version: int) -> None:
        """Give the alias back that somebody gave in Vertex AI to a version that is not approved."""
        standing = self._standing(model)
        if standing is None:
            self._versions_there.alias(model, version, f"-{CHAMPION}")
        else:
            self._versions_there.alias(model, standing.version, CHAMPION)

    def _note(self, model: str, version: int, event: str, *, by: str, reason: str) -> None:
        self._write_state(model, version, None, {"event": event, "by": by, "reason": reason})

    def _write_state(
        self, model: str, version: int, state: Approval | None, event: dict[str, str], **beside: Any
    ) -> None:
        """Sealed state, history and what people see change in one call; other labels stay."""
        message = self._versions_there.get(model, version)
        if message is None:
            raise ArtifactError(
                "Somebody deleted the version meanwhile.",
                where=f"{model} version {version}",
                mend="Run again.",
            )
        labels = dict(message.labels)
        before = digest_in(labels[HISTORY]) if HISTORY in labels else None
        at = {"at": now().isoformat(timespec="seconds")}
        labels[STATE] = state or labels[STATE]
        labels[APPROVAL] = labels[STATE]
        labels[HISTORY] = label_of(self._objects.add_event(model, before, event | at))
        labels[SEAL] = self._seal(model, version, labels)
        self._locks.renew(model)
        self._versions_there.update(model, version, labels=labels, **beside)
