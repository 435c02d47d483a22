"""Skipping what is unchanged, and saying why.

Dagster executes a step again even where its code and data versions are the same. Here a step's key is its
code, its configuration, its inputs' versions and the packages it computes with; what a key produced is
remembered in the object store below `memo/<model>/<stage>/`, and used again while it still exists.
"""

from __future__ import annotations

import ast
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Generic, TypeVar

import dagster as dg
from pydantic import ValidationError

from mlops_assets.artifacts import ArtifactUri, Value, digest_of
from mlops_assets.artifacts.digest import canonical_json
from mlops_assets.errors import ArtifactError
from mlops_assets.pipeline.costs import counted
from mlops_assets.pipeline.names import Names
from mlops_assets.platforms.ports import Platform

V = TypeVar("V", bound=Value)


@dataclass(frozen=True)
class Step:
    """What a step's result depends on.

    Attributes:
        code: modules whose code (comments, docstrings and formatting aside) makes the result.
        configuration: JSON-like part of the declaration that the step reads.
        inputs: name -> version of what it reads.
        packages: distributions whose version can change the result; Python's own minor version is added.
    """

    model: str
    stage: str
    code: tuple[str, ...]
    configuration: Mapping[str, Any]
    inputs: Mapping[str, str] = field(default_factory=dict)
    packages: tuple[str, ...] = ()

    def parts(self) -> dict[str, Any]:
        """The key's four parts, JSON-like, for comparing and for people."""
        return {
            "code": code_digest(self.code),
            "configuration": dict(self.configuration),
            "inputs": dict(self.inputs),
            "environment": {name: _version(name) for name in self.packages}
            | {"python": f"{sys.version_info.major}.{sys.version_info.minor}"},
        }


@dataclass(frozen=True)
class Made(Generic[V]):
    """What a step's work made, and metadata about the making (a job's seconds, its page)."""

    value: V
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome(Generic[V]):
    """A step's value, whether it was skipped, and the metadata that says why."""

    value: V
    skipped: bool
    metadata: dict[str, Any]


def once(
    context: Any,
    platform: Platform,
    step: Step,
    returns: type[V],
    *,
    work: Callable[[str], Made[V]],
    exists: Callable[[V], bool],
    mutable: bool = False,
) -> Outcome[V]:
    """The value of `step`: remembered where its key is known and `exists(value)`, else made by `work(key)`.

    Args:
        context: execution context, for the log.
        work: makes the value; gets the step's key, 64 hexadecimal digits.
        exists: whether what the value names is still there.
        mutable: the value names something that later runs replace in place (a table), so only the latest
            record counts, and none while a replacement is under way.
    """
    parts = step.parts()
    key = digest_of(parts)
    folder = Names(step.model).memo(platform.store.root, step.stage)
    latest = _read(platform, folder.join("latest.json"))
    value, reason = _remembered(platform, folder, key, latest, returns, mutable=mutable)
    if value is not None and platform.settings.force:
        value, reason = None, "forced"
    if value is not None and not exists(value):
        value, reason = None, "its result is no longer there"
    if value is not None:
        reason = f"unchanged since run {_short(_read(platform, folder.join(f'{key}.json')).get('run_id'))}"
        context.log.info(f"{step.stage}: skipped, {reason}")
        return Outcome(value, True, _metadata(True, reason, key, 0.0))
    reason = reason or _difference(latest.get("parts"), parts)
    context.log.info(f"{step.stage}: running, {reason}")
    if mutable:
        _write(platform, folder.join("latest.json"), {"key": None, "parts": parts})
    started = time.monotonic()
    with counted(context, platform, step.model, step.stage) as costs:
        made = work(key)
    run_id = context.run.run_id
    record = {"key": key, "parts": parts, "value": made.value.model_dump(mode="json"), "run_id": run_id}
    _write(platform, folder.join(f"{key}.json"), record)
    _write(platform, folder.join("latest.json"), {"key": key, "parts": parts})
    seconds = time.monotonic() - started
    return Outcome(made.value, False, {**made.metadata, **costs, **_metadata(False, reason, key, seconds)})


def remembered(platform: Platform, model: str, stage: str, returns: type[V]) -> Iterator[V]:
    """Every value that a stage's records hold, newest first."""
    store = platform.store
    records = sorted(
        store.list(Names(model).memo(store.root, stage)), key=lambda item: item.modified, reverse=True
    )
    for record in records:
        try:
            yield returns.model_validate(_read(platform, record.uri).get("value"))
        except ValidationError:
            continue  # latest.json, and records of another version of this package


def remember_copy(platform: Platform, model: str, stage: str, value: Value, digest: str) -> None:
    """Let `remembered` find a value that another platform's run made; no step here skips because of it."""
    uri = Names(model).memo(platform.store.root, stage).join(f"copied-{digest[:16]}.json")
    _write(platform, uri, {"value": value.model_dump(mode="json")})


def _remembered(
    platform: Platform,
    folder: ArtifactUri,
    key: str,
    latest: Mapping[str, Any],
    returns: type[V],
    *,
    mutable: bool,
) -> tuple[V | None, str]:
    """The value recorded for `key`, or None with the reason where the reason is not a difference of parts."""
    if mutable and latest.get("key") != key:
        return None, "" if latest.get("key") or not latest else "the last attempt did not finish"
    record = _read(platform, folder.join(f"{key}.json"))
    if not record:
        return None, ""
    try:
        return returns.model_validate(record["value"]), ""
    except (ValidationError, KeyError):
        return None, "its record was written by another version of mlops_assets"


def _metadata(skipped: bool, reason: str, key: str, seconds: float) -> dict[str, Any]:
    return {
        "mlops/skipped": skipped,
        "mlops/reason": dg.MetadataValue.text(reason),
        "mlops/key": dg.MetadataValue.text(key[:16]),
        "mlops/seconds": round(seconds, 3),
    }


def _short(run_id: object) -> str:
    return str(run_id)[:8] if run_id else "(outside a run)"


def _read(platform: Platform, uri: ArtifactUri) -> dict[str, Any]:
    """A record, or {} where there is none or it cannot be read: a step that runs again heals it."""
    import json

    try:
        loaded = json.loads(platform.store.read(uri))
    except (ArtifactError, ValueError):
        return {}
    return loaded if isinstance(loaded, dict) else {}


def _write(platform: Platform, uri: ArtifactUri, record: Mapping[str, Any]) -> None:
    platform.store.write(uri, canonical_json(record).encode())


def _difference(before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> str:
    """What changed, in words: `configuration.parameters.max_depth 8 → 10`."""
    if not before:
        return "first run"
    changes = list(_changes(before, after, ""))
    more = f" and {len(changes) - 3} more" if len(changes) > 3 else ""
    return "changed: " + "; ".join(changes[:3]) + more if changes else "its record is gone"


def _changes(before: Any, after: Any, path: str) -> Iterator[str]:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for name in sorted(before.keys() | after.keys()):
            yield from _changes(before.get(name), after.get(name), f"{path}.{name}" if path else str(name))
    elif before != after:
        yield f"{path} {_brief(before)} → {_brief(after)}"


def _brief(value: Any) -> str:
    if value is None:
        return "(none)"
    text = value if isinstance(value, str) else canonical_json(value)
    is_digest = len(text) >= 32 and all(letter in "0123456789abcdef" for letter in text)
    return text[:12] if is_digest else text if len(text) <= 40 else f"{text[:37]}…"


@lru_cache(maxsize=64)
def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


@lru_cache(maxsize=64)
def code_digest(modules: tuple[str, ...]) -> str:
    """Digest of the modules' syntax trees without docstrings: comments and formatting change nothing."""
    trees: dict[str, str] = {}
    for name in modules:
        spec = find_spec(name)
        if spec is None or spec.origin is None:
            raise ArtifactError(f"There is no module {name}.", mend="Name an importable module in Step.code.")
        trees[name] = source_digest(Path(spec.origin).read_text(encoding="utf-8"))
    return digest_of(trees)


def source_digest(source: str) -> str:
    """Digest of one source text's syntax tree without docstrings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            constant = body[0].value
            if isinstance(constant, ast.Constant) and isinstance(constant.value, str):
                node.body = body[1:]  # type: ignore[attr-defined]
    return digest_of(ast.dump(tree))
