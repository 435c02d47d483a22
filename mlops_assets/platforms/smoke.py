"""The smoke test of a new server: the same answers as offline, to the last digits, on sample rows."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mlops_assets.artifacts import ArtifactUri
from mlops_assets.errors import ArtifactError, DeploymentError
from mlops_assets.platforms.ports import ObjectStore

TOLERANCE = 1e-9
_ROWS = 100  # of one request


def read_rows(store: ObjectStore, uri: ArtifactUri) -> list[Any]:
    """The samples, or the offline answers for them, that an evaluation left.

    Raises:
        ArtifactError: where there is no JSON list of rows.
    """
    mend = "Evaluate the candidate again."
    try:
        rows = json.loads(store.read(uri))
    except ValueError:
        raise ArtifactError("It is not JSON.", where=str(uri), mend=mend) from None
    if not isinstance(rows, list) or not rows:
        raise ArtifactError("It holds no rows.", where=str(uri), mend=mend)
    return rows


def smoke_test(
    invoke: Callable[[Sequence[Any]], Sequence[Mapping[str, Any]]],
    samples: Sequence[Any],
    expected: Sequence[Any],
) -> float:
    """Ask for the samples, compare the answers; returns milliseconds per request, the mean.

    Args:
        invoke: asks a server for the predictions of some rows.
        samples: rows as records.
        expected: as in `compare`.

    Raises:
        DeploymentError: where an answer is wrong or does not come.
    """
    answers: list[Mapping[str, Any]] = []
    started, requests = time.perf_counter(), 0
    for start in range(0, len(samples), _ROWS):
        answers += invoke(samples[start : start + _ROWS])
        requests += 1
    took = time.perf_counter() - started
    compare(answers, expected)
    return round(took / max(requests, 1) * 1000, 2)


def request_body(rows: Sequence[Any]) -> str:
    """What every model server reads: JSON, to be answered by JSON lines."""
    return json.dumps({"instances": list(rows)}, allow_nan=False)


def answered_rows(body: bytes) -> list[dict[str, Any]]:
    """What it answers: one record a line."""
    return [json.loads(line) for line in body.splitlines()]


def compare(answers: Sequence[Mapping[str, Any]], expected: Sequence[Any]) -> None:
    """Return where a server answered as expected.

    Args:
        answers: one record per sample row, as the server gave them.
        expected: the offline predictions: records, or bare values of `prediction`. Numbers may differ by a
            relative 1e-9 (the same model on another build of a numerical library), anything else not at all.

    Raises:
        DeploymentError: naming the first row and column that differ.
    """
    if len(answers) != len(expected):
        raise DeploymentError(
            f"It answered {len(answers)} rows for {len(expected)} samples.", where="smoke test"
        )
    for number, (answer, wanted) in enumerate(zip(answers, expected, strict=True), start=1):
        for column, value in (wanted if isinstance(wanted, Mapping) else {"prediction": wanted}).items():
            if column not in answer or not _equal(answer[column], value):
                raise DeploymentError(
                    f"It answers {answer.get(column)!r} where the model gave {value!r} offline.",
                    where=f"smoke test, sample {number}, {column}",
                    mend="Compare the library versions of server and training (model.json lists them).",
                )


def _equal(answer: Any, wanted: Any) -> bool:
    if _is_number(answer) and _is_number(wanted):
        return math.isclose(answer, wanted, rel_tol=TOLERANCE, abs_tol=1e-12)
    if wanted is not None and _is_number(wanted) and not math.isfinite(wanted):
        return answer is None
    return type(answer) is type(wanted) and answer == wanted


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
