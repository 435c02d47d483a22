"""Jobs of BigQuery: named once, run in threads of their own, found and read again."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock, Thread
from typing import Any

from mlops_assets_tests.standins.gcp import bigquery_values as values
from mlops_assets_tests.standins.gcp.bigquery_catalogue import Catalogue
from mlops_assets_tests.standins.gcp.bigquery_script import Result, Script
from mlops_assets_tests.standins.gcp.bigquery_transfers import Transfers
from mlops_assets_tests.standins.gcp.web import ApiError

KINDS = ("query", "load", "extract", "copy")
# Seconds that the insertion of a job waits for its end: most are over then.
_PROMPT = 3.0
_MIB = 1 << 20
_LEAST_BILLED = 10 * _MIB


@dataclass
class Job:
    """One job, and in the end its result.

    Attributes:
        uploaded: the file that came with a load job; without one it names objects.
    """

    id: str
    location: str
    configuration: dict[str, Any]
    statistics: dict[str, Any] = field(default_factory=dict)
    state: str = "RUNNING"
    error: ApiError | None = None
    result: Result = field(default_factory=Result)
    thread: Thread | None = None
    uploaded: Path | None = None

    @property
    def kind(self) -> str:
        """`query`, `load`, `extract` or `copy`."""
        return next(kind for kind in KINDS if kind in self.configuration)

    def wait(self, seconds: float) -> bool:
        """Whether it ends within some time."""
        if self.thread is not None:
            self.thread.join(seconds)
        return self.state == "DONE"


class Jobs:
    """Every job of the project."""

    def __init__(self, catalogue: Catalogue, transfers: Transfers) -> None:
        self._catalogue, self._transfers = catalogue, transfers
        self._jobs: dict[str, Job] = {}
        self._lock = Lock()

    def insert(self, asked: Mapping[str, Any], uploaded: Path | None = None) -> Job:
        """Start a job; its name was never used."""
        reference, configuration = asked.get("jobReference", {}), dict(asked["configuration"])
        location = reference.get("location") or self._catalogue.location
        job = Job(reference.get("jobId") or f"job_{uuid.uuid4().hex}", location, configuration)
        job.uploaded = uploaded
        now = str(time.time_ns() // 1_000_000)
        job.statistics = {"creationTime": now, "startTime": now}
        if configuration.get("dryRun"):
            self._run(job)
            if job.error is not None:
                raise job.error
            return job
        with self._lock:
            if job.id in self._jobs:
                message = f"Already Exists: Job {self._catalogue.project}:{location}.{job.id}"
                raise ApiError(409, "duplicate", message)
            self._jobs[job.id] = job
        job.thread = Thread(target=self._run, args=[job], daemon=True)
        job.thread.start()
        job.wait(_PROMPT)
        return job

    def get(self, name: str) -> Job:
        """A job that is there."""
        found = self._jobs.get(name)
        if found is None:
            raise ApiError(404, "notFound", f"Not found: Job {self._catalogue.project}:{name}")
        return found

    def all(self) -> list[Job]:
        """Every job, the latest first."""
        return list(reversed(self._jobs.values()))

    def close(self) -> None:
        """Wait for what runs."""
        for job in self._jobs.values():
            job.wait(30)

    def resource(self, job: Job) -> dict[str, Any]:
        """As the API shows it."""
        project = self._catalogue.project
        status: dict[str, Any] = {"state": job.state}
        if job.error is not None:
            problem = {"reason": job.error.reason, "message": str(job.error), "location": "query"}
            status |= {"errorResult": problem, "errors": [problem]}
        return {
            **{"kind": "bigquery#job", "id": f"{project}:{job.location}.{job.id}", "etag": "x"},
            "jobReference": {"projectId": project, "jobId": job.id, "location": job.location},
            "configuration": {**job.configuration, "jobType": job.kind.upper()},
            **{"status": status, "statistics": job.statistics, "user_email": "mlops@stand.in"},
        }

    def _run(self, job: Job) -> None:
        import duckdb

        started = time.monotonic()
        try:
            if job.kind == "query":
                self._query(job, job.configuration["query"])
            elif job.uploaded is not None:
                config = job.configuration["load"]
                job.statistics["load"] = self._transfers.load(config, job.location, [job.uploaded])
                job.uploaded.unlink()
            else:
                work = getattr(self._transfers, job.kind)
                job.statistics[job.kind] = work(job.configuration[job.kind], job.location)
        except ApiError as error:
            job.error = error
        except duckdb.TransactionException as error:
            message = f"Transaction is aborted due to concurrent update against table: {error}"
            job.error = ApiError(400, "invalidQuery", message)
        except duckdb.Error as error:
            job.error = ApiError(400, "invalidQuery", str(error).splitlines()[0])
        except Exception as error:  # the clients see no more than they would of a fault of the service
            job.error = ApiError(500, "internalError", f"{type(error).__name__}: {error}")
        slots = str(int((time.monotonic() - started) * 1_000) + 1)
        job.statistics |= {"endTime": str(time.time_ns() // 1_000_000), "totalSlotMs": slots}
        job.state = "DONE"

    def _query(self, job: Job, config: Mapping[str, Any]) -> None:
        if config.get("useLegacySql", True) not in (False, "false"):
            raise ApiError(501, "notImplemented", "Legacy SQL is not served by the stand-in.")
        parameters = values.parameters(config.get("queryParameters", []))
        script = Script(self._catalogue, config["query"], parameters, job.location)
        described = script.check()
        processed = script.read()
        billed = max(_LEAST_BILLED, -(-processed // _MIB) * _MIB) if processed else 0
        statistics: dict[str, Any] = {"totalBytesProcessed": str(processed)}
        job.statistics |= {"totalBytesProcessed": str(processed), "query": statistics}
        if job.configuration.get("dryRun"):
            statistics["schema"] = {"fields": described.fields}
            return
        limit = config.get("maximumBytesBilled")
        if limit is not None and billed > int(limit):
            message = f"Query exceeded limit for bytes billed: {limit}. {billed} or higher required."
            raise ApiError(400, "bytesBilledLimitExceeded", message)
        statistics["totalBytesBilled"] = str(billed)
        job.result = self._answered(job, script, config)
        statistics["statementType"] = job.result.kind
        if job.result.changed is not None:
            statistics["numDmlAffectedRows"] = str(job.result.changed)
        statistics["totalSlotMs"] = "1"

    def _answered(self, job: Job, script: Script, config: Mapping[str, Any]) -> Result:
        table = config.get("destinationTable")
        if table is None or script.is_script:
            return script.run()
        said: dict[str, Any] = {}
        if "destinationEncryptionConfiguration" in config:
            said["encryptionConfiguration"] = config["destinationEncryptionConfiguration"]
        disposition = config.get("writeDisposition", "WRITE_EMPTY")
        if disposition != "WRITE_TRUNCATE":
            message = f"{disposition} of a query's rows is not served by the stand-in."
            raise ApiError(501, "notImplemented", message)
        self._catalogue.dataset(table["datasetId"], job.location)
        script.destination(config["query"], table["datasetId"], table["tableId"], said)
        return Result(self._catalogue.fields(table["datasetId"], table["tableId"]))
