"""Filters: parsed as AIP-160 says, refused where they are none."""

from __future__ import annotations

import pytest

from mlops_assets_tests.standins.gcp.vertex_errors import RpcError
from mlops_assets_tests.standins.gcp.vertex_filters import parsed

JOB = {
    "display_name": "train (1)",
    "state": "JOB_STATE_RUNNING",
    "labels": {"team": "ml", "a.b": "dotted"},
    "create_time": "2026-01-02T00:00:00Z",
    "rows": 12,
}


@pytest.mark.parametrize(
    ("text", "passes"),
    [
        ("", True),
        ('labels.team="ml"', True),
        ('labels.team = "other"', False),
        ('labels.a.b="dotted"', True),
        ("labels.team:*", True),
        ("labels.none:*", False),
        ("labels:team", True),
        ('display_name="train (1)"', True),
        ('display_name="train*"', True),
        ("display_name='rain*'", False),
        ('state="JOB_STATE_RUNNING" AND labels.team="ml"', True),
        ('state="JOB_STATE_RUNNING" labels.team="no"', False),
        ('state="A" OR state="JOB_STATE_RUNNING" AND labels.team="no"', False),
        ('(state="JOB_STATE_RUNNING" AND labels.team="ml") OR state="A"', True),
        ('NOT labels.team="ml"', False),
        ('NOT (labels.team="no")', True),
        ('labels.team!="no"', True),
        ('create_time>="2026-01-01T00:00:00Z"', True),
        ('create_time<"2026-01-01T00:00:00Z"', False),
        ("rows>9", True),
        ("rows<=9", False),
        (r'display_name="a\"b"', False),
    ],
)
def test_a_filter_passes_what_it_says(text: str, passes: bool) -> None:
    assert parsed(text)(JOB) is passes


@pytest.mark.parametrize(
    "text", ["labels.team", "=", 'a="b', "(a=1", "a=1)", "AND", "a=1 AND", "__import__('os').system('id')"]
)
def test_what_is_no_filter_is_refused(text: str) -> None:
    with pytest.raises(RpcError, match="Invalid filter"):
        parsed(text)
