"""The first process of a job's container: the channels' folders in, a program of the runtime, a reason out.

The program runs as a child, so that one that dies without a word still leaves a reason behind. The channel
`request` holds what the program is asked (`request.json`, user code below `code/`).
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from mlops_assets.errors import JobFailedError
from mlops_assets.runtime.job_environment import job_environment
from mlops_assets.runtime.job_process import JobProcess
from mlops_assets.runtime.process import TERMINATED
from mlops_assets.runtime.program import REQUEST_FILE, RESULT_FILE

# As SageMaker's own training toolkit names it.
BASE = "SAGEMAKER_BASE_DIR"
CHECKPOINTS = "MLOPS_CHECKPOINTS"
REQUEST, OUTPUT = "request", "output"


@dataclass(frozen=True)
class Layout:
    """Where one kind of job has its folders, below /opt/ml."""

    channels: str
    output: str
    reason: str


TRAINING = Layout("input/data", "model", "output/failure")
PROCESSING = Layout("processing/input", "processing/output", "output/message")


def run(environment: Mapping[str, str] | None = None, *, base: Path | None = None) -> int:
    """Run the requested program to its end.

    The folder that the layout names then holds `output/` (the program's files) and `result.json`; where it
    failed, the job's failure file holds the reason instead. SIGTERM ends the program first.

    Args:
        environment: of the program, beside what every job has: where Dagster listens.
        base: where the folders lie. Default: where SageMaker has them.

    Returns:
        The container's exit status: the program's, 128 + n for signal n.
    """
    signal.signal(signal.SIGTERM, _terminate)
    base = base or Path(os.environ.get(BASE, "/opt/ml"))
    layout = next(
        (item for item in (TRAINING, PROCESSING) if (base / item.channels / REQUEST).is_dir()), TRAINING
    )
    with tempfile.TemporaryDirectory(prefix="mlops-job-") as folder:
        work = Path(folder)
        try:
            program = _prepare(work, base, layout)
        except JobFailedError as error:
            return _refuse(base / layout.reason, error.what, error.mend, 1)
        started = job_environment(work / "cache") | _checkpoints(base) | dict(environment or {})
        process = JobProcess(program, work, started, lambda line: print(line, flush=True))
        status, result = process.wait(None), _read(work / RESULT_FILE)
        if status == 0:
            shutil.copy(work / RESULT_FILE, base / layout.output / RESULT_FILE)
            return 0
        return _refuse(base / layout.reason, *process.reason(status, result), status)


def _prepare(work: Path, base: Path, layout: Layout) -> str:
    """Lay out the program's work folder; the program's name."""
    asked = base / layout.channels / REQUEST
    request = _read(asked / REQUEST_FILE)
    if request.get("program") not in ("train", "evaluate"):
        raise JobFailedError(
            f"The channel {REQUEST!r} asks for no program of the runtime.",
            mend="Start the job through mlops_assets.",
        )
    if (asked / "code").is_dir():
        shutil.copytree(asked / "code", work / "code")
    else:
        (work / "code").mkdir()
    output = base / layout.output / OUTPUT
    output.mkdir(parents=True, exist_ok=True)
    request |= {
        "inputs": {name: str(base / layout.channels / name) for name in request["channels"]},
        "output": str(output),
    }
    (work / REQUEST_FILE).write_text(json.dumps(request, sort_keys=True), encoding="utf-8")
    return request["program"]


def _checkpoints(base: Path) -> dict[str, str]:
    """Where a user's program keeps what an interrupted spot job goes on from."""
    folder = base / "checkpoints"
    return {CHECKPOINTS: str(folder)} if folder.is_dir() else {}


def _refuse(path: Path, what: str, mend: str | None, status: int) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{what} Mend: {mend}" if mend else what, encoding="utf-8")
    return 128 - status if status < 0 else status


def _read(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _terminate(*_: object) -> NoReturn:
    sys.exit(TERMINATED)
