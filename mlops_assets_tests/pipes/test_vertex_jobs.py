"""Ends, labels and machines of Vertex AI's jobs, without a service."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.cloud.aiplatform_v1 import CustomJob
from hypothesis import given
from hypothesis import strategies as st

from mlops_assets.pipes.vertex import _custom_job
from mlops_assets.pipes.vertex_jobs import console_of, end_of, labels_of, machine_of

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("state", "fields", "end"),
    [
        ("SUCCEEDED", {}, ("Completed", "", False)),
        ("FAILED", {"error": {"code": 3, "message": "bad"}}, ("Failed", "bad", False)),
        ("FAILED", {"error": {"code": 13, "message": "oops"}}, ("Failed", "oops", True)),
        ("FAILED", {"error": {"code": 8, "message": "no quota"}}, ("Failed", "no quota", True)),
        ("FAILED", {}, ("Failed", "The service gives no reason.", False)),
        (
            "FAILED",
            {"start_time": None, "error": {"code": 5, "message": "no image"}},
            ("Failed", "It failed before its container started: no image", False),
        ),
        (
            "CANCELLED",
            {"end_time": START + timedelta(seconds=59)},
            ("Stopped", "It was stopped by somebody, or by a cancelled run.", False),
        ),
        ("CANCELLED", {}, ("TimedOut", "It took longer than its timeout of 60 s.", False)),
        ("EXPIRED", {}, ("TimedOut", "It took longer than its timeout of 60 s.", False)),
        (
            "PARTIALLY_SUCCEEDED",
            {"error": {"code": 3, "message": "half"}},
            ("Failed", "The job is in the unknown state 'PARTIALLY_SUCCEEDED'. half", False),
        ),
    ],
)
def test_every_state_has_its_end(state: str, fields: dict[str, Any], end: tuple[str, str, bool]) -> None:
    job = CustomJob(
        {
            "state": f"JOB_STATE_{state}",
            "start_time": START,
            "end_time": START + timedelta(seconds=60),
            "job_spec": {"scheduling": {"timeout": {"seconds": 60}}},
            **fields,
        }
    )
    found = end_of(job)
    assert (found.status, found.reason, found.retryable) == end


def test_a_cancelled_job_without_a_limit_was_stopped() -> None:
    job = CustomJob(state="JOB_STATE_CANCELLED", start_time=START, end_time=START + timedelta(days=1))
    assert end_of(job).status == "Stopped"


@given(key=st.text(min_size=1, max_size=80), value=st.text(max_size=80))
def test_every_label_is_one_that_the_service_takes(key: str, value: str) -> None:
    ((made, text),) = labels_of({f"dagster/{key}": value}).items()
    assert re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", made)
    assert re.fullmatch(r"[a-z0-9_-]{0,63}", text)


def test_containers_and_python_packages_get_the_environment_and_what_was_asked_stays() -> None:
    package = {"python_module": "task", "env": [{"name": "A", "value": "1"}]}
    for kind, program in (("python_package_spec", package), ("container_spec", {"image_uri": "i"})):
        asked = {"display_name": "m", "job_spec": {"worker_pool_specs": [{kind: program}]}}
        before = repr(asked)
        made = _custom_job(asked, {"B": "2"}, {"team": "ml"})
        env = getattr(made.job_spec.worker_pool_specs[0], kind).env
        assert (env[-1].name, env[-1].value) == ("B", "2")
        assert len(env) == len(program.get("env", [])) + 1
        assert dict(made.labels) == {"team": "ml"}
        assert repr(asked) == before


def test_a_machine_is_named_with_what_is_in_it() -> None:
    pool = {"machine_spec": {"machine_type": "n2-standard-8"}, "replica_count": 2}
    assert machine_of(CustomJob(job_spec={"worker_pool_specs": [pool]})) == "2 x n2-standard-8"


def test_a_link_leads_to_the_jobs_page() -> None:
    assert console_of("projects/p/locations/l/customJobs/7") == (
        "https://console.cloud.google.com/vertex-ai/locations/l/training/7?project=p"
    )
