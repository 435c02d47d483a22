"""A SageMaker job's lines from CloudWatch Logs, while it runs."""

from __future__ import annotations

import logging
from typing import Any

_LOG = logging.getLogger(__name__)


class LogTail:
    """New lines of every container of a job, at each call.

    Args:
        logs: boto3's client of CloudWatch Logs.
        group: log group of the kind of job.
        job: its name; its streams are called `<job>/<host>-<number>`.
    """

    def __init__(self, logs: Any, group: str, job: str) -> None:
        self._logs, self._group, self._job = logs, group, job
        self._tokens: dict[str, str | None] = {}
        self._off = False

    def lines(self) -> list[str]:
        """Lines since the last call. Without permission to read them: none, and one warning."""
        from botocore.exceptions import BotoCoreError, ClientError

        if self._off:
            return []
        try:
            return [line for stream in self._streams() for line in self._new(stream)]
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code == "AccessDeniedException":
                self._off = True
                _LOG.warning("the job's log cannot be read: allow logs:GetLogEvents on %s", self._group)
            elif code != "ResourceNotFoundException":  # no container has started yet
                _LOG.warning("the job's log cannot be read now: %s", code)
        except BotoCoreError as error:
            _LOG.warning("the job's log cannot be read now: %s", error)
        return []

    def _streams(self) -> list[str]:
        found = self._logs.describe_log_streams(logGroupName=self._group, logStreamNamePrefix=f"{self._job}/")
        for stream in found["logStreams"]:
            self._tokens.setdefault(stream["logStreamName"], None)
        return sorted(self._tokens)

    def _new(self, stream: str) -> list[str]:
        lines: list[str] = []
        while True:
            token = self._tokens[stream]
            page = self._logs.get_log_events(
                logGroupName=self._group,
                logStreamName=stream,
                startFromHead=True,
                **({"nextToken": token} if token else {}),
            )
            lines += [event["message"] for event in page["events"]]
            self._tokens[stream] = page["nextForwardToken"]
            # The service repeats the token where nothing follows.
            if not page["events"] or page["nextForwardToken"] == token:
                return lines
