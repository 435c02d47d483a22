"""Nothing stray: standard error holds our own progress alone, standard output the command's own answer alone.

Libraries speak at the oddest times: a leak report when an interpreter ends, a deprecation, a log line of
Dagster's, a traceback of a thread that nobody waits for. Real processes show them, to their last line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from mlops_assets_tests.commands import Deployment, stray_lines
from mlops_assets_tests.end_to_end.small import declare, deliver
from mlops_assets_tests.factories import csv_text, home_rows

pytestmark = pytest.mark.slow

ROW = r"( [^\n]*\n|\n)"  # of a table: begins with a space
WHOLE = {
    ("run", "homes"): rf"homes: nothing changed, nothing was trained *\n{ROW}+",
    ("run", "homes", "--upto", "dataset"): rf"homes: done as far as asked *\n{ROW}+",
    ("models",): rf"{ROW}+",
    ("quarantine", "homes"): rf"homes: 1 row in quarantine *\n{ROW}+",
    ("endpoints",): rf"{ROW}+",
    ("endpoints", "stop", "homes"): r"homes version 1: stopped\.\n",
    ("endpoints", "restart", "homes"): r"homes version 1: serving on http://127\.0\.0\.1:\d+\.\n",
    ("doctor",): rf"{ROW}+",
    ("predict", "homes"): r"2 rows scored with homes version 1 in [0-9.]+ s: [^\n]*/scored\.csv\n",
    ("approve", "homes", "1"): r"homes version 1 is approved and champion\.\n",
    ("--help",): r"Usage: mlops-assets .*\n",
    ("run", "--help"): r"Usage: mlops-assets run .*\n",
}
JSON = (("run", "homes"), ("models",), ("quarantine", "homes"), ("endpoints",), ("doctor",))


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A model that was run once and serves; one of its rows is in quarantine."""
    deployment = Deployment(tmp_path_factory.mktemp("output"))
    declare(deployment, endpoint={"enabled": True, "smoke_rows": 3})
    bad = [900, "2026-01-01", "north", 1000, 2, -5]
    deliver(deployment, text=csv_text([*home_rows(300), bad]))
    rows = "region,square_feet,bedrooms,feet_per_room\nnorth,1000,2,500\nwest,2000,4,500\n"
    (deployment.folder / "rows.csv").write_text(rows)
    try:
        first = deployment.command("run", "homes")
        assert first.returncode == 0, first.stderr
        assert stray_lines(first.stderr) == []
        assert re.fullmatch(rf"homes: registered *\n{ROW}+", first.stdout), first.stdout
        yield deployment
    finally:
        deployment.command("endpoints", "stop", "homes")


def _arguments(deployment: Deployment, arguments: tuple[str, ...]) -> tuple[str, ...]:
    if arguments[0] != "predict":
        return arguments
    rows, out = deployment.folder / "rows.csv", deployment.folder / "scored.csv"
    return (*arguments, "--data", str(rows), "--out", str(out))


@pytest.mark.parametrize("arguments", WHOLE, ids=" ".join)
def test_a_command_says_its_own_and_nothing_else(deployment: Deployment, arguments: tuple[str, ...]) -> None:
    done = deployment.command(*_arguments(deployment, arguments))
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(WHOLE[arguments], done.stdout, re.DOTALL), done.stdout
    assert stray_lines(done.stderr) == []
    if arguments[0] != "run" or arguments[1] == "--help":
        assert done.stderr == ""


@pytest.mark.parametrize("arguments", JSON, ids=" ".join)
def test_with_json_standard_output_is_one_value(deployment: Deployment, arguments: tuple[str, ...]) -> None:
    done = deployment.command(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    json.loads(done.stdout)
    assert stray_lines(done.stderr) == []


def test_a_stray_line_would_be_seen() -> None:
    ours = "  candidate          done          1.2 s  first run\n  warning: dataset: 1 rows are left out\n"
    assert stray_lines(ours) == []
    for line in (
        "Traceback (most recent call last):",
        "DuckDB leaked 3 objects",
        "/lib/x.py:1: UserWarning: beware",
        "2026-01-01 00:00:00 +0000 - dagster - INFO - started",
        "  warnings.warn(",
    ):
        assert stray_lines(f"{ours}{line}\n") == [line]


def test_a_failed_command_ends_with_one_message(deployment: Deployment) -> None:
    (deployment.folder / "scored.csv").write_text("of an earlier time\n")
    done = deployment.command("predict", "homes", "--data", "nowhere.csv", "--out", "scored.csv")
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"Error: [^\n]*nowhere\.csv[^\n]*\n", done.stderr), done.stderr
    assert (deployment.folder / "scored.csv").read_text() == "of an earlier time\n"
