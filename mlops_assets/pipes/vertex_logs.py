"""A Vertex AI job's lines from Cloud Logging, while it runs: its REST API, which needs no client library."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

URL = "https://logging.googleapis.com"
# Entries may become visible out of order: each look goes back this far, and knows what it has seen.
_OVERLAP = timedelta(seconds=60)
_PAGE = 1_000
_SECONDS = 30
_LOG = logging.getLogger(__name__)


class LogTail:
    """New lines of every replica of a job, at each call.

    Args:
        session: google-auth's AuthorizedSession.
        name: the job's resource name.
        url: of Cloud Logging.
    """

    def __init__(self, session: Any, name: str, url: str = URL) -> None:
        self._session, self._url = session, url.rstrip("/")
        _, self._project, *_, self._job = name.split("/")
        self._seen: dict[str, str] = {}
        self._since = ""
        self._off = False

    def lines(self) -> list[str]:
        """Lines since the last call. Without permission to read them: none, and one warning."""
        from google.auth.exceptions import GoogleAuthError
        from requests.exceptions import RequestException

        if self._off:
            return []
        try:
            return [_line(entry) for entry in self._new()]
        except (RequestException, GoogleAuthError) as error:
            response = getattr(error, "response", None)
            if response is not None and response.status_code in (401, 403):
                self._off = True
                _LOG.warning("the job's log cannot be read: grant roles/logging.viewer to the caller")
            else:
                _LOG.warning("the job's log cannot be read now: %s", type(error).__name__)
            return []

    def _new(self) -> list[dict[str, Any]]:
        """Entries that no look has seen, oldest first."""
        found, token = [], ""
        while True:
            page = self._page(token)
            found += [entry for entry in page.get("entries", []) if entry["insertId"] not in self._seen]
            token = page.get("nextPageToken", "")
            if not token:
                break
        for entry in found:
            self._seen[entry["insertId"]] = entry["timestamp"]
        if found:
            latest = datetime.fromisoformat(max(entry["timestamp"] for entry in found)[:26].rstrip("Z"))
            self._since = (latest.replace(tzinfo=UTC) - _OVERLAP).isoformat(timespec="microseconds")[
                :26
            ] + "Z"
            self._seen = {key: when for key, when in self._seen.items() if when >= self._since}
        return found

    def _page(self, token: str) -> dict[str, Any]:
        wanted = ['resource.type="ml_job"', f'resource.labels.job_id="{self._job}"']
        if self._since:
            wanted.append(f'timestamp>="{self._since}"')
        asked = {
            "resourceNames": [f"projects/{self._project}"],
            "filter": " AND ".join(wanted),
            "orderBy": "timestamp asc",
            "pageSize": _PAGE,
            **({"pageToken": token} if token else {}),
        }
        response = self._session.post(f"{self._url}/v2/entries:list", json=asked, timeout=_SECONDS)
        response.raise_for_status()
        return response.json()


def _line(entry: dict[str, Any]) -> str:
    payload = entry.get("jsonPayload") or {}
    return str(entry.get("textPayload") or payload.get("message") or payload)
