"""A container's lines on their way to CloudWatch Logs, in small batches as the agent sends them."""

from __future__ import annotations

import contextlib
import time
from threading import Event, Lock, Thread
from typing import Any

_INTERVAL = 0.2
_BATCH = 1_000
_LONGEST = 262_000  # characters that one event may have


class LogStream:
    """Call it with a line; `close` sends what is left."""

    def __init__(self, logs: Any, group: str, stream: str) -> None:
        self._logs = logs
        self._where = {"logGroupName": group, "logStreamName": stream}
        self._lines: list[dict[str, Any]] = []
        self._lock, self._closed = Lock(), Event()
        with contextlib.suppress(logs.exceptions.ResourceAlreadyExistsException):
            logs.create_log_group(logGroupName=group)
        with contextlib.suppress(logs.exceptions.ResourceAlreadyExistsException):
            logs.create_log_stream(**self._where)
        self._sender = Thread(target=self._send_until_closed, daemon=True)
        self._sender.start()

    def __call__(self, line: str) -> None:
        with self._lock:
            self._lines.append({"timestamp": int(time.time() * 1000), "message": line[:_LONGEST] or " "})

    def close(self) -> None:
        """Send the rest."""
        self._closed.set()
        self._sender.join()
        self._send()

    def _send_until_closed(self) -> None:
        while not self._closed.wait(_INTERVAL):
            self._send()

    def _send(self) -> None:
        with self._lock:
            lines, self._lines = self._lines, []
        for start in range(0, len(lines), _BATCH):
            self._logs.put_log_events(**self._where, logEvents=lines[start : start + _BATCH])
