"""What `dg scaffold` writes is a declaration that loads."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import duckdb
import pytest
from dagster.components.scaffold.scaffold import NoParams

from mlops_assets.components.scaffolding import ModelPipelineScaffolder, model_name
from mlops_assets.declaration.loading import TYPE, find, load
from mlops_assets.errors import DeclarationError


def scaffold(folder: Path, scaffold_format: str = "yaml", *, append: bool = False) -> None:
    ModelPipelineScaffolder().scaffold(
        dg.ScaffoldRequest(
            type_name=TYPE,
            target_path=folder,
            scaffold_format=scaffold_format,  # type: ignore[arg-type]
            project_root=None,
            params=NoParams(),
            append=append,
        )
    )


def test_the_start_loads_and_is_named_after_its_folder(tmp_path: Path) -> None:
    scaffold(tmp_path / "churn")
    loaded = load(tmp_path / "churn")
    assert loaded.name == "churn"
    assert loaded.spec.arrivals.prefix == "landing/churn"
    assert [table.name for table in loaded.tables] == ["features"]
    assert find(tmp_path) == [tmp_path / "churn"]


def test_the_starts_sql_runs(tmp_path: Path) -> None:
    scaffold(tmp_path / "churn")
    (table,) = load(tmp_path / "churn").tables
    with duckdb.connect() as connection:
        connection.execute("CREATE SCHEMA churn")
        connection.execute(
            """CREATE TABLE churn.arrivals AS
            SELECT 1 AS id, TIMESTAMP '2026-01-01' + INTERVAL (i) DAY AS seen_at, i AS amount,
                   'new' AS kind, 2.0 AS target, 'a' AS _object, i AS _row
            FROM range(3) t(i)"""
        )
        assert connection.execute(table.select).fetchall() == [(1, 2, "new", 2.0)]


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("churn", "churn"),
        ("Churn-2026", "churn_2026"),
        ("2026 churn", "model_2026_churn"),
        ("main", "model_main"),
        ("__", "model"),
        ("x" * 80, "x" * 63),
    ],
)
def test_any_folder_gives_a_name_that_a_model_may_have(tmp_path: Path, folder: str, name: str) -> None:
    assert model_name(folder) == name
    scaffold(tmp_path / folder)
    assert load(tmp_path / folder).name == name


def test_a_declaration_that_exists_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "churn").mkdir()
    (tmp_path / "churn" / "defs.yaml").write_text("mine")
    with pytest.raises(DeclarationError):
        scaffold(tmp_path / "churn")
    assert (tmp_path / "churn" / "defs.yaml").read_text() == "mine"
    assert not (tmp_path / "churn" / "sql").exists()


def test_python_and_appending_are_refused_with_a_mend(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match="format python"):
        scaffold(tmp_path / "churn", "python")
    with pytest.raises(DeclarationError, match="another name"):
        scaffold(tmp_path / "churn", append=True)
    assert not (tmp_path / "churn").exists()
