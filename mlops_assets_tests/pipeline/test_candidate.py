"""The candidate stage: what it trains, what it hands on, when it is skipped."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from mlops_assets.artifacts import Candidate, Dataset, Evaluation, digest_of
from mlops_assets.artifacts.metrics import brief
from mlops_assets_tests.factories import HOME_COLUMNS, csv_text, home_attributes, home_rows, local_platform
from mlops_assets_tests.pipeline.modelling import ModelStages
from mlops_assets_tests.pipeline.running import failure, metadata


@pytest.fixture
def stages(tmp_path: Path) -> ModelStages:
    stages = ModelStages(tmp_path)
    stages.prepare()
    return stages


def test_a_candidate_is_trained_published_and_handed_on(stages: ModelStages) -> None:
    result = stages.model("candidate")
    assert result.success
    candidate = stages.value("candidate", Candidate)
    dataset = stages.value("dataset", Dataset)
    assert stages.platform.store.published(candidate.uri) == candidate.files
    assert candidate.digest == digest_of(candidate.files)
    assert (candidate.dataset_version, candidate.parameters) == (dataset.version, {"max_depth": 6})
    assert candidate.metrics["r2"] > 0.8
    shown = metadata(result, "candidate")
    assert shown["estimator"] == "sklearn.tree.DecisionTreeRegressor"
    assert shown["validation_r2"] == brief(candidate.metrics["r2"])
    assert shown["train_rows"] == dataset.split("train").rows


def test_a_second_run_trains_nothing_and_says_so(stages: ModelStages) -> None:
    stages.model("candidate")
    first = stages.value("candidate", Candidate)
    again = stages.model("candidate")
    assert stages.value("candidate", Candidate) == first
    assert metadata(again, "candidate")["mlops/skipped"]
    assert metadata(again, "candidate")["validation_r2"] == brief(first.metrics["r2"])


def test_a_changed_parameter_trains_again_and_is_named(stages: ModelStages) -> None:
    stages.model("candidate")
    first = stages.value("candidate", Candidate)
    attributes = home_attributes()
    attributes["training"]["parameters"] = {"max_depth": 2}
    stages.declare(attributes)
    shown = metadata(stages.model("candidate"), "candidate")
    assert "max_depth 6 → 2" in shown["mlops/reason"]
    assert stages.value("candidate", Candidate).digest != first.digest


def test_a_candidate_whose_files_are_gone_is_trained_again_to_the_same_digest(stages: ModelStages) -> None:
    stages.model("candidate")
    first = stages.value("candidate", Candidate)
    stages.platform.store.delete(first.uri)
    shown = metadata(stages.model("candidate"), "candidate")
    assert not shown["mlops/skipped"]
    assert stages.value("candidate", Candidate).digest == first.digest


def test_forced_training_and_evaluation_really_run_again_and_say_so(stages: ModelStages) -> None:
    assert stages.model().success
    before = {"candidate": stages.value("candidate", Candidate)}
    before["evaluation"] = stages.value("evaluation", Evaluation)
    stages.platform = local_platform(stages.path, force=True)
    result = stages.model()
    assert result.success
    logged = [record.user_message for record in stages.instance.all_logs(result.run_id)]
    for stage, says in (("candidate", "rows to train on"), ("evaluation", "predicting the test rows")):
        shown = metadata(result, stage)
        assert (shown["mlops/skipped"], shown["mlops/reason"]) == (False, "forced")
        assert (shown["job/forced"], shown["job/reused"], shown["job/reproduced"]) == (True, False, True)
        assert any(says in message for message in logged), stage
    after = stages.value("candidate", Candidate)
    assert (after.digest, after.uri, after.files) == tuple(
        getattr(before["candidate"], name) for name in ("digest", "uri", "files")
    )
    assert stages.value("evaluation", Evaluation) == before["evaluation"]


def test_a_forced_training_that_draws_at_random_warns_and_keeps_the_candidate(tmp_path: Path) -> None:
    program = (
        "import os\n"
        "from sklearn.compose import make_column_transformer\n"
        "from sklearn.linear_model import Ridge\n"
        "from sklearn.pipeline import make_pipeline\n"
        "def train(train, validation, parameters):\n"
        "    alpha = 1 + int.from_bytes(os.urandom(4), 'big') / 2**32\n"
        "    kept = make_column_transformer(('passthrough', ['square_feet', 'bedrooms']))\n"
        "    features = train.drop(columns='price')\n"
        "    return make_pipeline(kept, Ridge(alpha=alpha)).fit(features, train['price'])\n"
    )
    attributes = home_attributes()
    attributes["training"] = {"task": "regression", "target": "price", "program": "train.py"}
    stages = ModelStages(tmp_path, attributes, program=program)
    stages.prepare()
    assert stages.model("candidate").success
    before = stages.value("candidate", Candidate)
    stages.platform = local_platform(tmp_path, force=True)
    result = stages.model("candidate")
    shown = metadata(result, "candidate")
    assert shown["job/reproduced"] is False
    assert "model.skops" in shown["job/differing_files"]
    assert stages.value("candidate", Candidate).files == before.files
    warned = [record for record in stages.instance.all_logs(result.run_id) if record.level == logging.WARNING]
    assert any("made other bytes (model.json, model.skops)" in record.user_message for record in warned)


def test_columns_that_arrive_under_another_name_become_aliases(tmp_path: Path) -> None:
    attributes = home_attributes()
    attributes["arrivals"]["columns"]["square_feet"] = {"type": "float", "source": "Square Feet"}
    stages = ModelStages(tmp_path, attributes)
    header = ["Square Feet" if name == "square_feet" else name for name in HOME_COLUMNS]
    stages.arrive(**{"homes.csv": csv_text(home_rows(300), header)})
    assert stages.run_arrivals(["homes.csv"]).success
    assert stages.run("home_features", "dataset").success
    assert stages.model("candidate").success
    candidate = stages.value("candidate", Candidate)
    stored = json.loads(stages.platform.store.read(candidate.uri.join("model.json")))
    assert stored["aliases"] == {"Square Feet": "square_feet"}


def test_a_user_program_trains_and_a_comment_in_it_changes_nothing(tmp_path: Path) -> None:
    program = (
        "from sklearn.compose import make_column_transformer\n"
        "from sklearn.linear_model import Ridge\n"
        "from sklearn.pipeline import make_pipeline\n"
        "NUMBERS = ['square_feet', 'bedrooms', 'feet_per_room']\n"
        "def train(train, validation, parameters):\n"
        "    kept = make_column_transformer(('passthrough', NUMBERS))\n"
        "    features = train.drop(columns='price')\n"
        "    return make_pipeline(kept, Ridge(**parameters)).fit(features, train['price'])\n"
    )
    attributes = home_attributes()
    attributes["training"].update({"program": "train.py", "parameters": {"alpha": 2.0}})
    del attributes["training"]["estimator"]
    stages = ModelStages(tmp_path, attributes, program=program)
    stages.prepare()
    assert stages.model("candidate").success
    first = stages.value("candidate", Candidate)
    assert (first.estimator, first.parameters) == ("train.py", {"alpha": 2.0})
    stages.declare(attributes, program="# a comment\n" + program)
    assert metadata(stages.model("candidate"), "candidate")["mlops/skipped"]


def test_a_failed_training_names_the_reason_and_hands_nothing_on(tmp_path: Path) -> None:
    attributes = home_attributes()
    attributes["training"]["parameters"] = {"max_depth": -3}
    stages = ModelStages(tmp_path, attributes)
    stages.prepare()
    result = stages.model("candidate")
    assert not result.success
    assert "max_depth" in failure(result)
    assert stages.value("candidate", Candidate) is None
