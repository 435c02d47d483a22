"""LoadedModel: verified before it is parsed, cast by its signature, the same answers in any batches."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.tree import DecisionTreeRegressor

from mlops_assets.artifacts import digest_file
from mlops_assets.errors import ArtifactError, SignatureError
from mlops_assets.runtime.archive import dump_archive
from mlops_assets.runtime.model import CHUNK, LoadedModel
from mlops_assets.runtime.preprocessing import build_pipeline
from mlops_assets.runtime.signature import Baseline, Feature, Signature, Target

FEATURES = (
    Feature(name="feet", type="float"),
    Feature(name="rooms", type="int"),
    Feature(name="region", type="string"),
    Feature(name="seen", type="timestamp"),
)


def stored(folder: Path, *, task: str = "regression", estimator: object = None) -> Path:
    draw = np.random.default_rng(0)
    frame = pd.DataFrame({"feet": draw.normal(size=300), "rooms": draw.integers(1, 6, 300).astype(float)})
    frame["region"] = draw.choice(["n", "s"], 300).astype(object)
    frame["seen"] = draw.uniform(1.7e9, 1.8e9, 300)
    classes = (False, True) if task == "classification" else None
    target = frame["feet"].to_numpy() > 0 if classes else frame["feet"].to_numpy() * 2
    fitted = build_pipeline(
        FEATURES, {"scale": True}, estimator or DecisionTreeRegressor(max_depth=5, random_state=0)
    )
    dump_archive(fitted.fit(frame, target), folder / "model.skops")
    baseline = Baseline(kind="prior", prior=(0.5, 0.5)) if classes else Baseline(kind="mean", value=0.0)
    signature = Signature(
        model="homes",
        task=task,  # type: ignore[arg-type]
        target=Target(name="y", type="bool" if classes else "float", classes=classes),
        features=FEATURES,
        aliases={"Square Feet": "feet"},
        estimator="x",
        dataset_version="v",
        baseline=baseline,
    )
    (folder / "model.json").write_bytes(signature.to_json())
    return folder


def rows(count: int) -> pa.Table:
    draw = np.random.default_rng(1)
    return pa.table(
        {
            "feet": draw.normal(size=count),
            "rooms": draw.integers(1, 6, count),
            "region": draw.choice(["n", "s", "unheard of"], count),
            "seen": pa.array(np.full(count, np.datetime64("2026-01-31T00:00:00", "us"))),
        }
    )


def test_predictions_are_the_same_whole_in_batches_and_as_records(tmp_path: Path) -> None:
    model, table = LoadedModel.load(stored(tmp_path)), rows(CHUNK + 500)
    whole = model.predict(table)
    parts = [model.predict(batch) for batch in table.to_batches(max_chunksize=10_001)]
    assert (
        whole.equals(pa.concat_tables(parts).combine_chunks())
        or whole.to_pydict() == pa.concat_tables(parts).to_pydict()
    )
    records = [{**row, "seen": row["seen"].isoformat()} for row in table.slice(0, 50).to_pylist()]
    assert model.predict_records(json.loads(json.dumps(records))) == whole.slice(0, 50).to_pylist()


def test_column_order_extra_columns_aliases_and_nulls_change_nothing_else(tmp_path: Path) -> None:
    model, table = LoadedModel.load(stored(tmp_path)), rows(100)
    expected = model.predict(table).to_pydict()
    assert model.predict(table.select(["seen", "region", "rooms", "feet"])).to_pydict() == expected
    assert model.predict(table.append_column("id", table.column("rooms"))).to_pydict() == expected
    assert model.predict(table.rename_columns({"feet": "Square Feet"})).to_pydict() == expected
    with pytest.raises(SignatureError, match="no column 'id'"):
        model.predict(table.append_column("id", table.column("rooms")), strict=True)
    holes = pa.table({name: pa.nulls(3) for name in table.column_names})
    assert len(set(model.predict(holes).column("prediction").to_pylist())) == 1


def test_a_missing_feature_is_named_with_what_looks_like_it(tmp_path: Path) -> None:
    model = LoadedModel.load(stored(tmp_path))
    with pytest.raises(SignatureError, match=r"'region' is missing.*'Region' looks like 'region'"):
        model.predict(rows(2).rename_columns({"region": "Region"}))
    with pytest.raises(SignatureError, match="row 2, column rooms"):
        model.predict_records([{"feet": 1, "rooms": 1, "region": "n", "seen": None}, {"feet": 1}])


def test_a_wrong_value_deep_in_a_table_is_named_by_its_own_row(tmp_path: Path) -> None:
    model, table = LoadedModel.load(stored(tmp_path)), rows(CHUNK + 20)
    values = [*map(str, table.column("rooms").to_pylist())]
    values[CHUNK + 10] = "four"
    position = table.column_names.index("rooms")
    with pytest.raises(SignatureError, match=f"row {CHUNK + 11}, column rooms: 'four'"):
        model.predict(table.set_column(position, "rooms", pa.array(values)))


def test_no_rows_give_no_predictions_of_the_right_type(tmp_path: Path) -> None:
    model = LoadedModel.load(stored(tmp_path, task="classification", estimator=LogisticRegression()))
    assert model.predict(rows(0)).schema == model.predict(rows(3)).schema
    assert model.predict(rows(0)).num_rows == 0


def test_a_classifier_answers_labels_and_probabilities_by_class(tmp_path: Path) -> None:
    model = LoadedModel.load(stored(tmp_path, task="classification", estimator=LogisticRegression()))
    answer = model.predict(rows(50))
    assert answer.column_names == ["prediction", "probability_false", "probability_true"]
    assert answer.schema.field("prediction").type == pa.bool_()
    for row in answer.to_pylist():
        assert row["probability_false"] + row["probability_true"] == pytest.approx(1)
        assert row["prediction"] == (row["probability_true"] > 0.5)


def test_a_classifier_without_probabilities_answers_labels_alone(tmp_path: Path) -> None:
    model = LoadedModel.load(stored(tmp_path, task="classification", estimator=RidgeClassifier()))
    assert model.predict(rows(5)).column_names == ["prediction"]


@pytest.mark.parametrize("name", ["model.skops", "model.json"])
def test_a_changed_file_is_refused_by_its_digest_before_it_is_parsed(tmp_path: Path, name: str) -> None:
    files = {path.name: digest_file(path) for path in stored(tmp_path).iterdir()}
    LoadedModel.load(tmp_path, files=files)
    (tmp_path / name).write_bytes(b"not even parseable")
    with pytest.raises(ArtifactError, match=f"{name} is not the recorded file"):
        LoadedModel.load(tmp_path, files=files)


def test_a_file_that_no_digest_vouches_for_is_refused(tmp_path: Path) -> None:
    files = {"model.json": digest_file(stored(tmp_path) / "model.json")}
    with pytest.raises(ArtifactError, match=r"model\.skops is not among"):
        LoadedModel.load(tmp_path, files=files)


def test_a_signature_that_trusts_types_itself_is_refused(tmp_path: Path) -> None:
    path = stored(tmp_path) / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "trusted_types": ["os.system"]}))
    with pytest.raises(ArtifactError, match="trusted_types"):
        LoadedModel.load(tmp_path)
