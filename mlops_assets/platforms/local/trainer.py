"""The local trainer: the runtime's programs as subprocesses, reporting to Dagster through Pipes."""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
from filelock import FileLock, Timeout

from mlops_assets.artifacts import ArtifactUri, digest_folder
from mlops_assets.artifacts.uri import check_key
from mlops_assets.errors import JobFailedError
from mlops_assets.pipes.contexts import running_context
from mlops_assets.platforms.ports import JobRequest, JobResult, ObjectStore
from mlops_assets.platforms.repetition import repeated
from mlops_assets.runtime.job_environment import job_environment
from mlops_assets.runtime.job_process import JobProcess
from mlops_assets.runtime.warm_process import WarmProcess

if TYPE_CHECKING:
    from mlops_assets.settings import Settings

_LOG = logging.getLogger(__name__)


class SubprocessTrainer:
    """Runs a job in a process of its own on this machine.

    A request whose output is published already is not run again, unless it is forced. Work folders of an
    orchestrator that was killed are removed by the next job.
    """

    def __init__(self, settings: Settings, store: ObjectStore) -> None:
        self._store = store
        self._folder = settings.root / "jobs"
        self._cache = settings.root / "cache"
        self._warm: WarmProcess | None = None

    def prepare(self) -> None:
        """Import the programs' libraries in a process of their own, which jobs are forked from."""
        if self._warm is None or not self._warm.close.alive:
            self._warm = WarmProcess(job_environment(self._cache))

    def run(self, context: Any, request: JobRequest) -> JobResult:
        """Run to the end, or find the result of the same request; a forced one runs and is compared.

        Args:
            context: an execution context of Dagster, for logs and Pipes; None outside of a run.
            request: what to run.

        Raises:
            JobFailedError: with the reason that the program gave, or the end of what it printed.
            ArtifactError: where an input is not there.
        """
        before = self._store.published(request.output)
        if before is not None and not request.force:
            self._log(context).info(f"{request.program} {request.name}: found the output of the same request")
            return JobResult(request.output, before, self._recall(request), {"reused": True})
        started = time.monotonic()
        with self._work_folder(request) as work:
            self._write_request(work, request)
            messages = self._execute(context, work, request)
            result = self._result(work, request)
            if request.force:
                made = digest_folder(work / "output")
                messages |= repeated(request, before, made, self._log(context).warning)
            if before is None:
                self._store.write(self._record(request), json.dumps(result, sort_keys=True).encode())
                self._store.publish(work / "output", request.output)
            else:
                result = self._recall(request) or result
        files = self._store.published(request.output)
        if files is None:
            raise JobFailedError(
                "The job's output was not published.", where=str(request.output), mend="Run it again."
            )
        metadata = {"reused": False, "seconds": round(time.monotonic() - started, 3), **messages}
        return JobResult(request.output, files, result, metadata)

    def _execute(self, context: Any, work: Path, request: JobRequest) -> dict[str, Any]:
        """Run the process to its end; the metrics it reported, by title."""
        self.prepare()
        environment = job_environment(self._cache)
        inner = running_context(context)
        if inner is None:
            process = JobProcess(request.program, work, environment, self._log(context).info, self._warm)
            self._wait(process, work, request)
            return {}
        with dg.open_pipes_session(
            context=inner,
            context_injector=dg.PipesTempFileContextInjector(),
            message_reader=dg.PipesTempFileMessageReader(),
        ) as session:
            environment |= session.get_bootstrap_env_vars()
            process = JobProcess(request.program, work, environment, print, self._warm)
            self._wait(process, work, request)
        reported = [message["metrics"] for message in session.get_custom_messages() if "metrics" in message]
        return {str(item["title"]): item["values"] for item in reported}

    def _wait(self, process: JobProcess, work: Path, request: JobRequest) -> None:
        where = f"{request.program} {request.name}"
        try:
            status = process.wait(request.timeout)
        except TimeoutError as error:
            raise JobFailedError(
                f"The job took longer than its timeout of {error}.",
                where=where,
                mend="Raise training.timeout.",
            ) from None
        if status != 0:
            raise self._failure(status, process, work, where)

    def _failure(self, status: int, process: JobProcess, work: Path, where: str) -> JobFailedError:
        what, mend = process.reason(status, _read_json(work / "result.json"))
        return JobFailedError(what, where=where, mend=mend)

    def _result(self, work: Path, request: JobRequest) -> Mapping[str, Any]:
        if not (work / "result.json").is_file() or not any((work / "output").iterdir()):
            raise JobFailedError(
                "The program ended without a result.",
                where=f"{request.program} {request.name}",
                mend="Run it again.",
            )
        return _read_json(work / "result.json")

    def _write_request(self, work: Path, request: JobRequest) -> None:
        for folder in ("output", "code"):
            (work / folder).mkdir()
        for name, text in request.code.items():
            path = work / "code" / check_key(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        payload = {
            "program": request.program,
            "arguments": dict(request.arguments),
            "inputs": {channel: str(self._store.local(uri)) for channel, uri in request.inputs.items()},
            "output": str(work / "output"),
        }
        (work / "request.json").write_text(json.dumps(payload, sort_keys=True), encoding="utf-8")

    @contextlib.contextmanager
    def _work_folder(self, request: JobRequest) -> Iterator[Path]:
        """A folder of this job alone, removed however it ends; by the next job where this process dies."""
        self._sweep()
        folder = self._folder / f"{request.digest[:16]}-{uuid.uuid4().hex}"
        with FileLock(_lock_of(folder)):
            folder.mkdir(parents=True)
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)
                _lock_of(folder).unlink(missing_ok=True)

    def _sweep(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        for folder in [path for path in self._folder.iterdir() if path.is_dir()]:
            lock = FileLock(_lock_of(folder))
            with contextlib.suppress(Timeout), lock.acquire(timeout=0):
                shutil.rmtree(folder, ignore_errors=True)
                _lock_of(folder).unlink(missing_ok=True)

    def _record(self, request: JobRequest) -> ArtifactUri:
        return self._store.root.join("jobs", request.name, f"{request.digest}.json")

    def _recall(self, request: JobRequest) -> Mapping[str, Any]:
        if self._store.head(self._record(request)) is None:
            return {}
        return json.loads(self._store.read(self._record(request)))

    def _log(self, context: Any) -> logging.Logger:
        return context.log if hasattr(context, "log") else _LOG


def _lock_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
