"""What every program of the runtime shares: its request, its progress, its result, its way to fail.

`python -m mlops_assets.runtime.<program> --work FOLDER` reads FOLDER/request.json, writes artifacts to the
request's output folder and FOLDER/result.json. Under Dagster Pipes it reports as it goes; else it prints.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from time import monotonic
from typing import Any

from dagster_pipes import PipesContext, PipesEnvVarParamsLoader, open_dagster_pipes

from mlops_assets.errors import JobFailedError, MlopsAssetsError
from mlops_assets.runtime.process import end_with_parent

RESULT_FILE = "result.json"
REQUEST_FILE = "request.json"
HEARTBEAT = 30.0


@dataclass(frozen=True)
class Request:
    """A program's work: JSON `arguments`, `inputs` by channel, folders for its `output` and user `code`."""

    arguments: Mapping[str, Any]
    inputs: Mapping[str, Path]
    output: Path
    code: Path


class Progress:
    """Reports to Dagster where it listens, to standard output where it does not."""

    def __init__(self, pipes: PipesContext | None) -> None:
        self._pipes = pipes
        self._started = monotonic()

    def log(self, message: str) -> None:
        """One line, with the seconds since the start before it."""
        line = f"[{monotonic() - self._started:6.1f} s] {message}"
        if self._pipes is not None:
            self._pipes.log.info(line)
        else:
            print(line, flush=True)

    def metrics(self, title: str, values: Mapping[str, float | None]) -> None:
        """Metrics by name: a line to read and, under Dagster, a message that becomes metadata."""
        shown = ", ".join(f"{name} {value:.6g}" for name, value in values.items() if value is not None)
        self.log(f"{title}: {shown}")
        if self._pipes is not None:
            self._pipes.report_custom_message({"metrics": {"title": title, "values": dict(values)}})

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Log begin and end of a long step, and a sign of life every 30 seconds between."""
        self.log(f"{name} …")
        began, done = monotonic(), Event()

        def beat() -> None:
            while not done.wait(HEARTBEAT):
                self.log(f"{name}: {monotonic() - began:.0f} s so far")

        Thread(target=beat, daemon=True).start()
        try:
            yield
        finally:
            done.set()
        self.log(f"{name}: done in {monotonic() - began:.1f} s")


def main(work: Callable[[Request, Progress], dict[str, Any]]) -> None:
    """Run `work` on the request of this process's command line; exit 1 with the reason in result.json."""
    parser = argparse.ArgumentParser(description="A program of mlops_assets.runtime.")
    parser.add_argument("--work", type=Path, required=True, help="folder that holds request.json")
    parser.add_argument("--watch-stdin", action="store_true", help="end when standard input closes")
    options = parser.parse_args()
    end_with_parent(watch_stdin=options.watch_stdin)
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(name)s: %(message)s")
    if PipesEnvVarParamsLoader().is_dagster_pipes_process():
        with open_dagster_pipes() as pipes:
            failed = _run(work, options.work, Progress(pipes))
    else:
        failed = _run(work, options.work, Progress(None))
    # The interpreter would look through every object of the libraries before it ends: half a second.
    gc.freeze()
    if failed:
        sys.exit(1)


def _run(work: Callable[[Request, Progress], dict[str, Any]], folder: Path, progress: Progress) -> bool:
    try:
        result, failed = work(_request(folder), progress), False
    except MlopsAssetsError as error:
        result, failed = {"error": _reason(error)}, True
    except MemoryError:
        lack = JobFailedError("The machine ran out of memory.", mend="Use fewer rows or a larger machine.")
        result, failed = {"error": _reason(lack)}, True
    except Exception as error:
        traceback.print_exc()
        unexpected = JobFailedError(f"{type(error).__name__}: {error}", where=_place(error))
        result, failed = {"error": _reason(unexpected)}, True
    _write(folder / RESULT_FILE, result)
    if failed:
        print(f"failed: {result['error']['what']}", file=sys.stderr, flush=True)
    return failed


def _request(folder: Path) -> Request:
    path = folder / REQUEST_FILE
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        inputs = {channel: Path(place) for channel, place in raw["inputs"].items()}
        return Request(raw["arguments"], inputs, Path(raw["output"]), folder / "code")
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise JobFailedError(
            f"The request cannot be read ({type(error).__name__}).",
            where=str(path),
            mend="It holds arguments, inputs (channel: folder) and output (folder).",
        ) from error


def _reason(error: MlopsAssetsError) -> dict[str, Any]:
    return {"type": type(error).__name__, "what": error.what, "where": error.where, "mend": error.mend}


def _place(error: BaseException) -> str | None:
    frames = traceback.extract_tb(error.__traceback__)
    return f"{Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else None


def _write(path: Path, value: Mapping[str, Any]) -> None:
    aside = path.with_suffix(".partial")
    aside.write_text(json.dumps(value, sort_keys=True, allow_nan=False), encoding="utf-8")
    aside.replace(path)
