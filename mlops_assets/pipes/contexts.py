"""Which execution contexts have a run that Pipes can report to, and what makes two of them the same work."""

from __future__ import annotations

from typing import Any

import dagster as dg


def running_context(context: Any) -> dg.OpExecutionContext | None:
    """The op's context inside `context`; None outside of a run, or where a test built it directly."""
    inner = getattr(context, "op_execution_context", context)
    if not isinstance(inner, dg.OpExecutionContext) or not hasattr(inner, "get_step_execution_context"):
        return None
    return inner if getattr(inner, "dagster_run", None) is not None else None


def step_of(context: dg.OpExecutionContext | dg.AssetExecutionContext) -> str:
    """The step's key."""
    return context.get_step_execution_context().step.key


def identity_of(context: dg.OpExecutionContext | dg.AssetExecutionContext) -> str:
    """Root run, step and partition: the same for a retry or a re-execution of the same work."""
    run = context.run
    root = run.tags.get("dagster/root_run_id") or run.run_id
    return "|".join([root, step_of(context), context.partition_key if context.has_partition_key else ""])
