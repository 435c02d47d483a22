"""A dataset is named by its content, split without overlap, described by its manifest, and made once."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from mlops_assets.artifacts import Dataset, digest_file
from mlops_assets_tests.factories import csv_text, home_attributes, home_rows
from mlops_assets_tests.pipeline.running import DataStages, checks, failure, materialized, metadata

SPLITS = ("train", "validation", "test")
STAGES = ("home_features", "dataset")


def homes_with(tmp_path: Path, rows: list[list[Any]], attributes: Any = None, **options: Any) -> DataStages:
    homes = DataStages(tmp_path, attributes, **options)
    homes.arrive(**{"a.csv": csv_text(rows)})
    assert homes.run_arrivals(["a.csv"]).success
    return homes


def from_arrivals(**changes: Any) -> dict[str, Any]:
    """Attributes of a model without tables; changes to `split` and to `training`."""
    attributes = home_attributes()
    attributes["dataset"] = {
        "from": "arrivals",
        "split": changes.pop("split", {"by": "hash", "key": "listing_id"}),
    }
    attributes["training"] |= changes
    return attributes


def classes_of(**counts: int) -> list[list[Any]]:
    """Rows whose region, the target, has these counts."""
    regions = [region for region, count in counts.items() for _ in range(count)]
    return [
        [*row[:2], region, *row[3:]] for row, region in zip(home_rows(len(regions)), regions, strict=True)
    ]


def classifier(**split: Any) -> dict[str, Any]:
    attributes = from_arrivals(
        task="classification",
        target="region",
        estimator="sklearn.tree.DecisionTreeClassifier",
        split={"by": "hash", "key": "listing_id", **split},
    )
    attributes["gates"] = [{"metric": "accuracy", "min": 0.5}]
    attributes["evaluation"] = {}
    return attributes


def parquet(dataset: Dataset, name: str) -> Any:
    return pq.read_table(dataset.split(name).uri.path)


def manifest(dataset: Dataset) -> dict[str, Any]:
    return json.loads((dataset.uri.path / "manifest.json").read_bytes())


@pytest.fixture
def homes(tmp_path) -> DataStages:
    return homes_with(tmp_path, home_rows(200))


def made(homes: DataStages, *stages: str) -> Dataset:
    result = homes.run(*(stages or STAGES))
    assert result.success, failure(result)
    return homes.value("dataset", Dataset)


def test_the_splits_hold_every_row_once_and_are_what_the_manifest_says(homes):
    dataset = made(homes)
    tables = {name: parquet(dataset, name) for name in SPLITS}
    ids = [value for table in tables.values() for value in table["listing_id"].to_pylist()]
    assert sorted(ids) == list(range(1, 201))
    for split in dataset.splits:
        assert split.rows == tables[split.name].num_rows
        assert split.sha256 == digest_file(split.uri.path)
    assert [column.name for column in dataset.columns] == tables["train"].column_names
    assert dataset.features == ("region", "square_feet", "bedrooms", "feet_per_room")
    assert (dataset.target, dataset.key, dataset.time) == ("price", "listing_id", None)
    assert dataset.passthrough["square_feet"] == "square_feet"
    assert "feet_per_room" not in dataset.passthrough
    assert set(dataset.upstream) == {"homes.home_features"}
    assert homes.platform.store.published(dataset.uri) is not None


def test_the_manifest_names_no_machine_and_describes_the_rows(homes):
    dataset = made(homes)
    described = manifest(dataset)
    assert str(homes.path) not in json.dumps(described)
    assert described["entities"] == {"entities": 200, "straddling": 0}
    assert {column["name"]: column["nulls"] for column in described["columns"]}["price"] == 0
    assert len(described["sample"]) == 5


def test_the_same_inputs_are_split_once(homes):
    first, before = made(homes), metadata(homes.run(*STAGES), "dataset")
    assert before["mlops/skipped"] is True
    assert before["version"] == first.version
    assert before["rows_train"] == first.split("train").rows
    assert "feet" in before["sample"]


def test_the_same_rows_in_another_order_and_in_other_files_are_the_same_dataset(tmp_path):
    rows = home_rows(200)
    first = made(homes_with(tmp_path / "1", rows))
    other = DataStages(tmp_path / "2")
    shuffled = random.Random(5).sample(rows, len(rows))
    other.arrive(**{"x.csv": csv_text(shuffled[:70]), "y.csv": csv_text(shuffled[70:])})
    other.run_arrivals(["x.csv", "y.csv"])
    second = made(other)
    assert second.version == first.version
    assert [split.sha256 for split in second.splits] == [split.sha256 for split in first.splits]


def test_one_changed_cell_is_another_version(homes):
    first = made(homes)
    rows = home_rows(200)
    rows[17][3] += 1
    homes.arrive(**{"a.csv": csv_text(rows)})
    homes.run_arrivals(["a.csv"])
    assert made(homes).version != first.version
    assert homes.platform.store.published(first.uri) is not None


@pytest.mark.parametrize(
    "change",
    [{"split": {"by": "hash", "key": "listing_id", "seed": 7}}, {"exclude": ["listed_at", "bedrooms"]}],
)
def test_another_split_or_choice_of_features_is_another_version(tmp_path, change):
    homes = homes_with(tmp_path, home_rows(200), from_arrivals(), sql={})
    first = made(homes, "dataset")
    homes.declare(from_arrivals(**change), sql={})
    assert made(homes, "dataset").version != first.version


def test_a_dataset_of_arrivals_has_the_declared_columns_alone(tmp_path):
    dataset = made(homes_with(tmp_path, home_rows(200), from_arrivals(), sql={}), "dataset")
    assert parquet(dataset, "test").column_names == [
        "listing_id", "listed_at", "region", "square_feet", "bedrooms", "price",
    ]  # fmt: skip
    assert set(dataset.upstream) == {"homes.arrivals"}


def test_checks_show_what_was_counted(homes):
    result = homes.run(*STAGES)
    assert checks(result) == {"no_entity_in_two_splits": True, "splits_not_empty": True}
    evaluations = {item.check_name: item for item in result.get_asset_check_evaluations()}
    assert evaluations["no_entity_in_two_splits"].metadata["entities"].value == 200
    assert all(item.blocking for item in evaluations.values())


def test_identical_rows_without_a_key_are_never_in_two_splits(tmp_path):
    rows = [row for row in home_rows(100) for _ in range(3)]
    dataset = made(homes_with(tmp_path, rows, from_arrivals(split={"by": "hash"}), sql={}), "dataset")
    sets = [set(parquet(dataset, name)["listing_id"].to_pylist()) for name in SPLITS]
    assert sum(map(len, sets)) == len(set.union(*sets)) == 100
    assert sum(split.rows for split in dataset.splits) == 300


def test_rows_without_a_target_are_left_out_and_counted(tmp_path):
    rows = home_rows(200)
    for row in rows[:20]:
        row[5] = ""
    homes = homes_with(tmp_path, rows)
    result = homes.run(*STAGES)
    assert result.success
    assert metadata(result, "dataset")["rows_without_target"] == 20
    assert sum(split.rows for split in homes.value("dataset", Dataset).splits) == 180


def test_by_time_the_oldest_rows_are_train(tmp_path):
    split = {"by": "time", "column": "listed_at"}
    dataset = made(homes_with(tmp_path, home_rows(280), from_arrivals(split=split), sql={}), "dataset")
    times = {name: parquet(dataset, name)["listed_at"].to_pylist() for name in SPLITS}
    assert max(times["train"]) < min(times["validation"])
    assert max(times["validation"]) < min(times["test"])
    assert dataset.time == "listed_at"
    assert "listed_at" not in dataset.features


def test_too_few_rows_are_refused_with_the_counts(tmp_path):
    homes = homes_with(tmp_path, home_rows(3))
    result = homes.run(*STAGES)
    assert "Too few rows for" in failure(result)
    assert "train" in failure(result)
    assert "Mend: Load more data" in failure(result)
    assert not list(homes.platform.store.list(homes.names.datasets(homes.platform.store.root)))


def test_a_class_that_is_missing_from_train_is_refused(tmp_path):
    homes = homes_with(tmp_path, classes_of(a=60, b=60, c=1), classifier(seed=1), sql={})
    in_train = homes.rows("SELECT substr(md5('1:121'), 1, 8) < '9999999a' AS train")[0]["train"]
    seed = 1 if not in_train else next(n for n in range(2, 99) if not _in_train(homes, n))
    homes.declare(classifier(seed=seed), sql={})
    message = failure(homes.run("dataset"))
    assert "The class 'c' of 'region' has no row in train" in message
    assert "'c' 0/" in message


def _in_train(homes: DataStages, seed: int) -> bool:
    return homes.rows(f"SELECT substr(md5('{seed}:121'), 1, 8) < '9999999a' AS train")[0]["train"]


def test_a_class_that_is_missing_from_test_is_a_warning(tmp_path):
    homes = homes_with(tmp_path, classes_of(a=60, b=60, c=1), classifier(), sql={})
    seed = next(n for n in range(99) if _in_train(homes, n))
    homes.declare(classifier(seed=seed), sql={})
    result = homes.run("dataset")
    assert result.success
    assert checks(result)["every_class_in_every_split"] is False
    assert "c | 1 | 0 | 0" in metadata(result, "dataset")["target"]


def test_one_class_alone_is_refused(tmp_path):
    homes = homes_with(tmp_path, classes_of(a=60), classifier(), sql={})
    assert "has only one class" in failure(homes.run("dataset"))


def test_a_text_target_of_a_regression_is_refused(tmp_path):
    sql = "SELECT listing_id, listed_at, region, bedrooms, concat(region, price) AS price FROM arrivals"
    homes = homes_with(tmp_path, home_rows(100), sql={"home_features": sql})
    message = failure(homes.run(*STAGES))
    assert "The target 'price' is string; regression needs a number" in message
    assert "Mend: Cast it in the table's SQL" in message


def test_nothing_is_left_of_the_making_even_of_one_that_failed(tmp_path):
    for number, count in enumerate((3, 200)):
        homes = homes_with(tmp_path / str(number), home_rows(count))
        homes.run(*STAGES)
        assert not list(homes.platform.store.list(homes.platform.store.root.join("tmp")))
        left = "SELECT table_name FROM information_schema.tables WHERE table_name LIKE 'dataset%'"
        assert homes.rows(left) == []


def test_a_killed_run_leaves_nothing_for_long(homes):
    import os
    import time

    started = homes.platform.store.root.join("tmp", "datasets", "homes", "0badcafe", "started")
    homes.platform.store.write(started, b"")
    yesterday = time.time() - 2 * 86_400
    os.utime(started.path, (yesterday, yesterday))
    homes.rows("SELECT 1")
    from mlops_assets.platforms.ports import TableBuild

    homes.platform.warehouse.build(TableBuild("homes.dataset_staging_0badcafe", "SELECT 1 AS a"))
    made(homes)
    assert homes.platform.warehouse.columns("homes.dataset_staging_0badcafe") is None
    assert homes.platform.store.head(started) is None


def test_a_dataset_that_is_gone_is_made_again(homes):
    first = made(homes)
    homes.platform.store.delete(first.uri)
    again = homes.run("dataset")
    assert metadata(again, "dataset")["mlops/reason"] == "its result is no longer there"
    assert homes.value("dataset", Dataset).version == first.version


def test_values_shown_in_the_ui_are_escaped(tmp_path):
    rows = home_rows(200)
    for row in rows:
        row[2] = "<img src=x>|"
    result = homes_with(tmp_path, rows, from_arrivals(), sql={}).run("dataset")
    sample = metadata(result, "dataset")["sample"]
    assert "<img" not in sample
    assert "&lt;img" in sample
    assert len(materialized(result, "dataset")) == 1
