"""A small model as a person declares it, and what its commands said stage by stage."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass
from typing import Any

from mlops_assets.artifacts import digest_file
from mlops_assets_tests.commands import Deployment
from mlops_assets_tests.factories import (
    HOMES_SQL,
    csv_text,
    declaration,
    home_attributes,
    home_rows,
    local_platform,
)

ROWS = 300
_STAGE = re.compile(r"^  (\w+) +(done|unchanged) +([0-9.]+) s *(.*)$", re.MULTILINE)

# Says that it trains, then waits to be told to go on: a training that takes as long as the test needs.
WAITS = """
import os, pathlib, time
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import make_pipeline
from sklearn.tree import DecisionTreeRegressor

def train(train, validation, parameters):
    folder = pathlib.Path(parameters["folder"])
    (folder / "training").write_text(str(os.getpid()))
    while not (folder / "go").exists():
        time.sleep(0.05)
    numbers = ColumnTransformer([("numbers", "passthrough", ["square_feet", "bedrooms"])])
    model = make_pipeline(numbers, DecisionTreeRegressor(max_depth=6, random_state=0))
    return model.fit(train.drop(columns="price"), train["price"])
"""


@dataclass(frozen=True)
class Run:
    """A finished `mlops-assets run homes --json`.

    Attributes:
        report: what it printed.
        stages: stage -> what it said: `done` or `unchanged`.
        reasons: stage -> why.
        seconds: stage -> how long it took.
    """

    status: int
    report: dict[str, Any]
    stages: dict[str, str]
    reasons: dict[str, str]
    seconds: dict[str, float]
    stderr: str

    @property
    def done(self) -> set[str]:
        """Stages that did something."""
        return {stage for stage, how in self.stages.items() if how == "done"}


def run(deployment: Deployment, *arguments: str, model: str = "homes", **environment: str) -> Run:
    """Run a model to its end."""
    return ended(deployment.command("run", model, "--json", *arguments, **environment))


def ended(done: subprocess.CompletedProcess[str]) -> Run:
    """What a finished process said."""
    try:
        report = json.loads(done.stdout)
    except ValueError:
        report = {}
    said = _STAGE.findall(done.stderr)
    return Run(
        done.returncode,
        report,
        {stage: how for stage, how, _, _ in said},
        {stage: reason for stage, _, _, reason in said},
        {stage: float(seconds) for stage, _, seconds, _ in said},
        done.stderr,
    )


def declare(
    deployment: Deployment,
    *,
    sql: str = HOMES_SQL,
    program: str | None = None,
    parameters: dict[str, Any] | None = None,
    **sections: Any,
) -> None:
    """Declare `homes`; a decision tree, or `program`; `sections` replace those of the declaration."""
    attributes = home_attributes() | sections
    training = dict(attributes["training"])
    if program is not None:
        del training["estimator"]
        training["program"] = "train.py"
    if parameters is not None:
        training["parameters"] = parameters
    attributes["training"] = training
    attributes["evaluation"] = {"bootstrap": 0, "importance": False, "slices": ["region"]}
    declaration(deployment.folder, attributes, sql={"home_features": sql}, program=program)


def declare_waiting(deployment: Deployment) -> None:
    """Declare `homes`, not served, whose training goes on until the file `go` is in the deployment's folder.

    While it trains, the file `training` there holds its process id.
    """
    where = {"folder": str(deployment.folder)}
    declare(deployment, program=WAITS, parameters=where, endpoint={"enabled": False})


def deliver(deployment: Deployment, name: str = "first.csv", text: str | None = None) -> None:
    """Let a file arrive, over one of the same name."""
    path = deployment.root / "store/landing/homes" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(csv_text(home_rows(ROWS)) if text is None else text)


def unfinished(deployment: Deployment) -> list[str]:
    """Published places that a reader could mistake for whole, and are not."""
    store = deployment.root / "store"
    wrong = []
    for kind in ("datasets", "candidates", "evaluations"):
        for folder in (path for path in store.glob(f"{kind}/homes/*") if not path.name.startswith(".")):
            marker = folder / "_complete"
            files = json.loads(marker.read_text()) if marker.exists() else None
            if files is None or any(digest_file(folder / name) != sha for name, sha in files.items()):
                wrong.append(str(folder))
    platform = local_platform(deployment.folder)
    listed = [str(info.uri) for info in platform.store.list(platform.store.root)]
    return wrong + [uri for uri in listed if "/.tmp-" in uri]
