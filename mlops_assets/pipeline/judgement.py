"""Judging: an evaluation against declared gates, purely. What is not a finite number never passes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from mlops_assets.artifacts import Evaluation, GateResult, digest_of
from mlops_assets.artifacts.metrics import METRICS
from mlops_assets.declaration.schema import Gate

_SHOWN = 5


@dataclass(frozen=True)
class _Finding:
    """One comparison: whether it held, what was seen and asked, and the sentence about it."""

    passed: bool
    message: str
    value: float | None = None
    threshold: float | None = None


def policy_of(gates: Sequence[Gate]) -> list[dict[str, object]]:
    """The gates as JSON, in the order declared: what a decision is bound to."""
    return [gate.model_dump(mode="json") for gate in gates]


def policy_digest(gates: Sequence[Gate]) -> str:
    """Digest of the gates as declared."""
    return digest_of(policy_of(gates))


def judge(
    gates: Sequence[Gate], evaluation: Evaluation, champion: Evaluation | None
) -> tuple[GateResult, ...]:
    """One result per gate, in the gates' order.

    Args:
        gates: as declared.
        evaluation: of the candidate.
        champion: the champion measured on the same rows; None where there is none to compare with (then
            gates against the champion pass).
    """
    return tuple(_judge(gate, evaluation, champion) for gate in gates)


def _judge(gate: Gate, evaluation: Evaluation, champion: Evaluation | None) -> GateResult:
    findings = list(
        _of_slices(gate, evaluation) if gate.slice is not None else _of_whole(gate, evaluation, champion)
    )
    failed = [finding for finding in findings if not finding.passed]
    telling = next((item for item in [*failed, *findings] if item.value is not None), None)
    return GateResult(
        name=gate.name,
        passed=not failed and bool(findings),
        severity=gate.severity,
        value=telling.value if telling else None,
        threshold=telling.threshold if telling else None,
        message=_joined([item.message for item in failed or findings]),
    )


def _of_whole(gate: Gate, evaluation: Evaluation, champion: Evaluation | None) -> Iterator[_Finding]:
    value = _number(_measured(evaluation, gate.metric))
    if value is None:
        yield _Finding(False, f"{gate.metric} is not a number")
        return
    yield from _bounds(gate, gate.metric, value)
    if gate.baseline is not None:
        yield _against_baseline(gate.metric, value, evaluation.baseline, gate.baseline.better_by)
    if gate.champion is not None:
        yield _against_champion(gate.metric, value, evaluation, champion, gate.champion.tolerance)


def _bounds(gate: Gate, name: str, value: float) -> Iterator[_Finding]:
    if gate.min is not None:
        shown, limit = _pair(value, gate.min)
        held = math.isfinite(gate.min) and value >= gate.min
        text = f"at least {limit}" if held else f"below the least allowed {limit}"
        yield _Finding(held, f"{name} {shown} is {text}", value, gate.min)
    if gate.max is not None:
        shown, limit = _pair(value, gate.max)
        held = math.isfinite(gate.max) and value <= gate.max
        text = f"at most {limit}" if held else f"above the most allowed {limit}"
        yield _Finding(held, f"{name} {shown} is {text}", value, gate.max)


def _against_baseline(
    metric: str, value: float, baselines: Mapping[str, float | None], better_by: float
) -> _Finding:
    """Strictly better, and by the share asked (of a baseline of 0 every share is 0)."""
    baseline = _number(baselines.get(metric))
    if baseline is None or not math.isfinite(better_by):
        return _Finding(False, f"the naive baseline's {metric} is not a number", value)
    threshold = baseline + _direction(metric) * better_by * abs(baseline)
    gain = _direction(metric) * (value - baseline)
    held = gain > 0 and _direction(metric) * (value - threshold) >= 0
    shown, limit = _pair(value, baseline)
    by = f" by at least {100 * better_by:.4g} %" if better_by else ""
    message = f"{metric} {shown} is {'' if held else 'not '}better than the naive baseline's {limit}{by}"
    return _Finding(held, message, value, threshold)


def _against_champion(
    metric: str, value: float, evaluation: Evaluation, champion: Evaluation | None, tolerance: float
) -> _Finding:
    if champion is None:
        return _Finding(True, f"{metric} {_pair(value, value)[0]}: no other champion to compare with", value)
    if champion.data_digest != evaluation.data_digest:
        return _Finding(False, f"the champion's {metric} was measured on other rows", value)
    other = _number(_measured(champion, metric))
    if other is None or not math.isfinite(tolerance):
        return _Finding(False, f"the champion's {metric} is not a number", value)
    threshold = other - _direction(metric) * tolerance * abs(other)
    held = _direction(metric) * (value - threshold) >= 0
    shown, limit = _pair(value, other)
    by = f" by more than {100 * tolerance:.4g} %" if tolerance else ""
    message = f"{metric} {shown} is {'not ' if held else ''}worse than the champion's {limit}{by}"
    return _Finding(held, message, value, threshold)


def _of_slices(gate: Gate, evaluation: Evaluation) -> Iterator[_Finding]:
    wanted = str(gate.slice)
    one = "=" in wanted
    names = [
        name for name in evaluation.slices if name == wanted or (not one and name.startswith(f"{wanted}="))
    ]
    if not names:
        yield _Finding(False, f"the evaluation has no slice {wanted}")
        return
    small = [name for name in names if evaluation.slice_rows.get(name, 0) < gate.min_rows]
    judged = [name for name in names if name not in small]
    if not judged:
        rows = max(evaluation.slice_rows.get(name, 0) for name in names)
        yield _Finding(False, f"{wanted} has {rows} rows, fewer than the {gate.min_rows} it takes to judge")
        return
    for name in judged:
        value = _number(evaluation.slices[name].get(gate.metric))
        if value is None:
            yield _Finding(False, f"{gate.metric} of {name} is not a number")
        else:
            yield from _bounds(gate, f"{gate.metric} of {name}", value)
    if small:
        yield _Finding(True, f"not judged for fewer than {gate.min_rows} rows: {_joined(small, ', ')}")


def _measured(evaluation: Evaluation, metric: str) -> object:
    interval = evaluation.metrics.get(metric)
    return interval.value if interval is not None else None


def _number(value: object) -> float | None:
    """`value` where it is a finite number; a bool is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _direction(metric: str) -> int:
    return 1 if METRICS[metric].greater_is_better else -1


def _pair(value: float, limit: float) -> tuple[str, str]:
    """Both numbers for people; in full where rounding would make different ones look the same."""
    short = _short(value), _short(limit)
    return (repr(value), repr(limit)) if short[0] == short[1] and value != limit else short


def _short(value: float) -> str:
    if 1000 <= abs(value) < 1e15:
        return f"{value:,.2f}".removesuffix(".00")
    return f"{value:.6g}"


def _joined(parts: Sequence[str], separator: str = "; ") -> str:
    more = f"{separator}and {len(parts) - _SHOWN} more" if len(parts) > _SHOWN else ""
    return separator.join(parts[:_SHOWN]) + more
