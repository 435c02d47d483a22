"""Jobs of BigQuery: started under a name of our own, found again, waited for, tried again, counted."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from mlops_assets.errors import DataError, JobFailedError
from mlops_assets.platforms.costs import open_account, query, spend
from mlops_assets.platforms.gcp import client as clients
from mlops_assets.platforms.gcp.bigquery_sql import parameter_type
from mlops_assets.platforms.gcp.client import said, speaking

if TYPE_CHECKING:
    from google.api_core.exceptions import GoogleAPICallError
    from google.cloud.bigquery import Client, QueryJob, Table
    from google.cloud.bigquery.table import RowIterator

    from mlops_assets.platforms.gcp.bigquery_settings import BigQuerySettings
    from mlops_assets.platforms.gcp.settings import GcpSettings

_TRIES = 6
# The job changed nothing, and may do better under another name.
_PASSING = ("backendError", "internalError", "jobBackendError", "jobInternalError", "rateLimitExceeded")
_PASSING += ("jobRateLimitExceeded", "tableUnavailable")
_RIVALS = "due to concurrent update"
_WRONG = ("invalidQuery", "notFound", "invalid", "bytesBilledLimitExceeded", "resourcesExceeded", "duplicate")


class BigQuery:
    """One project's BigQuery in one location."""

    def __init__(self, gcp: GcpSettings, settings: BigQuerySettings) -> None:
        self.location, self.settings, self.kms_key = gcp.location, settings, gcp.kms_key
        self._project = gcp.project

    @cached_property
    def client(self) -> Client:
        """Google's client; it is safe to share between threads."""
        from google.cloud import bigquery

        with speaking("BigQuery"):
            return bigquery.Client(project=self._project, location=self.location)

    def run(
        self,
        label: str,
        sql: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        estimate: bool = False,
        limit: int | None = None,
        destination: Table | None = None,
    ) -> RowIterator:
        """Run a statement or a script; its rows.

        Args:
            label: what it is for, such as `build m.t`: a label of its job.
            sql: in BigQuery's words.
            parameters: named; a list is an array of texts.
            estimate: look by a dry run first whether it would read more than is allowed.
            limit: bytes that it may be billed for; the settings' limit holds all the same.
            destination: table that its rows replace.

        Raises:
            DataError: for what is wrong with the statement, or too large.
        """
        from google.cloud.bigquery import EncryptionConfiguration, QueryJobConfig

        config = QueryJobConfig(query_parameters=_parameters(parameters or {}), use_legacy_sql=False)
        limits = [item for item in (limit, self.settings.maximum_bytes_billed) if item is not None]
        if limits:
            config.maximum_bytes_billed = min(limits)
        if estimate:
            self._estimate(label, sql, config)
        config.labels = self._labels(label)
        if destination is not None:
            config.destination, config.write_disposition = destination.reference, "WRITE_TRUNCATE"
            if self.kms_key:
                config.destination_encryption_configuration = EncryptionConfiguration(self.kms_key)

        def start(job_id: str) -> QueryJob:
            return self.client.query(
                sql, config, job_id=job_id, job_retry=None, retry=_retry(), timeout=clients.TIMEOUT[1]
            )

        return self._finished(label, start)

    def load(self, label: str, uri: str, table: Table) -> None:
        """Replace the table's rows by those of the Parquet files that `uri` names."""
        from google.cloud.bigquery import EncryptionConfiguration, LoadJobConfig, ParquetOptions

        # Or a list is a record `list` of records `element`, and empty where the schema says REPEATED.
        options = ParquetOptions()
        options.enable_list_inference = True
        config = LoadJobConfig(
            source_format="PARQUET",
            parquet_options=options,
            schema=table.schema,
            write_disposition="WRITE_TRUNCATE",
            labels=self._labels(label),
        )
        if self.kms_key:
            config.destination_encryption_configuration = EncryptionConfiguration(self.kms_key)

        def start(job_id: str) -> Any:
            return self.client.load_table_from_uri(
                uri, table.reference, job_id=job_id, job_config=config, retry=_retry()
            )

        self._finished(label, start)

    def extract(self, label: str, table: Table, uri: str) -> None:
        """Write the table's rows as Parquet files under `uri`, which holds one `*`, in any order."""
        from google.cloud.bigquery import ExtractJobConfig

        config = ExtractJobConfig(
            destination_format="PARQUET", compression="SNAPPY", labels=self._labels(label)
        )

        def start(job_id: str) -> Any:
            return self.client.extract_table(
                table.reference, uri, job_id=job_id, job_config=config, retry=_retry()
            )

        self._finished(label, start)

    def _finished(self, label: str, start: Callable[[str], Any]) -> Any:
        """Start a job and wait for it; one that failed in passing is made again under another name."""
        from google.api_core.exceptions import GoogleAPICallError

        name = f"mlops_{re.sub(r'[^a-z0-9]+', '_', label.lower())[:80]}_{uuid.uuid4().hex}"
        with speaking(label, JobFailedError):
            for attempt in range(1, _TRIES + 1):
                try:
                    with query():
                        return self._waited(start, f"{name}_{attempt}")
                except GoogleAPICallError as error:
                    reason, message = said(error)
                    passing = reason in _PASSING or _RIVALS in message
                    if not passing or attempt == _TRIES:
                        raise self._explained(error, label) from error
                    time.sleep(clients.FIRST_WAIT * 2**attempt)
        raise AssertionError("the last attempt returns or raises")

    def _waited(self, start: Callable[[str], Any], job_id: str) -> Any:
        from google.api_core.exceptions import Conflict

        try:
            job = start(job_id)
        except Conflict:  # ours: an earlier call started it, and its answer was lost
            job = self.client.get_job(job_id, location=self.location, retry=_retry())
        try:
            result = job.result(timeout=self.settings.timeout, retry=_retry())
        except BaseException as error:
            if not isinstance(error, Exception):  # the run is interrupted
                job.cancel(retry=_retry())
            raise
        # Loading and extracting are not billed.
        billed, slots = (int(getattr(job, name, 0) or 0) for name in ("total_bytes_billed", "slot_millis"))
        spend(bytes_billed=billed, slot_seconds=slots / 1_000)
        return result

    def _estimate(self, label: str, sql: str, config: Any) -> None:
        from google.api_core.exceptions import GoogleAPICallError
        from google.cloud.bigquery import QueryJobConfig

        dry = QueryJobConfig(dry_run=True, use_query_cache=False, use_legacy_sql=False)
        dry.query_parameters = config.query_parameters
        with speaking(label, JobFailedError):
            try:
                job = self.client.query(sql, dry, retry=_retry(), timeout=clients.TIMEOUT[1])
            except GoogleAPICallError as error:
                raise self._explained(error, label) from error
        limit, would = config.maximum_bytes_billed, int(job.total_bytes_processed or 0)
        if limit is not None and would > limit:
            raise DataError(
                f"It would read {would:,} bytes, more than the {limit:,} that one query may be billed for.",
                where=label,
                mend="Read less (partitions, columns), or raise the limit: `-- maximum_bytes_billed` of the "
                "table's file, MLOPS_BIGQUERY_MAXIMUM_BYTES_BILLED of all.",
            )

    def _explained(self, error: GoogleAPICallError, label: str) -> Exception:
        reason, message = said(error)
        if reason in _WRONG or error.code in (400, 404):
            return DataError(
                message or str(error), where=label, mend="Correct the SQL, or the data it reads."
            )
        return error

    def _labels(self, label: str) -> dict[str, str]:
        """The settings' own, what the job is for, and the asset and run that it is counted under."""
        ours, account = {"mlops_assets": label}, open_account()
        if account is not None:
            ours |= {"mlops_asset": account.asset, "mlops_run": account.run}
        return {
            **self.settings.labels,
            **{name: re.sub(r"[^a-z0-9_-]+", "_", text.lower())[:63] for name, text in ours.items()},
        }


def _parameters(values: Mapping[str, Any]) -> Sequence[Any]:
    from google.cloud.bigquery import ArrayQueryParameter, ScalarQueryParameter

    return [
        ArrayQueryParameter(name, "STRING", value)
        if isinstance(value, list)
        else ScalarQueryParameter(name, parameter_type(value), value)
        for name, value in values.items()
    ]


def _retry() -> Any:
    from google.cloud.bigquery.retry import DEFAULT_RETRY

    return DEFAULT_RETRY.with_delay(initial=clients.FIRST_WAIT, maximum=30).with_timeout(clients.PATIENCE)
