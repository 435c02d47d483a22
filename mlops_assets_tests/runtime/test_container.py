"""The first process of a job's container, on folders laid out as SageMaker does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from mlops_assets.runtime.container import PROCESSING, TRAINING, Layout
from mlops_assets_tests.runtime.jobs import training, write_split
from mlops_assets_tests.waiting import eventually

ENTRY = [sys.executable, "-c", "import sys; from mlops_assets.runtime.container import run; sys.exit(run())"]
TABLE = pa.table({"a": [1.0, 2.0, 3.0, 4.0], "p": [2.0, 4.0, 6.0, 8.0]})


def lay_out(base: Path, layout: Layout, *, code: str | None = None, program: str = "train") -> None:
    """Channels of a training program, whichever kind of job runs it."""
    asked = base / layout.channels / "request"
    asked.mkdir(parents=True)
    (base / layout.output).mkdir(parents=True)
    for name in ("train", "validation"):
        write_split(base / layout.channels / name, TABLE)
    changes = {"estimator": None, "program": "train.py"} if code is not None else {}
    request = {
        "program": program,
        "arguments": training({"a": "float"}, ("p", "float"), **changes),
        "channels": ["train", "validation"],
    }
    (asked / "request.json").write_text(json.dumps(request))
    if code is not None:
        (asked / "code").mkdir()
        (asked / "code" / "train.py").write_text(code)


def start(base: Path, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ENTRY,
        env={**os.environ, "SAGEMAKER_BASE_DIR": str(base), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.parametrize("layout", [TRAINING, PROCESSING], ids=["training", "processing"])
def test_a_program_finds_its_channels_and_leaves_output_and_result(tmp_path: Path, layout: Layout) -> None:
    lay_out(tmp_path, layout)
    process = start(tmp_path)
    printed, _ = process.communicate(timeout=120)
    assert process.returncode == 0, printed
    assert "4 rows to train on" in printed
    assert {path.name for path in (tmp_path / layout.output / "output").iterdir()} == {
        "model.skops",
        "model.json",
    }
    assert json.loads((tmp_path / layout.output / "result.json").read_text())["metrics"]["r2"] == 1.0
    assert not (tmp_path / layout.reason).exists()


@pytest.mark.parametrize(
    ("code", "status", "says"),
    [
        ("def train(train, validation, parameters):\n    return 1 / 0\n", 1, "ZeroDivisionError"),
        ("import os\nprint('last', file=os.sys.stderr, flush=True)\nos._exit(7)\n", 7, "exit status 7"),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n", 137, "lack of memory"),
    ],
)
def test_a_program_that_fails_leaves_its_reason(tmp_path: Path, code: str, status: int, says: str) -> None:
    lay_out(tmp_path, TRAINING, code=code)
    process = start(tmp_path)
    process.communicate(timeout=120)
    assert process.returncode == status
    assert says in (tmp_path / TRAINING.reason).read_text()
    assert not (tmp_path / TRAINING.output / "result.json").exists()


def test_no_secret_of_the_container_reaches_the_program_or_its_reason(tmp_path: Path) -> None:
    code = (
        "import os, sys\n"
        "print('secrets:', [name for name in os.environ if 'SECRET' in name], file=sys.stderr)\n"
        "print('leak: staple-staple-staple', file=sys.stderr, flush=True)\n"
        "os._exit(3)\n"
    )
    lay_out(tmp_path, TRAINING, code=code)
    process = start(tmp_path, AWS_SECRET_ACCESS_KEY="staple-staple-staple")
    process.communicate(timeout=120)
    reason = (tmp_path / TRAINING.reason).read_text()
    assert "secrets: []" in reason
    assert "staple" not in reason


@pytest.mark.parametrize("program", ["serve", "../../bad", ""])
def test_another_program_than_the_runtimes_is_refused(tmp_path: Path, program: str) -> None:
    lay_out(tmp_path, TRAINING, program=program)
    process = start(tmp_path)
    process.communicate(timeout=120)
    assert process.returncode == 1
    assert "asks for no program" in (tmp_path / TRAINING.reason).read_text()


def test_without_a_request_the_reason_says_so(tmp_path: Path) -> None:
    process = start(tmp_path)
    process.communicate(timeout=120)
    assert process.returncode == 1
    assert "channel 'request'" in (tmp_path / TRAINING.reason).read_text()


def test_being_told_to_end_ends_the_program_too(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    code = f"import os, pathlib, threading\npathlib.Path({str(pid)!r}).write_text(str(os.getpid()))\n"
    lay_out(tmp_path, TRAINING, code=code + "threading.Event().wait()\n")
    process = start(tmp_path)
    eventually(lambda: pid.exists() and pid.read_text() != "")
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 143
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
