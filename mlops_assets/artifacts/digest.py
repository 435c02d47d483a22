"""Digests: SHA-256 of files and of JSON-like values in one canonical form."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

_BLOCK = 1 << 20


def canonical_json(value: Any) -> str:
    """`value` as JSON with sorted keys and no spaces; NaN and infinities are refused.

    Raises:
        ValueError: for a number that JSON cannot hold.
        TypeError: for a type that JSON cannot hold.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)


def digest_of(value: Any) -> str:
    """SHA-256 (64 hexadecimal digits) of a JSON-like value, independent of the order of its keys."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def digest_file(path: Path) -> str:
    """SHA-256 (64 hexadecimal digits) of a file's bytes, read in blocks of 1 MiB."""
    sha = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            sha.update(block)
    return sha.hexdigest()


def digest_folder(folder: Path) -> dict[str, str]:
    """File name relative to `folder` -> SHA-256, of every file below it, in the order of the names."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): digest_file(path) for path in files}


def finite_or_none(value: float | None) -> float | None:
    """`value` where it is a finite number, else None: JSON and the UI hold no NaN."""
    return value if value is not None and math.isfinite(value) else None
