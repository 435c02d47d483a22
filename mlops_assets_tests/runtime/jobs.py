"""Runs the runtime's programs as a platform would, but on plain folders."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq


def write_split(folder: Path, table: pa.Table) -> Path:
    """One Parquet file in `folder`."""
    folder.mkdir(parents=True)
    pq.write_table(table, folder / "data.parquet")
    return folder


def run_program(
    work: Path,
    program: str,
    arguments: Mapping[str, Any],
    inputs: Mapping[str, Path],
    *,
    code: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Run a program in `work`; its result.json, with `status` and `printed` added."""
    (work / "code").mkdir(parents=True)
    (work / "output").mkdir()
    for name, text in (code or {}).items():
        (work / "code" / name).write_text(text)
    request = {
        "program": program,
        "arguments": dict(arguments),
        "inputs": {channel: str(folder) for channel, folder in inputs.items()},
        "output": str(work / "output"),
    }
    (work / "request.json").write_text(json.dumps(request))
    command = [sys.executable, "-m", f"mlops_assets.runtime.{program}", "--work", str(work)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    result = json.loads((work / "result.json").read_text())
    return {**result, "status": done.returncode, "printed": done.stdout}


def training(features: Mapping[str, str], target: tuple[str, str], **changes: Any) -> dict[str, Any]:
    """Arguments of a training job."""
    return {
        "model": "m",
        "task": "regression",
        "target": {"name": target[0], "type": target[1]},
        "features": [{"name": name, "type": type_} for name, type_ in features.items()],
        "estimator": "sklearn.tree.DecisionTreeRegressor",
        "parameters": {},
        "preprocessing": {},
        "seed": 0,
        "dataset_version": "v1",
        **changes,
    }
