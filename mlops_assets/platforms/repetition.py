"""A job that was forced to run again: what it made, against what the same request published before."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mlops_assets.platforms.ports import JobRequest


def repeated(
    request: JobRequest,
    before: Mapping[str, str] | None,
    again: Mapping[str, str],
    warn: Callable[[str], object],
) -> dict[str, Any]:
    """Metadata of a forced job: `forced`, and where there was an output before `reproduced`.

    A request names everything its output depends on, so the same bytes are expected. Where others came out,
    `differing_files` names them, and a warning says so: the first ones stay published, and stay what was
    judged.

    Args:
        request: the job's.
        before: file name -> SHA-256 as published before; None where nothing was.
        again: file name -> SHA-256 of what the job made now.
        warn: gets the warning.
    """
    if before is None:
        return {"forced": True}
    differing = sorted(name for name in before.keys() | again.keys() if before.get(name) != again.get(name))
    if differing:
        warn(
            f"{request.program} {request.name}: run again, the same request made other bytes "
            f"({', '.join(differing)}). What was published first stays. "
            "Mend: seed what draws at random, or train with one thread."
        )
    said = {"forced": True, "reproduced": not differing}
    return {**said, "differing_files": differing} if differing else said
