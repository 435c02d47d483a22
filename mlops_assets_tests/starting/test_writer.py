"""Written declarations: they load, they leave out what misleads, and they say why."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mlops_assets.declaration.loading import load
from mlops_assets.errors import DataError, DeclarationError
from mlops_assets.starting import look, write

SHARED = Path(__file__).parents[3] / "shared" / "data"
ROWS = 300


def _odd(classes: int = 2) -> pd.DataFrame:
    """Everything at once: odd names, quotes, dates, booleans, empty cells, and columns that say nothing."""
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "": range(ROWS),
            "Total Price (€)": random.normal(100, 10, ROWS).round(2),
            "select": random.integers(0, 5, ROWS),
            "2nd Floor": random.choice([True, False], ROWS),
            "Price": random.normal(5, 1, ROWS).round(3),
            "price_2": random.normal(7, 1, ROWS).round(3),
            'say "hi"': random.choice(['a, "b"', "c;d", "e'f"], ROWS),
            "Größe": random.choice(np.array(["S", "M", None], dtype=object), ROWS),
            "opened": pd.date_range("2023-01-01", periods=ROWS).strftime("%Y-%m-%d"),
            "名前": [f"text {number}" for number in range(ROWS)],
            "all empty": [None] * ROWS,
            "constant": ["x"] * ROWS,
            "Outcome": random.choice([f"class {number}" for number in range(classes)], ROWS),
        }
    )
    frame.loc[frame.index % 7 == 0, "Outcome"] = None
    return frame


@pytest.mark.parametrize(
    ("file", "target", "task"),
    [("house_pricing.csv", "PRICE", "regression"), ("penguins.csv", "species", "classification")],
)
def test_the_shared_files_untouched_give_declarations_that_load(
    tmp_path: Path, file: str, target: str, task: str
) -> None:
    if not (SHARED / file).exists():
        pytest.skip(f"{SHARED / file} is not there: the data folder beside the checkout is absent")
    path = write(tmp_path, "mine", look(SHARED / file), target)
    loaded = load(path.parent)
    assert loaded.spec.training.task == task
    assert loaded.spec.training.target == target.lower()
    assert loaded.tables[0].dependencies == ("arrivals",)


@pytest.mark.parametrize("classes", [2, 5])
def test_an_odd_file_gives_a_declaration_that_loads_and_explains_itself(tmp_path: Path, classes: int) -> None:
    _odd(classes).to_csv(tmp_path / "odd file.csv", index=False)
    path = write(tmp_path / "defs", "odd", look(tmp_path / "odd file.csv"), "Outcome")
    loaded = load(path.parent)
    columns = loaded.spec.arrivals.columns
    assert {name: column.source for name, column in columns.items()} == {
        "total_price": "Total Price (€)",
        "select_": "select",
        "c_2nd_floor": "2nd Floor",
        "price": "Price",
        "price_2": None,
        "say_hi": 'say "hi"',
        "grosse": "Größe",
        "opened": None,
        "column_9": "名前",
        "all_empty": "all empty",
        "constant": None,
        "outcome": "Outcome",
    }
    table = loaded.tables[0]
    outputs = list(table.lineage)
    assert outputs[-1] == "outcome"
    assert {"column_9", "all_empty", "constant"}.isdisjoint(outputs)
    # A date as it is: rows to score are then rows like those of the file.
    assert "opened" in outputs
    text = table.path.read_text()
    assert '--   CAST(EXTRACT(MONTH FROM "opened") AS INTEGER) AS "opened_month",' in text
    assert 'WHERE "outcome" IS NOT NULL' in text
    assert "Left out: constant: it is 'x' in every row." in text


def test_the_features_query_runs_on_the_file_it_came_from(tmp_path: Path) -> None:
    import duckdb

    _odd().to_csv(tmp_path / "odd.csv", index=False)
    profile = look(tmp_path / "odd.csv")
    table = load(write(tmp_path / "defs", "odd", profile, "Outcome").parent).tables[0]
    connection = duckdb.connect()
    connection.register("sample", profile.sample())
    connection.execute("CREATE SCHEMA odd; CREATE TABLE odd.arrivals AS SELECT * FROM sample")
    rows = connection.execute(table.select).fetchall()
    assert len(rows) == int(_odd()["Outcome"].notna().sum())


def test_decimal_commas_reach_the_model_as_numbers(tmp_path: Path) -> None:
    import duckdb

    lines = "".join(f"{number},5;{number * 3},25\n" for number in range(1, 60))
    (tmp_path / "eu.csv").write_text("Fläche;Preis\n" + lines)
    profile = look(tmp_path / "eu.csv")
    (tmp_path / "eu.csv").write_text(
        "Fläche;Zimmer;Preis\n" + "".join(f"{n},5;{n % 4};{(n * 37) % 50},25\n" for n in range(1, 60))
    )
    profile = look(tmp_path / "eu.csv")
    table = load(write(tmp_path / "defs", "eu", profile, "Preis").parent).tables[0]
    connection = duckdb.connect()
    connection.execute(
        "CREATE SCHEMA eu; CREATE TABLE eu.arrivals (flache VARCHAR, zimmer BIGINT, preis VARCHAR)"
    )
    connection.execute("INSERT INTO eu.arrivals VALUES ('1,5', 1, '37,25'), ('2,5', 2, NULL)")
    assert connection.execute(table.select).fetchall() == [(1.5, 1, 37.25)]


def test_time_and_key_choose_the_split(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"id": range(100), "at": pd.date_range("2024-01-01", periods=100), "x": np.arange(100) % 7}
    )
    frame["y"] = np.random.default_rng(0).normal(size=100)
    frame.to_csv(tmp_path / "data.csv", index=False)
    profile = look(tmp_path / "data.csv")
    by_time = load(write(tmp_path / "defs", "by_time", profile, "y", time="at").parent).spec.dataset.split
    by_key = load(write(tmp_path / "defs", "by_key", profile, "y", key="id").parent)
    by_row = load(write(tmp_path / "defs", "by_row", profile, "y").parent).spec.dataset.split
    assert (by_time.by, by_time.column) == ("time", "at")
    assert (by_key.spec.dataset.split.by, by_key.spec.dataset.split.key) == ("hash", "id")
    assert "id" in by_key.tables[0].lineage
    assert (by_row.by, by_row.key) == ("hash", None)


@pytest.mark.parametrize(
    ("values", "task"),
    [
        (["yes", "no"], "classification"),
        ([True, False], "classification"),
        ([0, 1, 2], "classification"),
        ([0.5, 1.5, 2.25], "regression"),
        (range(60), "regression"),
    ],
)
def test_the_task_follows_from_the_target(tmp_path: Path, values, task: str) -> None:
    frame = pd.DataFrame({"x": np.random.default_rng(0).normal(size=120), "y": (list(values) * 60)[:120]})
    frame.to_csv(tmp_path / "data.csv", index=False)
    assert (
        load(write(tmp_path / "defs", "m", look(tmp_path / "data.csv"), "y").parent).spec.training.task
        == task
    )


def test_a_declaration_is_written_over_only_when_asked(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": np.arange(50.0) % 9, "y": np.random.default_rng(0).normal(size=50)})
    frame.to_csv(tmp_path / "data.csv", index=False)
    profile = look(tmp_path / "data.csv")
    path = write(tmp_path / "defs", "mine", profile, "y")
    path.write_text(path.read_text() + "# edited\n")
    with pytest.raises(DeclarationError, match="--force"):
        write(tmp_path / "defs", "mine", profile, "y")
    assert path.read_text().endswith("# edited\n")
    write(tmp_path / "defs", "mine", profile, "y", force=True)
    assert not path.read_text().endswith("# edited\n")
    assert [item.name for item in (tmp_path / "defs").iterdir()] == ["mine"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"target": "prize"}, "Did you mean price"),
        ({"name": "My Model"}, "Use my_model"),
        ({"target": "nothing"}, "no values"),
        ({"target": "constant"}, "nothing to learn"),
        ({"target": "remark"}, "no classes"),
        ({"target": "remark", "task": "regression"}, "Regression needs numbers"),
        ({"target": "sold"}, "date cannot be the target"),
        ({"time": "remark"}, "no time"),
        ({"key": "price"}, "different columns"),
    ],
)
def test_impossible_wishes_are_refused_with_the_mend(
    tmp_path: Path, arguments: dict[str, str], message: str
) -> None:
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "price": random.normal(size=100),
            "rooms": random.integers(1, 5, 100),
            "nothing": [None] * 100,
            "constant": ["x"] * 100,
            "remark": [f"remark {number}" for number in range(100)],
            "sold": pd.date_range("2024-01-01", periods=100).strftime("%Y-%m-%d"),
        }
    )
    frame.to_csv(tmp_path / "data.csv", index=False)
    wishes = {"name": "mine", "target": "price", **arguments}
    with pytest.raises((DataError, DeclarationError), match=f"(?s){message}"):
        write(tmp_path / "defs", profile=look(tmp_path / "data.csv"), **wishes)  # pyright: ignore[reportArgumentType]
    assert not (tmp_path / "defs").exists()


def test_a_file_where_nothing_is_left_to_learn_from_is_refused(tmp_path: Path) -> None:
    frame = pd.DataFrame({"id": range(100), "y": np.random.default_rng(0).normal(size=100)})
    frame.to_csv(tmp_path / "data.csv", index=False)
    with pytest.raises(DataError, match=r"No column is left.*id"):
        write(tmp_path / "defs", "mine", look(tmp_path / "data.csv"), "y")


def test_parquet_gives_a_declaration_that_loads(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"Floor Area": np.arange(60.0) % 11, "Sold": np.random.default_rng(0).normal(size=60)}
    )
    frame.to_parquet(tmp_path / "data.parquet")
    loaded = load(write(tmp_path / "defs", "mine", look(tmp_path / "data.parquet"), "Sold").parent)
    assert loaded.spec.arrivals.format == "parquet"
    assert loaded.spec.arrivals.columns["floor_area"].source == "Floor Area"
