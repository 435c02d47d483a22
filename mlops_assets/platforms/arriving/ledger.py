"""What is read of a ledger, from its rows, the same for every warehouse that is a service."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

from mlops_assets.platforms.ports import LedgerEntry

ENTRY = "_object, version, content, rows_in, loaded, quarantined"
"""The columns of an entry."""


def entries(rows: Iterable[Sequence[Any]]) -> dict[str, LedgerEntry]:
    """Object key -> entry, of rows of `ENTRY`."""
    return {
        str(key): LedgerEntry(str(version), str(content), int(rows_in), int(loaded), int(quarantined))
        for key, version, content, rows_in, loaded, quarantined in rows
    }


def state(pairs: Iterable[Sequence[Any]]) -> str:
    """SHA-256 over every key with its content, given in order of the key."""
    total = hashlib.sha256()
    for pair in pairs:
        for value in pair:
            total.update(hashlib.sha256(str(value).encode()).hexdigest().encode())
    return total.hexdigest()
