"""Names, limits and ends of SageMaker jobs, without a service."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_assets.errors import JobFailedError
from mlops_assets.pipes.sagemaker_jobs import end_of, job_names
from mlops_assets.pipes.sagemaker_limits import PROCESSING, TRAINING, JobKind, check_limits, tags_of


@given(base=st.text(max_size=200), identity=st.text(max_size=20))
def test_every_name_is_one_that_the_service_takes(base: str, identity: str) -> None:
    names = list(job_names(base, {"a": 1}, identity))
    assert len(set(names)) == len(names) == 99
    assert all(len(name) <= 63 and re.fullmatch(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}", name) for name in names)


def test_a_name_follows_from_request_and_identity_alone() -> None:
    first = next(job_names("train homes", {"a": 1, "b": {"c": 2}}, "run"))
    assert first == next(job_names("train homes", {"b": {"c": 2}, "a": 1}, "run"))
    assert first.startswith("train-homes-")
    others = [
        next(job_names("train homes", {"a": 2, "b": {"c": 2}}, "run")),
        next(job_names("train homes", {"a": 1, "b": {"c": 2}}, "other run")),
        *islice(job_names("train homes", {"a": 1, "b": {"c": 2}}, "run"), 1, 3),
    ]
    assert len({first, *others}) == 5


@pytest.mark.parametrize(
    ("kind", "request_", "says"),
    [
        (TRAINING, {"Environment": {"NAME": "x" * 513}}, "environment variable NAME: 513 (at most 512)"),
        (PROCESSING, {"Environment": {"NAME": "x" * 257}}, "environment variable NAME: 257 (at most 256)"),
        (TRAINING, {"Environment": {f"N{n}": "" for n in range(101)}}, "environment entries: 101"),
        (TRAINING, {"HyperParameters": {"p": "x" * 2_501}}, "hyperparameter p: 2,501 (at most 2,500)"),
        (TRAINING, {"InputDataConfig": [{}] * 21}, "InputDataConfig: 21"),
        (PROCESSING, {"ProcessingInputs": [{}] * 11}, "ProcessingInputs: 11"),
        (PROCESSING, {"StoppingCondition": {"MaxRuntimeInSeconds": 432_001}}, "432,001 (at most 432,000)"),
        (TRAINING, {"Tags": [{}] * 51}, "tags: 51"),
    ],
)
def test_what_is_over_a_limit_is_named(kind: JobKind, request_: dict[str, Any], says: str) -> None:
    with pytest.raises(JobFailedError, match=re.escape(says)):
        check_limits(kind, {kind.name: "job", **request_})


def test_what_is_at_a_limit_passes() -> None:
    environment = {f"N{number}": "x" * 512 for number in range(100)}
    check_limits(TRAINING, {"TrainingJobName": "x" * 63, "Environment": environment})


START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("kind", "description", "end"),
    [
        (TRAINING, {"TrainingJobStatus": "Completed"}, ("Completed", "", False)),
        (
            TRAINING,
            {"TrainingJobStatus": "Failed", "FailureReason": "AlgorithmError: no column x, exit code: 3"},
            ("Failed", "no column x", False),
        ),
        (
            TRAINING,
            {"TrainingJobStatus": "Failed", "FailureReason": "InternalServerError: We encountered an error"},
            ("Failed", "InternalServerError: We encountered an error", True),
        ),
        (
            TRAINING,
            {"TrainingJobStatus": "Failed", "FailureReason": "CapacityError: Unable to provision"},
            ("Failed", "CapacityError: Unable to provision", True),
        ),
        (
            TRAINING,
            {"TrainingJobStatus": "Failed", "FailureReason": "ClientError: Data download failed"},
            ("Failed", "ClientError: Data download failed", False),
        ),
        (TRAINING, {"TrainingJobStatus": "Failed"}, ("Failed", "The service gives no reason.", True)),
        (
            PROCESSING,
            {
                "ProcessingJobStatus": "Failed",
                "FailureReason": "AlgorithmError: See job logs, exit code: 1",
                "ExitMessage": "no rows",
            },
            ("Failed", "no rows", False),
        ),
        (
            TRAINING,
            {"TrainingJobStatus": "Stopped", "SecondaryStatus": "Stopped"},
            ("Stopped", "It was stopped by somebody, or by a cancelled run.", False),
        ),
        (
            TRAINING,
            {
                "TrainingJobStatus": "Stopped",
                "SecondaryStatus": "MaxRuntimeExceeded",
                "StoppingCondition": {"MaxRuntimeInSeconds": 60},
            },
            ("TimedOut", "It took longer than its timeout of 60 s.", False),
        ),
        (
            TRAINING,
            {"TrainingJobStatus": "Stopped", "SecondaryStatus": "MaxWaitTimeExceeded"},
            ("TimedOut", "It waited for spot instances longer than it may.", True),
        ),
        (
            PROCESSING,
            {
                "ProcessingJobStatus": "Stopped",
                "StoppingCondition": {"MaxRuntimeInSeconds": 60},
                "ProcessingStartTime": START,
                "ProcessingEndTime": START + timedelta(seconds=61),
            },
            ("TimedOut", "It took longer than its timeout of 60 s.", False),
        ),
        (
            PROCESSING,
            {
                "ProcessingJobStatus": "Stopped",
                "StoppingCondition": {"MaxRuntimeInSeconds": 60},
                "ProcessingStartTime": START,
                "ProcessingEndTime": START + timedelta(seconds=30),
            },
            ("Stopped", "It was stopped by somebody, or by a cancelled run.", False),
        ),
        (
            TRAINING,
            {"TrainingJobStatus": "Deleting"},
            ("Failed", "The job is in the unknown status 'Deleting'.", False),
        ),
    ],
)
def test_every_end_has_its_name(
    kind: JobKind, description: dict[str, Any], end: tuple[str, str, bool]
) -> None:
    found = end_of(kind, description)
    assert (found.status, found.reason, found.retryable) == end


def test_tags_hold_what_the_service_allows() -> None:
    (tag,) = tags_of({"run": "a<b>;" + "x" * 300})
    assert tag["Value"].startswith("a_b__xxx")
    assert len(tag["Value"]) == 256
