"""One SQL file: its header, what it may hold, and the order of several."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from mlops_assets.declaration.source import mistakes_of
from mlops_assets.declaration.sql import in_order, read_sql
from mlops_assets.errors import DeclarationError


def sql(folder: Path, name: str, text: str) -> Path:
    path = folder / f"{name}.sql"
    path.write_text(text, encoding="utf-8")
    return path


def refused(folder: Path, text: str, name: str = "features") -> DeclarationError:
    with pytest.raises(DeclarationError) as caught:
        read_sql(sql(folder, name, text))
    return caught.value


def test_the_header_says_what_becomes_of_the_select(tmp_path: Path) -> None:
    text = (
        "-- materialized: incremental\n-- unique_key: id, day\n-- description: Sums: by day.\n"
        "-- distkey: id\n-- partition_by: day\n-- partition_grain: month\n\n"
        "-- Prose: it is no entry.\nSELECT 1 AS id, 2 AS day\n"
    )
    file = read_sql(sql(tmp_path, "sums", text))
    assert file.materialization == "incremental"
    assert file.unique_key == ("id", "day")
    assert file.description == "Sums: by day."
    assert file.options == {"distkey": "id", "partition_by": "day", "partition_grain": "month"}


def test_without_a_header_it_is_a_table(tmp_path: Path) -> None:
    file = read_sql(sql(tmp_path, "a", "SELECT id FROM arrivals -- materialized: view"))
    assert (file.materialization, file.unique_key, file.options) == ("table", (), {})


@pytest.mark.parametrize(
    ("text", "line", "mend"),
    [
        ("\n-- materialized: tabel\nSELECT 1 AS a", 2, "'table'"),
        ("-- materialised: view\nSELECT 1 AS a", 1, "'materialized'"),
        ("-- materialized: view\n-- materialized: table\nSELECT 1 AS a", 2, "Keep one"),
        ("-- materialized: incremental\nSELECT 1 AS a", 1, "unique_key"),
        ("-- unique_key: a\nSELECT 1 AS a", 1, "incremental"),
    ],
)
def test_a_mistake_in_the_header_names_line_and_mend(tmp_path: Path, text: str, line: int, mend: str) -> None:
    error = refused(tmp_path, text)
    assert error.where == f"{tmp_path / 'features.sql'}:{line}"
    assert mend in (error.mend or "")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("CREATE TABLE x AS SELECT 1 AS a", 1),
        ("INSERT INTO arrivals SELECT 1", 1),
        ("COPY arrivals TO 'x'", 1),
        ("ATTACH 'x' AS y", 1),
        ("SELECT 1 AS a;\nDROP TABLE arrivals", 2),
        ("WITH x AS (DELETE FROM arrivals RETURNING id)\nSELECT id FROM x", 1),
        ("SELECT id INTO x FROM arrivals", 1),
        ("SELECT id\nFROM read_csv('/etc/passwd')", 2),
        ("SELECT id\nFROM read_parquet('s3://bucket/key')", 2),
        ("SELECT id FROM\nglob('*')", 2),
        ("SELECT id FROM sqlite_scan('a', 'b')", 1),
        ("SELECT id FROM query('SELECT 1')", 1),
        ("SELECT content FROM read_text('/etc/passwd')", 1),
        ("SELECT id,\n  getenv('HOME') AS home FROM arrivals", 2),
        ("SELECT id FROM other.arrivals", 1),
        ("SELECT table_name AS name\nFROM information_schema.tables", 2),
        ("SELECT id FROM (SELECT id FROM wine.arrivals)", 1),
        ("SELECT id FROM arrivals WHERE id > ?", 1),
    ],
)
def test_what_writes_or_reads_something_else_is_refused(tmp_path: Path, text: str, line: int) -> None:
    for error in mistakes_of(refused(tmp_path, text)):
        assert error.where == f"{tmp_path / 'features.sql'}:{line}"
        assert error.mend


@pytest.mark.parametrize(
    "call",
    ["random()", "uuid()", "gen_random_uuid()", "now()", "today()", "current_date", "current_timestamp"],
)
def test_what_differs_from_run_to_run_is_refused(tmp_path: Path, call: str) -> None:
    error = refused(tmp_path, f"SELECT id,\n  {call} AS a\nFROM arrivals")
    assert error.where in {f"{tmp_path / 'features.sql'}:{line}" for line in (1, 2)}
    assert "each run" in error.what


def test_a_sample_is_refused(tmp_path: Path) -> None:
    assert "sample" in refused(tmp_path, "SELECT id FROM arrivals TABLESAMPLE (10 PERCENT)").what


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("SELECT id\nFROM arrivals\nWHERE (id > 1", 3),
        ("SELECT id\nFRO arrivals", 2),
        ("SELECT id,\n  'open\nFROM arrivals", 2),
    ],
)
def test_sql_that_cannot_be_parsed_names_its_line(tmp_path: Path, text: str, line: int) -> None:
    assert refused(tmp_path, text).where == f"{tmp_path / 'features.sql'}:{line}"


def test_an_empty_file_is_a_mistake(tmp_path: Path) -> None:
    assert "0 statements" in refused(tmp_path, "-- description: nothing\n").what


@pytest.mark.parametrize("name", ["Features", "1st", "a-b", "dataset", "arrivals", "registered_model"])
def test_a_file_name_that_cannot_be_a_table_is_a_mistake(tmp_path: Path, name: str) -> None:
    error = refused(tmp_path, "SELECT 1 AS a", name)
    assert error.where == str(tmp_path / f"{name}.sql")
    assert "Rename" in (error.mend or "")


def test_relations_are_those_of_the_model_with_the_line_of_their_first_use(tmp_path: Path) -> None:
    text = (
        "WITH recent AS (SELECT id FROM Arrivals),\n  arrivals AS (SELECT id FROM arrivals)\n"
        "SELECT r.id FROM recent AS r\nJOIN sums AS s ON s.id = r.id\n"
        "WHERE r.id IN (SELECT id FROM\nlast)\nAND r.id IN (SELECT id FROM arrivals)"
    )
    assert dict(read_sql(sql(tmp_path, "a", text)).relations) == {"arrivals": 1, "sums": 4, "last": 6}


def test_tables_come_after_what_they_read_whatever_their_names(tmp_path: Path) -> None:
    texts = {
        "a": "SELECT x FROM b",
        "b": "SELECT x FROM c",
        "c": "SELECT x FROM arrivals",
        "d": "SELECT 1 AS x",
    }
    files = [read_sql(sql(tmp_path, name, text)) for name, text in texts.items()]
    ordered, mistakes = in_order(files, list(texts))
    names = [file.name for file in ordered]
    assert mistakes == []
    assert names.index("c") < names.index("b") < names.index("a")
    assert names == [file.name for file in in_order(files[::-1], list(texts))[0]]


def test_a_circle_is_named_with_file_and_line(tmp_path: Path) -> None:
    texts = {"a": "SELECT x\nFROM b", "b": "SELECT x FROM c", "c": "SELECT x FROM a", "d": "SELECT x FROM a"}
    files = [read_sql(sql(tmp_path, name, text)) for name, text in texts.items()]
    ordered, (error,) = in_order(files, list(texts))
    assert ordered == []
    circle = error.what.removesuffix(".").split(": ")[1].split(" → ")
    assert circle[0] == circle[-1]
    assert set(circle) == {"a", "b", "c"}
    for reader, read in pairwise(circle):
        assert f"FROM {read}" in texts[reader]
    lines = {"a": 2, "b": 1, "c": 1}
    assert error.where == f"{tmp_path / circle[0]}.sql:{lines[circle[0]]}"
    assert error.mend


def test_a_table_that_reads_itself_is_a_circle(tmp_path: Path) -> None:
    _, (error,) = in_order([read_sql(sql(tmp_path, "a", "SELECT x FROM a"))], ["a"])
    assert "a → a" in error.what


def test_an_unknown_table_names_line_and_the_right_one(tmp_path: Path) -> None:
    files = [read_sql(sql(tmp_path, "a", "SELECT x\nFROM\n  arivals"))]
    _, (error,) = in_order(files, ["a"])
    assert error.where == f"{tmp_path / 'a.sql'}:3"
    assert error.mend == "Did you mean 'arrivals'?"
