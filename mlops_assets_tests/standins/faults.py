"""Calls that fail on demand, and the count of all calls: what every stand-in's middleware is made of."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from threading import Lock
from typing import Any

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


@dataclass
class Fault:
    """Calls that fail.

    Attributes:
        call: regular expression over the call's name, as in `s3:PUT`, `sagemaker:DescribeTrainingJob`,
            `storage.objects.insert`.
        status: HTTP status of the answer; 0 drops the connection instead.
        code: the service's error code.
        times: how many calls fail.
        path: regular expression over the request's path.
        afterwards: the call takes effect and only its answer is lost.
    """

    call: str
    status: int
    code: str
    times: int = 1
    path: str = ""
    afterwards: bool = False


class FaultPlan:
    """What is to fail, shared by the threads that serve."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self._lock = Lock()
        self._faults: list[Fault] = []

    def add(self, fault: Fault) -> None:
        """Make coming calls fail."""
        with self._lock:
            self._faults.append(fault)

    def clear(self) -> None:
        """No call fails any more."""
        with self._lock:
            self._faults.clear()

    def next(self, call: str, path: str) -> Fault | None:
        """Count a call, and say how it fails."""
        with self._lock:
            self.calls[call] += 1
            for fault in self._faults:
                if fault.times > 0 and re.fullmatch(fault.call, call) and re.search(fault.path, path):
                    fault.times -= 1
                    return fault
        return None
