"""MLflow's own pages over the registry's file, by the command that the registered model's metadata shows."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from mlops_assets_tests.commands import Deployment
from mlops_assets_tests.end_to_end.browser import MARKS, keep, open_page
from mlops_assets_tests.end_to_end.small import declare, deliver, run
from mlops_assets_tests.end_to_end.watching import processes_below, until
from mlops_assets_tests.end_to_end.web import free_port
from mlops_assets_tests.factories import local_platform

pytestmark = MARKS


def test_the_pages_show_model_version_champion_and_metrics(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path)
    declare(deployment, endpoint={"enabled": False})
    deliver(deployment)
    registered = run(deployment)
    assert registered.status == 0, registered.stderr
    with _mlflow_ui(deployment) as address, open_page() as page:
        # MLflow greets a first visitor with a dialog about its registry.
        page.add_locator_handler(page.get_by_role("dialog"), lambda _: page.keyboard.press("Escape"))
        page.goto(f"{address}/#/models")
        model = page.get_by_role("row").filter(has_text="homes")
        model.get_by_text("@ champion", exact=True).wait_for()
        keep(page, "mlflow_models")

        model.get_by_role("link", name="homes").click()
        version = page.get_by_role("row").filter(has_text="Version 1")
        version.get_by_text("@ champion", exact=True).wait_for()

        version.get_by_role("link", name="Version 1").click()
        page.get_by_text("mlops.approval").wait_for()
        keep(page, "mlflow_version")

        page.get_by_role("link", name=re.compile(r"^homes [0-9a-f]{12}$")).click()
        for name, value in registered.report["metrics"].items():
            page.get_by_text(name, exact=True).first.wait_for()
            assert _digits(value) in page.inner_text("body").replace(",", ""), name
        keep(page, "mlflow_run")
    assert processes_below(deployment.folder) == []


def _digits(value: float) -> str:
    """The first four digits of a metric, as any way of rounding shows them but for the last."""
    return f"{value:.10f}"[:4]


@contextmanager
def _mlflow_ui(deployment: Deployment) -> Iterator[str]:
    """The address of the command that `MlflowRegistry.console` prints; it ends with all that it started."""
    printed = local_platform(deployment.folder).registry.console("homes")
    program, *arguments = shlex.split(printed, comments=True)
    port = free_port()
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (deployment.folder / "mlflow.log").open("wb") as log:
        server = subprocess.Popen(
            [str(Path(sys.executable).with_name(program)), *arguments, "--port", str(port), "--workers", "1"],
            cwd=deployment.folder,
            env=deployment.environment(**quiet),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        until(lambda: _answers(address) or server.poll() is not None, 180, pause=0.5)
        assert server.poll() is None, (deployment.folder / "mlflow.log").read_text()
        yield address
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)
        until(lambda: processes_below(deployment.folder) == [], 30)


def _answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}/health", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False
