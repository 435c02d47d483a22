"""Whole declarations: the shipped ones, and one mistake at a time, each with file, line and mend."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mlops_assets.declaration.loading import find, load, load_all, parse
from mlops_assets.declaration.source import mistakes_of
from mlops_assets.errors import DeclarationError
from mlops_assets_tests.declaration.small import FEATURES, TEXT, changed, line_with, mistake, write

DEFS = Path(__file__).parents[2] / "mlops_assets" / "defs"


def test_a_small_declaration_loads(tmp_path: Path) -> None:
    loaded = load(write(tmp_path))
    assert loaded.name == "homes"
    assert [table.name for table in loaded.tables] == ["features"]
    assert loaded.program is None
    assert loaded.arrivals_column("features", "price") == "price"
    assert loaded.arrivals_column("features", "nothing") is None
    assert parse(TEXT, tmp_path) == loaded


def test_the_shipped_models_load() -> None:
    loaded = {item.name: item for item in load_all(DEFS)}
    assert set(loaded) == {"housing", "wine"}
    assert [table.name for table in loaded["housing"].tables] == ["listings", "listing_features"]
    assert loaded["housing"].arrivals_column("listing_features", "square_feet") == "square_feet"
    assert loaded["housing"].arrivals_column("listing_features", "house_age") is None
    assert loaded["wine"].spec.training.task == "classification"


@pytest.mark.parametrize(
    ("old", "new", "what", "mend"),
    [
        ("target: price", "target: prize", "'prize'", "'price'"),
        ("split: {by: hash, key: id}", "split: {by: hash, key: idd}", "'idd'", "'id'"),
        ("split: {by: hash, key: id}", "split: {by: time, column: listed}", "'listed'", "Use one of"),
        ("split: {by: hash, key: id}", "split: {by: time, column: region}", "region is string", "timestamp"),
        ("split: {by: hash, key: id}", "split: {by: time}", "needs `column`", "column"),
        ("key: id}", "key: id, train: 0.9}", "must be 1", "add up to 1"),
        ("    target: price", "    features: [sise]\n    target: price", "'sise'", "'size'"),
        ("    target: price", "    features: [price]\n    target: price", "told the answer", "Take it out"),
        ("    target: price", "    exclude: [sise]\n    target: price", "'sise'", "'size'"),
        (
            "    target: price",
            "    exclude: [region, size]\n    target: price",
            "No feature",
            "exclude fewer",
        ),
        ("    target: price", "    target: region", "region is string", "classification"),
        ("slice: region", "slice: colour=red", "'colour'", "slices: [colour]"),
        ("slice: region", "slice: regio", "'regio'", "'region'"),
        ("metric: r2", "metric: r2d2", "unknown metric 'r2d2'", "'r2'"),
        ("metric: r2", "metric: accuracy", "not defined for regression", "Use one of"),
        ("min: 0.5", "min: 0.5, max: 0.1", "above max", "Swap"),
        (
            "sklearn.linear_model.Ridge",
            "sklearn.linear_model.Rigde",
            "not allowed",
            "sklearn.linear_model.Ridge",
        ),
        ("sklearn.linear_model.Ridge", "linear_model.Ridge", "not allowed", "'sklearn.linear_model.Ridge'"),
        ("sklearn.linear_model.Ridge", "xgboost.XGBRegressor", "not allowed", "MLOPS_ALLOWED_ESTIMATORS"),
        ("sklearn.linear_model.Ridge", "sklearn.svm.SVC", "for classification", "sklearn.svm.SVR"),
        ("sklearn.linear_model.Ridge", "os.system", "not allowed", "MLOPS_ALLOWED_ESTIMATORS"),
        ("from: features", "from: featurs", "featurs.sql", "'features'"),
        ("{column: price, min: 0}", "{column: region, min: 0}", "min is for numbers", "type"),
        ("{column: price, min: 0}", "{column: region, matches: '['}", "not a regular expression", "Correct"),
        ("{column: price, min: 0}", "{column: price, one_of: [a]}", "one_of", "quotes"),
        ("{column: price, min: 0}", "{column: price}", "asks nothing", "Add min"),
        ("  name: homes", "  name: main", "schema of the warehouse", "another name"),
        ("  name: homes", "  name: Homes!", "match", "^[a-z]"),
        ("      size: float", "      Size (m2): float", "every platform", "source: 'Size (m2)'"),
        ("  gates:", "  monitoring: {columns: [sise]}\n  gates:", "'sise'", "'size'"),
        (
            "type: mlops_assets.components.ModelPipeline",
            "type: other.Component",
            "other.Component",
            "Write `type:",
        ),
    ],
)
def test_a_mistake_in_the_yaml_names_file_line_and_mend(
    tmp_path: Path, old: str, new: str, what: str, mend: str
) -> None:
    text = changed(old, new)
    added = next(line for line in text.splitlines() if line not in TEXT.splitlines())
    found = mistakes_of(mistake(write(tmp_path, text)))
    matching = [error for error in found if what in error.what]
    assert len(matching) == 1, [str(error) for error in found]
    assert mend in (matching[0].mend or "")
    assert matching[0].where == f"{tmp_path / 'defs.yaml'}:{line_with(text, added.strip())}"


def test_an_unknown_column_in_a_gates_slice_is_named_at_the_gate_and_at_the_slices(tmp_path: Path) -> None:
    text = changed("slice: region", "slice: colour").replace("slices: [region]", "slices: [colour]")
    found = mistakes_of(mistake(write(tmp_path, text)))
    lines = {f"{tmp_path / 'defs.yaml'}:{line_with(text, part)}" for part in ("slice: colour", "slices: [")}
    assert {error.where for error in found} == lines
    assert all(
        "'colour'" in error.what and "id, region, size, price" in (error.mend or "") for error in found
    )


def test_a_missing_sql_folder_says_what_to_create(tmp_path: Path) -> None:
    text = changed("  dataset:", "  tables: queries/\n  dataset:")
    (tmp_path / "defs.yaml").write_text(text)
    error = mistake(tmp_path)
    assert error.where == f"{tmp_path / 'defs.yaml'}:{line_with(text, 'queries')}"
    assert str(tmp_path / "queries" / "features.sql") in (error.mend or "")


def test_a_missing_sql_file_says_which_and_where(tmp_path: Path) -> None:
    error = mistake(write(tmp_path, other="SELECT id, price FROM arrivals"))
    assert error.where == f"{tmp_path / 'defs.yaml'}:{line_with(TEXT, 'from: features')}"
    assert str(tmp_path / "sql" / "features.sql") in error.what
    assert error.mend


def test_a_folder_of_sql_outside_the_models_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "homes", changed("  dataset:", "  tables: ../other\n  dataset:"))
    assert "outside" in mistake(folder).what


def test_arrivals_alone_need_no_sql(tmp_path: Path) -> None:
    text = changed("from: features", "from: arrivals")
    (tmp_path / "defs.yaml").write_text(text)
    assert load(tmp_path).tables == ()


def test_tables_that_read_each_other_in_a_circle_are_named(tmp_path: Path) -> None:
    folder = write(tmp_path, features="SELECT id, price\nFROM other", other="SELECT id, price FROM features")
    error = mistake(folder)
    assert "circle" in error.what
    assert "features" in error.what
    assert "other" in error.what
    assert error.where in (f"{folder / 'sql' / 'features.sql'}:2", f"{folder / 'sql' / 'other.sql'}:1")
    assert error.mend


def test_a_wrong_file_is_not_blamed_on_the_ones_that_read_it(tmp_path: Path) -> None:
    folder = write(
        tmp_path,
        features="SELECT id, region, size, price FROM clean",
        clean="SELECT *\nFROM arrivals\nWHERE idd > 1",
    )
    error = mistake(folder)
    assert error.where == f"{folder / 'sql' / 'clean.sql'}:3"
    assert error.mend == "Did you mean 'id'?"


def test_mistakes_of_yaml_and_sql_are_listed_together(tmp_path: Path) -> None:
    text = changed("sklearn.linear_model.Ridge", "sklearn.linear_model.Rigde")
    folder = write(tmp_path, text, features=FEATURES, other="SELECT nope FROM arrivals")
    wheres = {error.where for error in mistakes_of(mistake(folder))}
    assert wheres == {
        f"{folder / 'defs.yaml'}:{line_with(text, 'Rigde')}",
        f"{folder / 'sql' / 'other.sql'}:1",
    }


def test_an_operator_can_allow_an_estimator(tmp_path: Path) -> None:
    write(tmp_path, changed("sklearn.linear_model.Ridge", "xgboost.XGBRegressor"))
    assert (
        load(tmp_path, allowed_estimators=["xgboost.XGBRegressor"]).spec.training.estimator
        == "xgboost.XGBRegressor"
    )


def test_a_program_is_read_but_never_run(tmp_path: Path) -> None:
    write(tmp_path, changed("estimator: sklearn.linear_model.Ridge", "program: train.py"))
    (tmp_path / "train.py").write_text("raise SystemExit('run')\n")
    assert load(tmp_path).program == "raise SystemExit('run')\n"


def test_a_missing_program_names_the_line_that_asks_for_it(tmp_path: Path) -> None:
    text = changed("estimator: sklearn.linear_model.Ridge", "program: train.py")
    error = mistake(write(tmp_path, text))
    assert error.where == f"{tmp_path / 'defs.yaml'}:{line_with(text, 'program')}"
    assert str(tmp_path / "train.py") in (error.mend or "")


def test_a_program_that_is_not_python_names_its_own_line(tmp_path: Path) -> None:
    write(tmp_path, changed("estimator: sklearn.linear_model.Ridge", "program: train.py"))
    (tmp_path / "train.py").write_text("import os\n\ndef broken(:\n")
    assert mistake(tmp_path).where == f"{tmp_path / 'train.py'}:3"


def test_a_missing_defs_yaml_is_named(tmp_path: Path) -> None:
    assert mistake(tmp_path).where == str(tmp_path / "defs.yaml")


@pytest.mark.parametrize("text", ["", "- a\n", "text", "type: mlops_assets.components.ModelPipeline\n"])
def test_a_file_that_declares_nothing_is_a_mistake(tmp_path: Path, text: str) -> None:
    error = mistake(write(tmp_path, text))
    assert all((item.where or "").startswith(str(tmp_path / "defs.yaml")) for item in mistakes_of(error))


def test_only_our_models_are_found_and_hidden_folders_are_left_out(tmp_path: Path) -> None:
    for name in ("b", "a", "nested/c", ".trash/d"):
        write(tmp_path / name, changed("  name: homes", f"  name: {name[-1]}"))
    write(
        tmp_path / "theirs",
        "type: dagster.DefsFolderComponent\n# type: mlops_assets.components.ModelPipeline\n",
    )
    write(tmp_path / "broken", TEXT + "\n  : [")
    assert find(tmp_path) == [tmp_path / name for name in ("a", "b", "broken", "nested/c")]
    assert find(tmp_path / "nowhere") == []


def test_two_models_of_one_name_are_a_mistake(tmp_path: Path) -> None:
    write(tmp_path / "one")
    write(tmp_path / "two")
    with pytest.raises(DeclarationError) as caught:
        load_all(tmp_path)
    assert caught.value.where == f"{tmp_path / 'two' / 'defs.yaml'}:{line_with(TEXT, 'name: homes')}"
    assert str(tmp_path / "one") in caught.value.what


def test_a_comment_changes_nothing_that_is_loaded(tmp_path: Path) -> None:
    before = load(write(tmp_path))
    text = "# A comment.\n" + TEXT.replace("  gates:", "  # Another.\n\n  gates:")
    after = load(
        write(tmp_path, text, features="-- told anew: nothing\n" + FEATURES.replace(" price", "\n  price"))
    )
    assert after == before


def test_loading_imports_no_data_library_and_no_dagster() -> None:
    code = (
        "import sys; from pathlib import Path; from mlops_assets.declaration.loading import load_all;"
        f"assert len(load_all(Path({str(DEFS)!r}))) == 2;"
        "print(sorted({name.split('.')[0] for name in sys.modules} & "
        "{'sklearn', 'pandas', 'numpy', 'duckdb', 'pyarrow', 'mlflow', 'dagster'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
