"""The UI in a real browser: a job is materialised by hand; lineage, gates and model card tell the story."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mlops_assets_tests.end_to_end.browser import MARKS, keep, open_page

if TYPE_CHECKING:
    from playwright.sync_api import Page

CHECKOUT = Path(__file__).parents[2]

pytestmark = MARKS


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> dict[str, str]:
    """A root of its own whose wine data has arrived and been loaded, and nothing more."""
    home = tmp_path_factory.mktemp("ui")
    for name in ("dagster.yaml", "workspace.yaml"):
        shutil.copy(CHECKOUT / name, home / name)
    variables = {
        **os.environ,
        "DAGSTER_HOME": str(home),
        "MLOPS_ROOT": str(home / ".mlops"),
        "HOME": str(home),
    }
    from mlops_assets.sample_data import wine_csv

    (home / ".mlops" / "store" / "landing" / "wine").mkdir(parents=True)
    wine_csv(home / ".mlops" / "store" / "landing" / "wine")
    command = [Path(sys.executable).with_name("mlops-assets"), "run", "wine", "--upto", "tables"]
    subprocess.run(command, env=variables, cwd=home, check=True, capture_output=True, timeout=300)
    return variables


@pytest.fixture(scope="module")
def ui(environment) -> Iterator[str]:
    """The address of a running `dagster dev`; the whole process group ends with the test."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [Path(sys.executable).with_name("dagster"), "dev", "-w", "workspace.yaml", "-p", str(port)]
    home = environment["DAGSTER_HOME"]
    with (Path(home) / "ui.log").open("wb") as log:
        server = subprocess.Popen(
            command, env=environment, cwd=home, stdout=log, stderr=log, start_new_session=True
        )
    try:
        address = f"http://127.0.0.1:{port}"
        _wait_until_up(f"{address}/server_info", server)
        yield address
    finally:
        os.killpg(server.pid, signal.SIGINT)
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)


def _wait_until_up(url: str, server: subprocess.Popen) -> None:
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        assert server.poll() is None, "dagster dev ended before it answered"
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.5)
    raise AssertionError("dagster dev did not answer in 180 seconds")


@pytest.fixture(scope="module")
def page(ui) -> Iterator[Page]:
    with open_page() as page:
        yield page


def test_a_job_is_materialised_and_tells_its_story(page, ui):
    page.goto(f"{ui}/locations/mlops_assets/jobs/wine_retrain")
    page.get_by_role("button", name="Materialize").first.click()
    page.get_by_text("Launched run").first.wait_for()
    page.goto(f"{ui}/locations/mlops_assets/jobs/wine_retrain/runs")
    page.get_by_text("Success", exact=True).first.wait_for(timeout=240_000)

    page.goto(f"{ui}/locations/mlops_assets/asset-groups/wine/lineage")
    for stage in ("arrivals", "dataset", "candidate", "evaluation", "registered_model", "endpoint"):
        page.get_by_text(stage, exact=True).first.wait_for()
    keep(page, "lineage")

    page.goto(f"{ui}/assets/wine/evaluation?view=checks")
    page.get_by_text("blocking").first.wait_for()
    page.get_by_text("Passed").first.wait_for()
    assert page.get_by_text("Failed", exact=True).count() == 0
    keep(page, "gates")

    page.goto(f"{ui}/assets/wine/evaluation")
    page.get_by_text("metrics").first.wait_for()
    keep(page, "evaluation")
    page.get_by_role("row").filter(has_text="model_card").get_by_text("Show Markdown").first.click()
    page.get_by_role("heading", name="wine").first.wait_for()
    keep(page, "model_card")
    page.keyboard.press("Escape")
    page.get_by_role("row").filter(has_text="plots").get_by_text("Show Markdown").first.click()
    page.get_by_role("dialog").get_by_role("img").first.wait_for()
    keep(page, "plots")
