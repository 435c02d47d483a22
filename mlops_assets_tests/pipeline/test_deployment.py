"""The endpoint stage: what the registry approved serves, whichever run asks; everything else is refused."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import pytest

from mlops_assets.artifacts import Candidate, Deployment, Evaluation, ModelVersion, digest_of
from mlops_assets.declaration.loaded import LoadedDeclaration
from mlops_assets.errors import ArtifactError, DataError, DeploymentError
from mlops_assets.pipeline import handover
from mlops_assets.pipeline.deployment import deploy_champion, endpoint_asset
from mlops_assets.pipeline.names import Names
from mlops_assets.pipeline.scoring import located, predict
from mlops_assets.platforms.binding import resources_for
from mlops_assets.platforms.ports import Platform
from mlops_assets.runtime.model import LoadedModel
from mlops_assets_tests.factories import declaration, local_platform
from mlops_assets_tests.judged import POLICY, decision
from mlops_assets_tests.judged import evaluation as measured_value
from mlops_assets_tests.runtime.models import ROWS, homes_model

NAMES = Names("homes")


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    platform = local_platform(tmp_path)
    yield platform
    if (platform.settings.root / "endpoints" / "homes").exists():
        assert platform.endpoint.stop("homes").status == "stopped"


@pytest.fixture
def loaded(tmp_path: Path) -> LoadedDeclaration:
    return declaration(tmp_path)


@dataclass(frozen=True)
class Registered:
    version: ModelVersion
    evaluation: Evaluation


def register(platform: Platform, number: int, *, manual: bool = False, wrong: bool = False) -> Registered:
    """A real model through the registry, with the folder that its evaluation leaves."""
    root = platform.store.root
    uri = NAMES.candidates(root).join(f"recipe-{number}")
    results = NAMES.evaluations(root).join(f"evaluation-{number}")
    with tempfile.TemporaryDirectory() as scratch:
        folder, left = Path(scratch) / "model", Path(scratch) / "evaluation"
        files = homes_model(folder, offset=number * 1e6)
        answers = LoadedModel.load(folder, files=files).predict_records(ROWS)
        left.mkdir()
        (left / "samples.json").write_text(json.dumps(ROWS))
        (left / "expected.json").write_text(
            json.dumps([{"prediction": 0.0}] * len(ROWS) if wrong else answers)
        )
        (folder / "_complete").unlink()
        platform.store.publish(folder, uri)
        platform.store.publish(left, results)
    candidate = Candidate(
        model="homes",
        digest=digest_of(files),
        uri=uri,
        files=files,
        recipe=digest_of(number),
        dataset_version="d" * 64,
        dataset_uri=root.join("datasets", "homes", "d" * 16),
        estimator="sklearn.ensemble.HistGradientBoostingRegressor",
    )
    evaluation = measured_value(candidate, uri=results)
    champion = platform.registry.champion("homes")
    version = platform.registry.register(
        candidate,
        evaluation,
        decision(platform, candidate, evaluation, champion=champion.version if champion else None),
        policy_digest=digest_of(POLICY),
        approval="manual" if manual else "automatic",
    )
    return Registered(version, evaluation)


def hand_over(platform: Platform, made: Registered, run_id: str) -> None:
    handover.save(platform, NAMES.asset("registered_model"), run_id, made.version)
    handover.save(platform, NAMES.asset("evaluation"), run_id, made.evaluation)


def remember(platform: Platform, made: Registered) -> None:
    """What the evaluation stage's memo keeps of an evaluation."""
    record = {"key": "k", "parts": {}, "value": made.evaluation.model_dump(mode="json"), "run_id": "r"}
    uri = NAMES.memo(platform.store.root, "evaluation").join(f"{made.evaluation.digest}.json")
    platform.store.write(uri, json.dumps(record).encode())


def materialise(platform: Platform, loaded: LoadedDeclaration) -> dg.ExecuteInProcessResult:
    """Run the endpoint alone, as the approval sensor does."""
    upstream = [
        dg.AssetSpec(NAMES.asset(stage)).with_io_manager_key("handover")
        for stage in ("registered_model", "evaluation")
    ]
    endpoint = endpoint_asset(loaded)
    return dg.materialize(
        [*upstream, endpoint], selection=[endpoint], resources=resources_for(platform), raise_on_error=False
    )


def answer(deployment: Deployment) -> float:
    assert deployment.url is not None
    reply = httpx.post(f"{deployment.url}/invocations", json={"instances": ROWS}, timeout=30)
    return reply.raise_for_status().json()["predictions"][0]


def failure(result: dg.ExecuteInProcessResult) -> str:
    (event,) = [event for event in result.all_events if event.is_step_failure]
    data = event.step_failure_data
    assert data.user_failure_data is not None and data.user_failure_data.description is not None
    return data.user_failure_data.description


def test_the_champion_serves_and_the_metadata_shows_how_to_ask_it(
    platform: Platform, loaded: LoadedDeclaration
) -> None:
    made = register(platform, 1)
    hand_over(platform, made, "run-1")
    result = materialise(platform, loaded)
    assert result.success
    (materialization,) = result.asset_materializations_for_node("homes__endpoint")
    metadata: dict[str, Any] = {name: item.value for name, item in materialization.metadata.items()}
    assert metadata["status"] == "serving" and metadata["version"] == 1
    assert metadata["smoke_test_ms"] > 0
    status = platform.endpoint.status("homes")
    assert f"{status.url}/invocations" in metadata["example"]
    body = metadata["example"].split("-d '")[1].split("'")[0]
    reply = httpx.post(
        f"{status.url}/invocations", content=body, headers={"content-type": "application/json"}
    )
    assert reply.status_code == 200
    stored = handover.latest(platform, NAMES.asset("endpoint"), Deployment)
    assert stored is not None and stored.version == 1


def test_a_version_that_waits_for_approval_does_not_serve_and_the_old_one_goes_on(platform: Platform) -> None:
    first = register(platform, 1)
    before, _ = deploy_champion(platform, first.version, first.evaluation)
    price = answer(before)
    remember(platform, first)
    second = register(platform, 2, manual=True)
    waiting, champion = deploy_champion(platform, second.version, second.evaluation)
    assert (waiting.status, waiting.version, waiting.url) == ("waiting", 1, before.url)
    assert "mlops-assets approve homes 2" in waiting.message
    assert champion is not None and champion.version == 1
    assert answer(waiting) == price


def test_the_first_version_that_waits_starts_no_server(platform: Platform) -> None:
    only = register(platform, 1, manual=True)
    waiting, champion = deploy_champion(platform, only.version, only.evaluation)
    assert (waiting.status, waiting.url, champion) == ("waiting", None, None)
    assert platform.endpoint.status("homes").status == "stopped"


def test_after_the_approval_the_endpoint_alone_deploys_it(
    platform: Platform, loaded: LoadedDeclaration
) -> None:
    made = register(platform, 1, manual=True)
    hand_over(platform, made, "run-1")
    platform.registry.approve("homes", 1, by="a person")
    assert materialise(platform, loaded).success
    assert platform.endpoint.status("homes").version == 1


def test_a_rolled_back_champion_is_deployed_with_its_own_evaluation(platform: Platform) -> None:
    first = register(platform, 1)
    price = answer(deploy_champion(platform, first.version, first.evaluation)[0])
    remember(platform, first)
    second = register(platform, 2)
    assert answer(deploy_champion(platform, second.version, second.evaluation)[0]) > price + 5e5
    platform.registry.rollback("homes")
    back, champion = deploy_champion(platform, second.version, second.evaluation)
    assert champion is not None and champion.version == 1
    assert answer(back) == price


def test_what_a_person_stopped_is_not_started_by_a_run_an_approval_or_the_sensors_run(
    platform: Platform, loaded: LoadedDeclaration
) -> None:
    first = register(platform, 1)
    hand_over(platform, first, "run-1")
    remember(platform, first)
    assert materialise(platform, loaded).success
    platform.endpoint.stop("homes", by="anna")
    assert materialise(platform, loaded).success  # as after an object that landed
    assert platform.endpoint.status("homes").status == "stopped"

    second = register(platform, 2, manual=True)
    hand_over(platform, second, "run-2")
    waiting, _ = deploy_champion(platform, second.version, second.evaluation)
    assert "waits for approval" in waiting.message and "Stopped by anna" in waiting.message
    platform.registry.approve("homes", 2, by="bob")
    result = materialise(platform, loaded)
    assert result.success
    (materialization,) = result.asset_materializations_for_node("homes__endpoint")
    metadata = {name: item.value for name, item in materialization.metadata.items()}
    assert metadata["status"] == "stopped"
    assert "Stopped by anna: version 2 is not deployed" in str(metadata["message"])
    assert "mlops-assets endpoints restart homes" in str(metadata["message"])
    assert "url" not in metadata

    assert platform.endpoint.restart("homes").version == 1
    assert materialise(platform, loaded).success
    assert platform.endpoint.status("homes").version == 2


def test_a_rejected_version_is_never_deployed(platform: Platform, loaded: LoadedDeclaration) -> None:
    only = register(platform, 1, manual=True)
    hand_over(platform, only, "run-1")
    platform.registry.reject("homes", 1, by="a person")
    result = materialise(platform, loaded)
    assert not result.success
    assert "only an approved champion serves" in failure(result)
    assert platform.endpoint.status("homes").status == "stopped"


def test_a_champion_with_wrong_answers_fails_the_asset_which_says_what_goes_on(
    platform: Platform, loaded: LoadedDeclaration
) -> None:
    first = register(platform, 1)
    deploy_champion(platform, first.version, first.evaluation)
    hand_over(platform, register(platform, 2, wrong=True), "run-2")
    result = materialise(platform, loaded)
    assert not result.success
    assert "Version 1 goes on serving" in failure(result)
    assert platform.endpoint.status("homes").version == 1


def test_a_model_file_changed_after_registration_is_not_deployed(platform: Platform) -> None:
    made = register(platform, 1)
    file = platform.store.local(made.version.uri) / "model.skops"
    file.chmod(0o600)
    file.write_bytes(file.read_bytes() + b"x")
    with pytest.raises(DeploymentError, match=r"model\.skops"):
        deploy_champion(platform, made.version, made.evaluation)
    assert platform.endpoint.status("homes").status == "stopped"


def test_without_the_champions_samples_nothing_is_deployed(platform: Platform) -> None:
    made = register(platform, 1)
    platform.store.delete(made.evaluation.uri)
    with pytest.raises(ArtifactError, match="sample rows are gone"):
        deploy_champion(platform, made.version, made.evaluation)
    assert platform.endpoint.status("homes").status == "stopped"


def test_predict_scores_a_file_with_the_champion_or_a_named_version(
    platform: Platform, tmp_path: Path
) -> None:
    data, out = tmp_path / "data.jsonl", tmp_path / "out.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    with pytest.raises(ArtifactError, match="no champion"):
        predict(platform, "homes", data, out)
    register(platform, 1)
    register(platform, 2)
    done = predict(platform, "homes", data, out)
    assert (done["model"], done["version"], done["rows"], done["out"]) == ("homes", 2, len(ROWS), str(out))
    newest = json.loads(out.read_text().splitlines()[0])["prediction"]
    with pytest.raises(DataError, match="objects to objects"):
        predict(platform, "homes", located("s3://bucket/rows.csv"), out)
    predict(platform, "homes", data, out, version=1)
    assert json.loads(out.read_text().splitlines()[0])["prediction"] < newest - 5e5
