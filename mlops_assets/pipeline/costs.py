"""What an asset's queries cost, as metadata of its materialisation: the one place that says so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mlops_assets.platforms.costs import counting
from mlops_assets.platforms.ports import Platform


@contextmanager
def counted(context: Any, platform: Platform, model: str, stage: str) -> Iterator[dict[str, float]]:
    """Metadata `warehouse/<figure>` of what is asked inside, there once the work is done.

    Empty where the warehouse was not asked. Costs that cannot be told are a warning: the work is done.

    Args:
        context: execution context, for the run's id and the log.
        stage: asset or check of the model.
    """
    metadata: dict[str, float] = {}
    with counting(f"{model}/{stage}", context.op_execution_context.run_id) as account:
        yield metadata
    if not account.figures:
        return  # nor is a warehouse connected that the stage has no use for
    try:
        told = platform.warehouse.costs(account)
    except Exception as error:
        context.log.warning(f"{stage}: what its queries cost is not told: {error}")
        return
    metadata.update({f"warehouse/{name}": _shown(value) for name, value in told.items()})


def _shown(value: float) -> float:
    return round(value, 3) if isinstance(value, float) else value
