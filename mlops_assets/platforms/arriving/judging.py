"""What is wrong with an arriving record: the SELECT around a source that names it, for every platform.

The SQL is DuckDB's, which reads the files everywhere; what a warehouse cannot hold is one more condition.
"""

# ruff: noqa: S608 - identifiers are quoted, values are quoted literals

from __future__ import annotations

from collections.abc import Mapping

from mlops_assets.errors import DataError
from mlops_assets.platforms.arriving.source import ArrivalSource
from mlops_assets.platforms.ports import LoadRequest
from mlops_assets.platforms.sql import literal, quote

OURS = {"_object": "string", "_row": "int", "_loaded_at": "timestamp"}
QUARANTINE = {
    "_object": "string", "_line": "int", "reason": "string", "raw": "string", "_loaded_at": "timestamp",
}  # fmt: skip
LEDGER = {
    "_object": "string", "version": "string", "content": "string", "rows_in": "int", "loaded": "int",
    "quarantined": "int", "loaded_at": "timestamp",
}  # fmt: skip
"""Column -> logical type: what a load adds to the rows, and its quarantine and ledger, in order."""

# Never true. A filter on what is volatile stays above its SELECT; else every cast is done twice, for the
# filter and for the rows, which takes 1.7 times as long.
_ONCE = "ELSE CASE WHEN random() > 2 THEN '' END"


def judged(request: LoadRequest, source: ArrivalSource, beyond: Mapping[str, str] | None = None) -> str:
    """The source with `__reason`: the first thing wrong with a record, or NULL.

    Args:
        request: names columns and conditions.
        source: a pass over the object.
        beyond: reason -> condition that a record must meet for the warehouse to hold it.
    """
    cases = ["WHEN __bad IS NOT NULL THEN __bad"]
    for column, logical in request.columns.items():
        if logical != "string":
            failed = f"{quote(column)} IS NULL AND {source.present[column]}"
            cases.append(f"WHEN {failed} THEN {literal(f'{column}: not {_article(logical)}')}")
    for reason, condition in {**request.conditions, **(beyond or {})}.items():
        cases.append(f"WHEN ({condition}) IS NOT TRUE THEN {literal(reason)}")
    return f"SELECT *, CASE {' '.join(cases)} {_ONCE} END AS __reason FROM ({source.sql})"


def check_names(request: LoadRequest) -> None:
    """Refuse declared columns that no relation can hold together.

    Raises:
        DataError: for a name that is reserved, or that differs from another in case alone.
    """
    folded = [column.lower() for column in request.columns]
    ours = [column for column in request.columns if column.lower() in OURS or column.startswith("__")]
    twice = [column for column in request.columns if folded.count(column.lower()) > 1]
    if ours or twice:
        what = "is reserved" if ours else "is declared twice (the warehouse ignores case)"
        raise DataError(
            f"The column {(ours or twice)[0]!r} {what}.",
            where=request.relation,
            mend="Rename it, with its `source`.",
        )


def check_conserved(key: str, rows_in: int, loaded: int, quarantined: int) -> None:
    """Refuse a load in which a record was lost or doubled; the three are counted independently.

    Raises:
        DataError: where `rows_in` is not `loaded + quarantined`.
    """
    if rows_in != loaded + quarantined:
        raise DataError(
            f"{rows_in} records, but {loaded} loaded and {quarantined} quarantined: nothing was changed.",
            where=key,
            mend="Load it again; if it changes while it is read, deliver it under a new key.",
        )


def other_type(relation: str, column: str, present: str, declared: str) -> DataError:
    """The error of a relation whose column cannot hold what is declared now."""
    return DataError(
        f"Column {column!r} is {present} in {relation}, but declared as {declared}.",
        where=relation,
        mend="Drop the relation, its quarantine and its ledger, then load every object again.",
    )


def _article(logical: str) -> str:
    return f"an {logical}" if logical == "int" else f"a {logical}"
