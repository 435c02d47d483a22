"""A running `mlops-assets ui` (web server and daemon), and the GraphQL that its pages and buttons send."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import psutil

from mlops_assets_tests.commands import PROGRAM, Deployment
from mlops_assets_tests.end_to_end.watching import until

LOCATION = {"repositoryName": "__repository__", "repositoryLocationName": "mlops_assets.definitions"}
ENDED = ("SUCCESS", "FAILURE", "CANCELED")

_LAUNCH = """mutation ($params: ExecutionParams!) {
  launchRun(executionParams: $params) {
    __typename ... on LaunchRunSuccess { run { runId } } ... on Error { message } } }"""
_TERMINATE = """mutation ($run: String!) {
  terminateRun(runId: $run, terminatePolicy: SAFE_TERMINATE) { __typename ... on Error { message } } }"""
_BACKFILL = """mutation ($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename ... on LaunchBackfillSuccess { backfillId } ... on Error { message } } }"""
_RUNS = """query { runsOrError(limit: 100) { ... on Runs { results {
  runId status jobName creationTime tags { key value } } } ... on Error { message } } }"""
_LOADS = """query ($key: AssetKeyInput!) { assetOrError(assetKey: $key) {
  ... on Asset { assetMaterializations(limit: 1000) {
    partition metadataEntries { label ... on BoolMetadataEntry { boolValue } } } } } }"""


@dataclass(frozen=True)
class Ui:
    """One running UI.

    Attributes:
        address: `http://127.0.0.1:<port>`.
    """

    address: str

    def ask(self, text: str, **variables: Any) -> dict[str, Any]:
        """Send one GraphQL document; its data."""
        answer = httpx.post(
            f"{self.address}/graphql", json={"query": text, "variables": variables}, timeout=60
        ).json()
        assert not answer.get("errors"), answer["errors"]
        return answer["data"]

    def launch(self, job: str) -> str:
        """Materialise a job, as its page's button does; the run's id."""
        params = {"selector": {**LOCATION, "jobName": job}, "runConfigData": {}}
        return self.ask(_LAUNCH, params=params)["launchRun"]["run"]["runId"]

    def terminate(self, run: str) -> None:
        """End a run, as the button on its page does."""
        done = self.ask(_TERMINATE, run=run)["terminateRun"]
        assert done["__typename"] == "TerminateRunSuccess", done

    def backfill(self, assets: Sequence[str], partitions: Sequence[str]) -> str:
        """Materialise `assets` (`model/stage`) over `partitions`, as their dialog does; the backfill's id."""
        keys = [{"path": asset.split("/")} for asset in assets]
        params = {"assetSelection": keys, "partitionNames": list(partitions)}
        done = self.ask(_BACKFILL, params=params)["launchPartitionBackfill"]
        assert done["__typename"] == "LaunchBackfillSuccess", done
        return done["backfillId"]

    def runs(self) -> list[dict[str, Any]]:
        """Every run, oldest first: runId, status, jobName, creationTime, tags (by name)."""
        found = self.ask(_RUNS)["runsOrError"]["results"]
        for run in found:
            run["tags"] = {tag["key"]: tag["value"] for tag in run["tags"]}
        return sorted(found, key=lambda run: run["creationTime"])

    def status(self, run: str) -> str:
        """Status of a run, e.g. `SUCCESS`."""
        return next(item["status"] for item in self.runs() if item["runId"] == run)

    def ended(self, run: str) -> str:
        """Wait for a run's end; how it ended."""
        until(lambda: self.status(run) in ENDED, pause=0.5)
        return self.status(run)

    def loads(self, model: str) -> dict[str, int]:
        """Partition of the model's arrivals -> how often it was really loaded."""
        found = self.ask(_LOADS, key={"path": [model, "arrivals"]})["assetOrError"]
        loaded: Counter[str] = Counter()
        for event in found.get("assetMaterializations", []):
            entries = {entry["label"]: entry.get("boolValue") for entry in event["metadataEntries"]}
            loaded[event["partition"]] += entries["mlops/skipped"] is False
        return dict(loaded)


@contextmanager
def running_ui(deployment: Deployment, **environment: str) -> Iterator[Ui]:
    """The UI and daemon of a deployment, on a free port; no process of theirs outlives this."""
    port = free_port()
    log = deployment.folder / "ui.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*PROGRAM, "ui", "--port", str(port)],
            cwd=deployment.folder,
            env=deployment.environment(**environment),
            stdout=out,
            stderr=out,
        )
    ui = Ui(f"http://127.0.0.1:{port}")
    children: list[psutil.Process] = []
    try:
        until(lambda: _answers(ui.address) or process.poll() is not None)
        assert process.poll() is None, log.read_text()
        yield ui
    finally:
        if process.poll() is None:
            children = psutil.Process(process.pid).children(recursive=True)
            process.send_signal(signal.SIGINT)
        try:
            process.wait(40)
        finally:
            _, alive = psutil.wait_procs(children, 10)
            for child in alive:
                os.kill(child.pid, signal.SIGKILL)
    assert not alive, [child.pid for child in alive]


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}/server_info", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False
