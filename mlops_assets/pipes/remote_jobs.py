"""What every service's jobs have in common, without Dagster: how they end, and what makes them the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

JobStatus = Literal["Completed", "Failed", "Stopped", "TimedOut"]


@dataclass(frozen=True)
class JobEnd:
    """How a job ended.

    Attributes:
        status: `Completed`, `Failed`, `Stopped` (by somebody), `TimedOut` (its own limit).
        reason: in words; empty where it completed.
        retryable: whether the same request may succeed without a change: the service's own fault.
    """

    status: JobStatus
    reason: str = ""
    retryable: bool = False


def request_digest(request: Mapping[str, Any], identity: str) -> str:
    """SHA-256, hexadecimal, of what a service is asked and of what else makes it the same work."""
    text = json.dumps([request, identity], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
