"""Copying a version to another platform: what goes along, what is refused, what a crash leaves."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mlops_assets.artifacts import ArtifactUri, Evaluation, ModelVersion
from mlops_assets.artifacts.decisions import changed_file, sealed
from mlops_assets.declaration.loaded import LoadedDeclaration
from mlops_assets.errors import ArtifactError, GateRefusedError
from mlops_assets.pipeline import handover
from mlops_assets.pipeline.copying import Copied, copy
from mlops_assets.pipeline.deployment import evaluation_of
from mlops_assets.pipeline.judgement import judge
from mlops_assets.pipeline.names import Names
from mlops_assets.pipeline.verdicts import Measured, decide, records
from mlops_assets.platforms.ports import Platform
from mlops_assets_tests.commands import Deployment
from mlops_assets_tests.factories import declaration, home_attributes, local_platform
from mlops_assets_tests.judged import candidate, registry_platform
from mlops_assets_tests.judged import evaluation as measured_value

NAMES = Names("homes")


@dataclass(frozen=True)
class Two:
    """Two platforms under one gate key, and the model declared on both."""

    here: Platform
    there: Platform
    loaded: LoadedDeclaration

    def copy(self, number: int, **changed: Any) -> Copied:
        return copy(self.here, self.there, changed.get("loaded", self.loaded), number, say=lambda _: None)

    def numbers(self) -> list[int]:
        return [version.version for version in self.there.registry.versions("homes")]


@pytest.fixture
def two(tmp_path: Path) -> Two:
    platforms = [registry_platform(tmp_path / name) for name in ("here", "there")]
    for platform in platforms:
        (platform.settings.root / "gate.key").write_text("k" * 32)
    return Two(platforms[0], platforms[1], declaration(tmp_path))


def without_champion_gate(two: Two) -> LoadedDeclaration:
    return declaration(two.here.settings.root, home_attributes() | {"gates": [{"metric": "r2", "min": 0.5}]})


def registered(
    platform: Platform, loaded: LoadedDeclaration, content: str, rmse: float = 5.0
) -> ModelVersion:
    """A version that the declared gates judged, with all that a run leaves of it in the store."""
    one = candidate(platform, content=content)
    uri = NAMES.evaluations(platform.store.root).join(content)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "evaluation"
        (folder / "plots").mkdir(parents=True)
        for name in ("samples.json", "expected.json", "plots/residuals.png"):
            (folder / name).write_text(f"{content} {name}")
        platform.store.publish(folder, uri)
    measured = measured_value(one, uri=uri)
    memo = {"key": "k", "parts": {}, "value": measured.model_dump(mode="json"), "run_id": "r"}
    record = NAMES.memo(platform.store.root, "evaluation").join(f"{measured.digest}.json")
    platform.store.write(record, json.dumps(memo).encode())
    champion = platform.registry.champion("homes")
    other = measured_value(champion_of(platform, champion)) if champion else None
    case = Measured(loaded, one, measured)
    decision, _ = decide(
        platform, case, champion, run_id="run-1", judged=lambda: judge(loaded.spec.gates, measured, other)
    )
    return platform.registry.register(
        one,
        measured,
        decision,
        policy_digest=case.policy_digest,
        approval=loaded.spec.registry.approval,
    )


def champion_of(platform: Platform, version: ModelVersion) -> Any:
    """A candidate with the champion's files."""
    made = candidate(platform, content="measured again")
    return made.model_copy(update={"digest": version.candidate_digest})


def whole(platform: Platform, uri: ArtifactUri) -> bool:
    """Whether every byte below `uri` is what its marker says."""
    store = platform.store
    files = store.published(uri)
    return files is not None and changed_file(files, files, lambda name: store.open(uri.join(name))) is None


def published(platform: Platform) -> list[str]:
    """Every folder of the store that a reader would take as whole."""
    return [
        str(item.uri) for item in platform.store.list(platform.store.root) if item.uri.name == "_complete"
    ]


def test_files_verdict_and_lineage_go_along_and_numbers_count_anew(two: Two) -> None:
    registered(two.here, two.loaded, "unused")
    registered(two.here, two.loaded, "first")
    original = registered(two.here, two.loaded, "second")
    assert original.version == 3
    copied = two.copy(3)
    version = copied.version
    assert (version.version, version.approval, version.aliases) == (1, "approved", ("champion",))
    kept = ("candidate_digest", "files", "metrics", "parameters", "dataset_version", "dataset_uri", "recipe")
    for name in (*kept, "estimator", "run_id", "git_commit"):
        assert getattr(version, name) == getattr(original, name) is not None, name
    assert version.copied_from is not None
    came = version.copied_from.model_dump(exclude={"decision_digest"})
    assert came == {"platform": "local", "version": 3, "uri": original.uri}
    assert version.copied_from.decision_digest == original.decision_digest
    assert version.uri.startswith(two.there.store.root) and whole(two.there, version.uri)
    assert copied.evaluation.uri.startswith(two.there.store.root) and whole(two.there, copied.evaluation.uri)
    (decision,) = records(two.there, "homes", version.candidate_digest)
    assert (decision.digest, decision.champion, decision.passed) == (version.decision_digest, None, True)
    assert sealed(decision, two.there.settings.seal_key())
    # What a deployment there needs, also one by the sensor, which hands on the latest.
    assert evaluation_of(two.there, version, measured_value(candidate(two.there))) == copied.evaluation
    for stage, returns in (("registered_model", ModelVersion), ("evaluation", Evaluation)):
        assert handover.latest(two.there, NAMES.asset(stage), returns) is not None


def test_the_same_version_again_is_the_same_version(two: Two) -> None:
    registered(two.here, two.loaded, "first")
    before = two.copy(1).version
    assert two.copy(1).version == before
    # Also once another champion reigns there, and gates would ask about it.
    registered(two.there, two.loaded, "of its own")
    assert two.copy(1).version.version == before.version
    assert two.numbers() == [2, 1]


def test_a_copy_is_copied_on(two: Two, tmp_path: Path) -> None:
    original = registered(two.here, two.loaded, "first")
    two.copy(1)
    third = registry_platform(tmp_path / "third")
    version = copy(two.there, third, two.loaded, 1, say=lambda _: None).version
    assert (version.files, version.dataset_uri) == (original.files, original.dataset_uri)
    assert version.copied_from is not None
    assert version.copied_from.uri.startswith(two.there.store.root)


def test_a_verdict_holds_against_the_champion_that_it_compared_with(two: Two) -> None:
    for content in ("unused", "first", "second"):
        registered(two.here, two.loaded, content)
    two.copy(2)  # version 1 there
    version = two.copy(3).version
    (decision,) = records(two.there, "homes", version.candidate_digest)
    assert (version.version, decision.champion) == (2, 1)


def test_a_champion_of_the_same_number_is_not_the_same_champion(two: Two) -> None:
    registered(two.here, two.loaded, "first")
    registered(two.here, two.loaded, "second")
    registered(two.there, two.loaded, "of its own")
    with pytest.raises(GateRefusedError, match="compared with version 1, but local's champion, version 1"):
        two.copy(2)
    with pytest.raises(GateRefusedError, match="compared with no champion"):
        two.copy(1)
    assert two.numbers() == [1]


def test_gates_that_ask_about_no_champion_judge_alike_on_both(two: Two) -> None:
    loaded = without_champion_gate(two)
    registered(two.here, loaded, "first")
    registered(two.there, loaded, "of its own")
    assert two.copy(1, loaded=loaded).version.version == 2


@pytest.mark.parametrize(
    ("kind", "name", "error"),
    [
        ("candidates", "model.skops", GateRefusedError),
        ("evaluations", "expected.json", ArtifactError),
        ("evaluations", "_complete", ArtifactError),
    ],
)
def test_a_damaged_source_is_refused_and_leaves_nothing_registered(
    two: Two, kind: str, name: str, error: type[Exception]
) -> None:
    registered(two.here, two.loaded, "first")
    (file,) = (two.here.settings.root / "store" / kind / "homes").glob(f"*/{name}")
    if name == "_complete":
        file.unlink()
    else:
        file.write_text("changed" + file.read_text()[7:])
    with pytest.raises(error, match=name if name != "_complete" else "not .wholly. there"):
        two.copy(1)
    assert two.numbers() == []
    assert not any("evaluations" in folder or kind == "candidates" for folder in published(two.there))


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_what_a_crash_left_is_completed_by_the_next_copy(two: Two, steps: int) -> None:
    registered(two.here, two.loaded, "first")
    said: list[str] = []

    def crash(text: str) -> None:
        said.append(text)
        if len(said) == steps:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        copy(two.here, two.there, two.loaded, 1, say=crash)
    assert two.numbers() == ([1] if steps == 4 else [])
    version = two.copy(1).version
    assert whole(two.there, version.uri)
    assert two.numbers() == [1]


def test_a_half_folder_is_replaced_and_a_damaged_copy_is_refused(two: Two) -> None:
    version = registered(two.here, two.loaded, "first")
    place = NAMES.copied(NAMES.candidates(two.there.store.root), version.candidate_digest)
    two.there.store.write(place.join("model.skops"), b"half")
    assert two.copy(1).version.uri == place
    two.there.store.write(place.join("model.skops"), b"other")
    with pytest.raises(ArtifactError, match=r"copy is damaged: model.skops was changed"):
        two.copy(1)


def test_what_the_gate_key_did_not_seal_is_no_verdict(two: Two, tmp_path: Path) -> None:
    version = registered(two.here, two.loaded, "first")
    folder = two.here.settings.root / "store/decisions/homes" / version.candidate_digest[:16]
    (record,) = folder.iterdir()
    record.write_text(record.read_text().replace("5.0", "4.0"))
    with pytest.raises(GateRefusedError, match="gone, or was edited"):
        two.copy(1)
    other = local_platform(tmp_path / "here", gate_key="x" * 32)
    with pytest.raises(ArtifactError, match="sealed with another gate key"):
        copy(other, two.there, two.loaded, 1, say=lambda _: None)
    assert two.numbers() == [] and published(two.there) == []


def test_gates_of_today_and_the_targets_approval_decide(two: Two) -> None:
    registered(two.here, two.loaded, "first")
    stricter = home_attributes() | {"gates": [{"metric": "r2", "min": 0.95}]}
    with pytest.raises(GateRefusedError, match="gates were changed after the decision"):
        two.copy(1, loaded=declaration(two.here.settings.root, stricter))
    manual = declaration(two.here.settings.root, home_attributes() | {"registry": {"approval": "manual"}})
    waiting = two.copy(1, loaded=manual).version
    assert (waiting.approval, two.there.registry.champion("homes")) == ("pending", None)


def test_a_rejection_is_for_good_on_every_platform(two: Two) -> None:
    registered(two.here, two.loaded, "first")
    registered(two.here, two.loaded, "second")
    two.here.registry.reject("homes", 1, by="somebody")
    with pytest.raises(GateRefusedError, match="it was rejected"):
        two.copy(1)
    assert two.numbers() == []


def test_the_command_names_a_setting_that_the_target_lacks(two: Two, tmp_path: Path) -> None:
    deployment = Deployment(tmp_path)
    same = deployment.command("copy", "homes", "1", "--to", "local")
    assert (same.returncode, "homes is on local already" in same.stderr) == (2, True)
    lacking = deployment.command("copy", "homes", "1", "--to", "gcp")
    assert (lacking.returncode, "MLOPS_GCP_ROOT" in lacking.stderr) == (1, True), lacking.stderr
