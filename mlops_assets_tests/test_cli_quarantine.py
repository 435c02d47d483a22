"""`mlops-assets quarantine`: every row that could not be used is found again, whatever is in it."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from mlops_assets_tests.commands import Deployment
from mlops_assets_tests.factories import csv_text, declaration, home_rows

pytestmark = pytest.mark.slow

ESCAPE = "\x1b[31m"
BAD = [
    [900, "2026-01-01", "north", 1000, 2, -5],
    [901, "2026-01-01", "it's [bold]", "many", 2, 5],
    [902, "2026-01-01", ESCAPE, 1000, 2, -6],
]
SECOND = "it's.csv"


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    """Two files with 3 and 30 bad rows, loaded."""
    deployment = Deployment(tmp_path_factory.mktemp("quarantine"))
    declaration(deployment.folder)
    landing = deployment.root / "store/landing/homes"
    landing.mkdir(parents=True)
    (landing / "first.csv").write_text(csv_text([*home_rows(20), *BAD]))
    many = [[2000 + number, "2026-01-01", "south", 900, 1, -1] for number in range(30)]
    (landing / SECOND).write_text(csv_text([*home_rows(5, first_id=1000), *many]))
    (landing / "clean.csv").write_text(csv_text(home_rows(5, first_id=3000)))
    done = deployment.command("run", "homes", "--upto", "arrivals")
    assert done.returncode == 0, done.stderr
    assert "mlops-assets quarantine homes" in done.stdout
    return deployment


def test_reasons_are_counted_and_rows_shown_with_object_line_reason_and_raw_text(
    deployment: Deployment,
) -> None:
    found = deployment.json("quarantine", "homes", "--object", "first.csv")
    assert (found["model"], found["quarantined"], found["out"]) == ("homes", 3, None)
    assert found["reasons"] == [
        {"reason": "price: below 0", "rows": 2, "objects": 1},
        {"reason": "square_feet: not a float", "rows": 1, "objects": 1},
    ]
    assert [(row["object"], row["line"]) for row in found["rows"]] == [
        ("first.csv", 22),
        ("first.csv", 23),
        ("first.csv", 24),
    ]
    assert found["rows"][2]["raw"] == f"902,2026-01-01,{ESCAPE},1000,2,-6"


def test_people_get_the_first_rows_and_are_told_of_the_others(deployment: Deployment) -> None:
    done = deployment.command("quarantine", "homes")
    assert done.returncode == 0, done.stderr
    assert "homes: 33 rows in quarantine" in done.stdout
    assert "it's [bold]" in done.stdout  # as it is, never as markup
    assert "\x1b" not in done.stdout  # what a terminal would obey is spelt out
    assert "\\x1b[31m" in done.stdout
    assert "And 13 more" in done.stdout
    few = deployment.command("quarantine", "homes", "--limit", "1")
    assert "And 32 more" in few.stdout


def test_all_rows_go_to_a_file_or_those_of_one_object(deployment: Deployment, tmp_path: Path) -> None:
    out = tmp_path / "bad.csv"
    done = deployment.command("quarantine", "homes", "--out", str(out))
    assert f"33 rows written: {out}" in done.stdout
    rows = list(csv.DictReader(out.open(newline="")))
    assert list(rows[0]) == ["object", "line", "reason", "raw"]
    assert len(rows) == 33
    assert rows[2]["raw"] == f"902,2026-01-01,{ESCAPE},1000,2,-6"
    found = deployment.json("quarantine", "homes", "--object", SECOND, "--out", str(out))
    assert (found["quarantined"], found["out"]) == (30, str(out))
    assert {row["object"] for row in csv.DictReader(out.open(newline=""))} == {SECOND}
    assert [path.name for path in tmp_path.iterdir()] == ["bad.csv"]


def test_what_is_clean_says_so(deployment: Deployment) -> None:
    done = deployment.command("quarantine", "homes", "--object", "clean.csv")
    assert (done.returncode, done.stdout) == (0, "No row of homes is in quarantine.\n")


def test_a_file_that_cannot_be_written_is_an_error_and_nothing_is_left(
    deployment: Deployment, tmp_path: Path
) -> None:
    done = deployment.command("quarantine", "homes", "--out", str(tmp_path / "nowhere" / "bad.csv"))
    assert done.returncode == 1
    assert "nowhere/bad.csv" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("homse",), "Did you mean homes?"),
        (("homes", "--object", "frist.csv"), "Did you mean first.csv?"),
        (("homes", "--object", "x' OR '1'='1"), "No object"),
        (("homes", "--limit", "0"), "Invalid value for '--limit'"),
        (("homes", "--out", "bad.parquet"), "does not end in .csv"),
    ],
)
def test_wrong_usage_ends_with_2_and_says_what_is_right(
    deployment: Deployment, arguments: tuple[str, ...], message: str
) -> None:
    done = deployment.command("quarantine", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr


def test_before_anything_arrived_there_is_nothing_in_quarantine(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path)
    declaration(tmp_path)
    out = tmp_path / "none.csv"
    assert deployment.json("quarantine", "homes")["quarantined"] == 0
    assert deployment.json("quarantine", "homes", "--out", str(out))["rows"] == []
    assert out.read_text() == "object,line,reason,raw\n"
