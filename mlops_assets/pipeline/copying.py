"""Copying a registered version to another platform: its files, its verdict and where it came from.

The verdict is verified on the source as a registration there would verify it, the files are compared with
their checksums on both sides, and the target's registry decides as it always does (`ModelRegistry.register`).

A verdict compares with the source's champion, and versions are numbered by each platform on its own. So it
holds on the target where the target has no champion, where no gate asks about one, or where the champion is
the very model (by its files' digest) that the verdict compared with. Elsewhere the copy is refused.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mlops_assets.artifacts import (
    ArtifactUri,
    Candidate,
    Decision,
    Evaluation,
    ModelVersion,
    Origin,
    digest_folder,
)
from mlops_assets.artifacts.decisions import changed_file, verify
from mlops_assets.declaration.loaded import LoadedDeclaration
from mlops_assets.errors import ArtifactError, GateRefusedError
from mlops_assets.pipeline import handover
from mlops_assets.pipeline.judgement import policy_digest
from mlops_assets.pipeline.memo import remember_copy, remembered
from mlops_assets.pipeline.names import Names
from mlops_assets.pipeline.verdicts import Measured, decide, records, standing
from mlops_assets.platforms.ports import Platform

Say = Callable[[str], None]


@dataclass(frozen=True)
class Copied:
    """A version on the target, and the evaluation copied with it, whose samples a deployment asks for."""

    version: ModelVersion
    evaluation: Evaluation


@dataclass(frozen=True)
class _Route:
    """From where to where, and who is told what was done."""

    source: Platform
    target: Platform
    say: Say

    @property
    def here(self) -> str:
        return self.source.settings.platform

    @property
    def there(self) -> str:
        return self.target.settings.platform


def copy(source: Platform, target: Platform, loaded: LoadedDeclaration, number: int, *, say: Say) -> Copied:
    """Copy version `number` of a declared model; the same version again is the same version there.

    What a crash left half-way is completed by the next call. Approval is what the declaration says: with
    `manual` the version waits on the target, whoever approved it on the source.

    Args:
        source: where the version is registered.
        target: another platform under the same gate key.
        loaded: gates and approval of today.
        number: the version on the source.
        say: told each step that is done, one line.

    Raises:
        GateRefusedError: where the verdict does not hold, on the source or on the target, the version was
            rejected, or a file is not the one that was judged. Nothing is registered then.
        ArtifactError: where there is no such version, or a file is gone or damaged.
    """
    route = _Route(source, target, say)
    source.registry.champion(loaded.name)  # takes over what a person decided in the service's own interface
    version = source.registry.get(loaded.name, number)
    if version.approval == "rejected":
        raise _refused(version, "it was rejected, which is for good.", "Copy another version.")
    decision = _decision(source, version, loaded)
    original = Measured(loaded, _candidate(source, version), _evaluation(source, version, decision))
    _verify(source, original, decision, number)
    say(f"verdict of version {number} on {route.here}: holds")
    case = _placed(route, version, original)
    registered = _registered(route, case, decision)
    return Copied(registered, case.evaluation)


# --- what the source knows --------------------------------------------------------------------------------


def _decision(source: Platform, version: ModelVersion, loaded: LoadedDeclaration) -> Decision:
    """The record that speaks for the version under today's gates, if there is one, else any.

    Judged again after its gates were changed, a version has other records beside the one that registered it.
    """
    found = list(records(source, version.model, version.candidate_digest))
    if not found:
        again = f"Let its gates judge it again: mlops-assets run {version.model}."
        raise _refused(version, "the decision record that registered it is gone, or was edited.", again)
    today = policy_digest(loaded.spec.gates)

    def rank(decision: Decision) -> tuple[bool, bool, bool]:
        other = decision.digest != version.decision_digest
        return decision.policy_digest != today, not decision.passed, other

    return min(found, key=rank)


def _candidate(source: Platform, version: ModelVersion) -> Candidate:
    """The candidate as the registry's sealed record and the version's own model.json tell of it."""
    if version.recipe is None or version.estimator is None or version.dataset_uri is None:
        raise ArtifactError(
            "Its record is older than the copying of versions and does not tell all its lineage.",
            where=f"{version.model} version {version.version}",
            mend=f"Train and register again, then copy: mlops-assets run {version.model} --force.",
        )
    stored = json.loads(source.store.read(version.uri.join("model.json")))
    kept = ("model", "uri", "files", "dataset_version", "parameters", "run_id", "git_commit", "copied_from")
    measured = {name: value for name, value in stored.get("metrics", {}).items() if value is not None}
    return Candidate(
        **{name: getattr(version, name) for name in kept},
        digest=version.candidate_digest,
        recipe=version.recipe,
        estimator=version.estimator,
        dataset_uri=version.dataset_uri,
        metrics=measured,
    )


def _evaluation(source: Platform, version: ModelVersion, decision: Decision) -> Evaluation:
    for evaluation in remembered(source, version.model, "evaluation", Evaluation):
        if evaluation.digest == decision.evaluation_digest:
            return evaluation
    raise ArtifactError(
        f"The evaluation that version {version.version} was judged by is no longer remembered.",
        where=str(Names(version.model).memo(source.store.root, "evaluation")),
        mend=f"Materialise {version.model}/evaluation for that candidate again, then copy.",
    )


def _verify(source: Platform, case: Measured, decision: Decision, number: int) -> None:
    """Everything that a registration on the source would demand, of the source's own files."""
    store, uri = source.store, case.candidate.uri
    verify(
        decision,
        candidate=case.candidate,
        evaluation=case.evaluation,
        policy_digest=case.policy_digest,
        champion=decision.champion,
        registered=number,
        files=store.published(uri),
        open_file=lambda name: store.open(uri.join(name)),
        key=source.settings.seal_key(),
    )


# --- what the target gets ---------------------------------------------------------------------------------


def _placed(route: _Route, version: ModelVersion, case: Measured) -> Measured:
    """The case with its folders on the target."""
    names, root = Names(version.model), route.target.store.root
    candidate, evaluation = case.candidate, case.evaluation
    origin = Origin(
        platform=route.here,
        version=version.version,
        uri=version.uri,
        decision_digest=version.decision_digest,
    )
    model = names.copied(names.candidates(root), candidate.digest)
    _publish(route, "candidate", candidate.uri, model, candidate.files)
    results = names.copied(names.evaluations(root), evaluation.digest)
    files = route.source.store.published(evaluation.uri)
    if files is None:
        raise ArtifactError(
            "The evaluation's folder is not (wholly) there.",
            where=str(evaluation.uri),
            mend=f"Materialise {version.model}/evaluation for that candidate again, then copy.",
        )
    _publish(route, "evaluation", evaluation.uri, results, files)
    return Measured(
        case.loaded,
        candidate.model_copy(update={"uri": model, "copied_from": origin}),
        evaluation.model_copy(update={"uri": results}),
    )


def _publish(
    route: _Route, what: str, uri: ArtifactUri, place: ArtifactUri, files: Mapping[str, str]
) -> None:
    """Copy a folder by way of this machine's disk, and compare every file with its SHA-256 on both sides."""
    source, target = route.source.store, route.target.store
    there = target.published(place) == files
    if not there:
        with tempfile.TemporaryDirectory(prefix="mlops-copy-") as scratch:
            folder = Path(scratch) / what
            for name in files:
                source.download(uri.join(name), folder / name)
            arrived = digest_folder(folder)
            for name, digest in files.items():
                if arrived[name] != digest:
                    raise ArtifactError(
                        f"{name} is not the file that was published.",
                        where=str(uri),
                        mend="Restore it, or let its asset be materialised again; then copy.",
                    )
            target.publish(folder, place)
    if changed := changed_file(files, target.published(place), lambda name: target.open(place.join(name))):
        raise ArtifactError(f"The copy is damaged: {changed}", where=str(place), mend="Delete it, then copy.")
    verb = "there already" if there else "copied"
    route.say(f"{what}: {len(files)} files {verb}, checksums verified on {route.here} and {route.there}")


def _registered(route: _Route, case: Measured, decision: Decision) -> ModelVersion:
    """Register on the target, and leave there what its own runs would have left to deploy from."""
    target, model = route.target, case.candidate.model
    remember_copy(target, model, "evaluation", case.evaluation, case.evaluation.digest)
    found = standing(target, case)
    if found is None:
        champion = _comparable(route, case, decision)
        found = decide(target, case, champion, run_id=decision.run_id, judged=lambda: decision.gates)
    version = target.registry.register(
        case.candidate,
        case.evaluation,
        found[0],
        policy_digest=case.policy_digest,
        approval=case.loaded.spec.registry.approval,
    )
    names = Names(model)
    handover.save_if_first(target, names.asset("registered_model"), version)
    handover.save_if_first(target, names.asset("evaluation"), case.evaluation)
    route.say(f"version {version.version} on {route.there}: {version.approval}")
    return version


def _comparable(route: _Route, case: Measured, decision: Decision) -> ModelVersion | None:
    """The target's champion, where the verdict says about it what the gates would say.

    Raises:
        GateRefusedError: where a gate asks about the champion, and the target's is another model than the one
            that the verdict compared with.
    """
    champion = route.target.registry.champion(case.candidate.model)
    if champion is None or not any(gate.champion for gate in case.loaded.spec.gates):
        return champion
    judged = decision.champion
    against = route.source.registry.get(champion.model, judged) if judged else None
    if against is not None and against.candidate_digest == champion.candidate_digest:
        return champion
    mend = f"Let {route.there}'s own gates compare them: train there with mlops-assets run {champion.model}."
    if against is not None:
        mend = f"Copy version {against.version} first and let it be champion there. Or: {mend}"
    raise _refused(
        champion,
        f"the verdict on {route.here} compared with {f'version {judged}' if judged else 'no champion'}, but "
        f"{route.there}'s champion, version {champion.version}, is another model, and its gates ask for a "
        "comparison.",
        mend,
    )


def _refused(version: ModelVersion, what: str, mend: str) -> GateRefusedError:
    where = f"{version.model} version {version.version}"
    return GateRefusedError(f"Not copied: {what}", where=where, mend=mend)
