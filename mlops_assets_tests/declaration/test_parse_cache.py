"""Parsing is done once per text: what is kept is what a parse gives, and is never trusted beyond its key."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mlops_assets.declaration.loading import load
from mlops_assets.errors import DeclarationError
from mlops_assets_tests.factories import HOMES_SQL, declaration

PROGRAM = """
import sys
from pathlib import Path
from mlops_assets.declaration.loading import load
load(Path(sys.argv[1]), cache=Path(sys.argv[2]))
print("sqlglot" in sys.modules)
"""


@pytest.fixture
def folder(tmp_path) -> Path:
    return declaration(tmp_path).folder


def entries(cache: Path) -> list[Path]:
    return sorted(cache.glob("*.json"))


def test_what_is_kept_is_what_a_parse_gives(folder, tmp_path):
    cache = tmp_path / "cache"
    parsed = load(folder, cache=cache)
    assert load(folder, cache=cache) == parsed == load(folder)
    assert len(entries(cache)) == 1


def test_unchanged_sql_is_loaded_without_the_parser(folder, tmp_path):
    command = [sys.executable, "-c", PROGRAM, str(folder), str(tmp_path / "cache")]
    runs = [subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(2)]
    assert [run.strip() for run in runs] == ["True", "False"]


def test_changed_sql_is_parsed_again(folder, tmp_path):
    cache = tmp_path / "cache"
    before = load(folder, cache=cache)
    sql = folder / "sql" / "home_features.sql"
    sql.write_text(HOMES_SQL.replace("AS feet_per_room", "AS feet_by_room"))
    after = load(folder, cache=cache)
    assert "feet_by_room" in after.tables[0].lineage
    assert "feet_by_room" not in before.tables[0].lineage


def test_a_mistake_is_reported_every_time(folder, tmp_path):
    cache = tmp_path / "cache"
    (folder / "sql" / "home_features.sql").write_text("SELECT nothing_like_it FROM arrivals")
    for _ in range(2):
        with pytest.raises(DeclarationError, match="nothing_like_it"):
            load(folder, cache=cache)
    assert entries(cache) == []


@pytest.mark.parametrize("damage", ["", "{", '{"tables": [{}], "columns": {}}', '{"tables": 1}'])
def test_a_damaged_entry_costs_a_parse_and_nothing_else(folder, tmp_path, damage):
    cache = tmp_path / "cache"
    parsed = load(folder, cache=cache)
    entries(cache)[0].write_text(damage)
    assert load(folder, cache=cache) == parsed


def test_a_folder_that_cannot_be_written_to_is_no_mistake(folder, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    assert load(folder, cache=blocked / "cache") == load(folder)
