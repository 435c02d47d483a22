"""BigQuery's API: datasets, tables, their rows, and jobs. SQL is run by DuckDB, in sqlglot's translation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from werkzeug import Request, Response

from mlops_assets_tests.standins.gcp import bigquery_values as values
from mlops_assets_tests.standins.gcp.bigquery_catalogue import Catalogue, quoted
from mlops_assets_tests.standins.gcp.bigquery_jobs import Job, Jobs
from mlops_assets_tests.standins.gcp.bigquery_transfers import Transfers
from mlops_assets_tests.standins.gcp.objects import Objects
from mlops_assets_tests.standins.gcp.uploads import Upload, Uploads
from mlops_assets_tests.standins.gcp.web import ApiError, Route, json_body

_PROJECT = "/bigquery/v2/projects/<project>"
_DATASET = f"{_PROJECT}/datasets/<dataset>"
_TABLE = f"{_DATASET}/tables/<table>"
_JOB = f"{_PROJECT}/jobs/<job>"
_UPLOADS = "/upload/bigquery/v2/projects/{owner}/jobs"
_UPLOAD = _UPLOADS.format(owner="<owner>")
_MOST_ROWS = 10_000


class BigQuery:
    """The service.

    Attributes:
        catalogue: what it holds.
        jobs: what it did.
    """

    def __init__(self, folder: Path, objects: Objects, project: str, location: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.catalogue = Catalogue(folder / "bigquery.duckdb", project, location)
        self._transfers = Transfers(self.catalogue, objects)
        self.jobs = Jobs(self.catalogue, self._transfers)
        self._uploads = Uploads(_UPLOADS, objects.scratch, self._mine, self._uploaded)

    def close(self) -> None:
        """End it."""
        self.jobs.close()
        self.catalogue.close()

    def routes(self) -> list[Route]:
        """Every method that is served."""
        return [
            Route("bigquery.datasets.insert", "POST", f"{_PROJECT}/datasets", self._insert_dataset),
            Route("bigquery.datasets.list", "GET", f"{_PROJECT}/datasets", self._list_datasets),
            Route("bigquery.datasets.get", "GET", _DATASET, self._get_dataset),
            Route("bigquery.datasets.delete", "DELETE", _DATASET, self._delete_dataset),
            Route("bigquery.tables.insert", "POST", f"{_DATASET}/tables", self._insert_table),
            Route("bigquery.tables.list", "GET", f"{_DATASET}/tables", self._list_tables),
            Route("bigquery.tables.get", "GET", _TABLE, self._get_table),
            Route("bigquery.tables.patch", "PATCH", _TABLE, self._patch_table),
            Route("bigquery.tables.delete", "DELETE", _TABLE, self._delete_table),
            Route("bigquery.tabledata.list", "GET", f"{_TABLE}/data", self._rows),
            Route("bigquery.tabledata.insertAll", "POST", f"{_TABLE}/insertAll", self._insert_rows),
            Route("bigquery.jobs.insert", "POST", f"{_PROJECT}/jobs", self._insert_job),
            Route("bigquery.jobs.insert", "POST", _UPLOAD, self._uploads.insert),
            Route("bigquery.jobs.insertChunk", "PUT", _UPLOAD, self._uploads.proceed),
            Route("bigquery.jobs.list", "GET", f"{_PROJECT}/jobs", self._list_jobs),
            Route("bigquery.jobs.get", "GET", _JOB, self._get_job),
            Route("bigquery.jobs.cancel", "POST", f"{_JOB}/cancel", self._cancel_job),
            Route("bigquery.jobs.query", "POST", f"{_PROJECT}/queries", self._query),
            Route("bigquery.jobs.getQueryResults", "GET", f"{_PROJECT}/queries/<job>", self._results),
        ]

    # --- datasets and tables --------------------------------------------------------------------------------

    def _insert_dataset(self, request: Request, project: str) -> Mapping[str, Any]:
        self._mine(project)
        return self.catalogue.create_dataset(json_body(request))

    def _list_datasets(self, _request: Request, project: str) -> Mapping[str, Any]:
        self._mine(project)
        found = [self.catalogue.dataset_resource(name) for name in sorted(self.catalogue.datasets)]
        return {"kind": "bigquery#datasetList", "datasets": found}

    def _get_dataset(self, _request: Request, project: str, dataset: str) -> Mapping[str, Any]:
        self._mine(project)
        return self.catalogue.dataset_resource(dataset)

    def _delete_dataset(self, request: Request, project: str, dataset: str) -> Response:
        self._mine(project)
        self.catalogue.delete_dataset(dataset, contents=request.args.get("deleteContents") == "true")
        return Response(status=204)

    def _insert_table(self, request: Request, project: str, dataset: str) -> Mapping[str, Any]:
        self._mine(project)
        return self.catalogue.create_table(dataset, json_body(request))

    def _list_tables(self, _request: Request, project: str, dataset: str) -> Mapping[str, Any]:
        self._mine(project)
        tables = sorted(self.catalogue.dataset(dataset).tables)
        found = [self.catalogue.table_resource(dataset, table) for table in tables]
        return {"kind": "bigquery#tableList", "tables": found, "totalItems": len(found)}

    def _get_table(self, _request: Request, project: str, dataset: str, table: str) -> Mapping[str, Any]:
        self._mine(project)
        return self.catalogue.table_resource(dataset, table)

    def _patch_table(self, request: Request, project: str, dataset: str, table: str) -> Mapping[str, Any]:
        self._mine(project)
        return self.catalogue.patch_table(dataset, table, json_body(request))

    def _delete_table(self, _request: Request, project: str, dataset: str, table: str) -> Response:
        self._mine(project)
        self.catalogue.delete_table(dataset, table)
        return Response(status=204)

    def _rows(self, request: Request, project: str, dataset: str, table: str) -> Mapping[str, Any]:
        self._mine(project)
        self.catalogue.said(dataset, table)
        found = self.catalogue.connect().execute(f"SELECT * FROM {quoted(dataset, table)}").fetchall()
        return _page(request, found, self.catalogue.fields(dataset, table))

    def _insert_rows(self, request: Request, project: str, dataset: str, table: str) -> Mapping[str, Any]:
        self._mine(project)
        rows = [row["json"] for row in json_body(request)["rows"]]
        errors = self._transfers.stream(dataset, table, rows)
        answer = {"kind": "bigquery#tableDataInsertAllResponse"}
        return {**answer, "insertErrors": errors} if errors else answer

    # --- jobs -----------------------------------------------------------------------------------------------

    def _insert_job(self, request: Request, project: str) -> Mapping[str, Any]:
        self._mine(project)
        return self.jobs.resource(self.jobs.insert(json_body(request)))

    def _uploaded(self, upload: Upload) -> Mapping[str, Any]:
        return self.jobs.resource(self.jobs.insert(upload.described, upload.path))

    def _list_jobs(self, _request: Request, project: str) -> Mapping[str, Any]:
        self._mine(project)
        found = [{**self.jobs.resource(job), "state": job.state} for job in self.jobs.all()]
        return {"kind": "bigquery#jobList", "jobs": found}

    def _get_job(self, _request: Request, project: str, job: str) -> Mapping[str, Any]:
        self._mine(project)
        return self.jobs.resource(self.jobs.get(job))

    def _cancel_job(self, _request: Request, project: str, job: str) -> Mapping[str, Any]:
        self._mine(project)
        return {"kind": "bigquery#jobCancelResponse", "job": self.jobs.resource(self.jobs.get(job))}

    def _query(self, request: Request, project: str) -> Mapping[str, Any]:
        """A query and the first page of its rows in one call."""
        self._mine(project)
        asked = json_body(request)
        query = {
            key: asked[key]
            for key in ("query", "queryParameters", "parameterMode", "useLegacySql", "maximumBytesBilled")
            if key in asked
        }
        reference = {"location": asked["location"]} if "location" in asked else {}
        job = self.jobs.insert({"jobReference": reference, "configuration": {"query": query}})
        return self._answer(request, job)

    def _results(self, request: Request, project: str, job: str) -> Mapping[str, Any]:
        self._mine(project)
        return self._answer(request, self.jobs.get(job))

    def _answer(self, request: Request, job: Job) -> Mapping[str, Any]:
        reference = self.jobs.resource(job)["jobReference"]
        done = job.wait(float(request.args.get("timeoutMs", 10_000)) / 1_000)
        answer = {"kind": "bigquery#getQueryResultsResponse", "jobReference": reference, "jobComplete": done}
        if not done:
            return answer
        if job.error is not None:
            raise job.error
        query = job.statistics.get("query", {})
        kept = {key: query[key] for key in ("totalBytesProcessed", "numDmlAffectedRows") if key in query}
        result = job.result
        page = _page(request, result.rows, result.fields)
        return {**answer, **kept, "schema": {"fields": result.fields}, "cacheHit": False, **page}

    def _mine(self, project: str) -> None:
        if project != self.catalogue.project:
            raise ApiError(404, "notFound", f"Not found: Project {project}")


def _page(
    request: Request, rows: Sequence[Sequence[Any]], fields: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """The rows that a request asks for."""
    start = int(request.args.get("pageToken") or request.args.get("startIndex") or 0)
    end = start + min(int(request.args.get("maxResults") or _MOST_ROWS), _MOST_ROWS)
    shown = {"totalRows": str(len(rows)), "rows": values.page(rows[start:end], fields)}
    return {**shown, "pageToken": str(end)} if end < len(rows) else shown
