"""As much of Cloud Logging as reading a job's log needs: `entries:list` with filter, order and pages."""

from __future__ import annotations

import json
from collections.abc import Mapping
from threading import Lock
from typing import Any

from mlops_assets_tests.standins.gcp.vertex_errors import RpcError
from mlops_assets_tests.standins.gcp.vertex_filters import parsed
from mlops_assets_tests.standins.gcp.vertex_resources import now

PATH = "/v2/entries:list"
_PAGE = 50
_MOST = 1_000


class Logs:
    """Every line of every job."""

    def __init__(self) -> None:
        self._entries: list[dict[str, Any]] = []
        self._lock = Lock()

    def write(self, project: str, labels: Mapping[str, str], line: str, kind: str = "ml_job") -> None:
        """Keep a line that a replica of a job, or of a resource of another kind, printed."""
        with self._lock:
            self._entries.append(
                {
                    "logName": f"projects/{project}/logs/{labels['task_name']}",
                    "resource": {"type": kind, "labels": {"project_id": project, **labels}},
                    "timestamp": now().isoformat(timespec="microseconds").replace("+00:00", "Z"),
                    "severity": "INFO",
                    "insertId": f"{len(self._entries):016x}",
                    "jsonPayload": {"message": line},
                }
            )

    def list(self, body: bytes) -> bytes:
        """entries.list: the entries of some projects that pass a filter.

        Raises:
            RpcError: INVALID_ARGUMENT.
        """
        asked = json.loads(body or b"{}")
        projects = asked.get("resourceNames") or []
        if not projects:
            raise RpcError("INVALID_ARGUMENT", "resource_names must be set.")
        matches = parsed(asked.get("filter", ""))
        with self._lock:
            entries = list(self._entries)
        found = [
            entry for entry in entries if entry["logName"].startswith(tuple(projects)) and matches(entry)
        ]
        if asked.get("orderBy", "").endswith(" desc"):
            found.reverse()
        start, size = int(asked.get("pageToken") or 0), min(asked.get("pageSize") or _PAGE, _MOST)
        page: dict[str, Any] = {"entries": found[start : start + size]}
        if start + size < len(found):
            page["nextPageToken"] = str(start + size)
        return json.dumps(page).encode()
