"""Rows in quarantine: how many for which reason, the first of them, and all of them as a file."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_assets.errors import StorageError
from mlops_assets.pipeline.names import Names
from mlops_assets.pipeline.sql import column, count, relation, text
from mlops_assets.platforms.ports import Warehouse

if TYPE_CHECKING:
    from sqlglot import exp

# Column of the quarantine -> what a reader calls it.
COLUMNS = {"_object": "object", "_line": "line", "reason": "reason", "raw": "raw"}


class Quarantine:
    """The rejected rows of one model's arrivals, of every object or of one.

    Args:
        warehouse: that holds them.
        names: the model's.
        key: only rows of the object with this key.
    """

    def __init__(self, warehouse: Warehouse, names: Names, key: str | None = None) -> None:
        self._warehouse, self._names, self._key = warehouse, names, key

    def reasons(self) -> list[dict[str, Any]]:
        """`reason`, `rows` and `objects` (how many they came with), most rows first."""
        from sqlglot import exp

        objects = exp.Count(this=exp.Distinct(expressions=[column("_object")]))
        select = exp.select(column("reason"), count().as_("rows", quoted=True), objects.as_("objects"))
        ordered = self._where(select).group_by(column("reason")).order_by(exp.Ordered(this="2", desc=True), 1)
        return self._query(ordered)

    def rows(self, limit: int) -> list[dict[str, Any]]:
        """The first `limit` rows by object and line: `object`, `line`, `reason`, `raw` (as it arrived)."""
        return self._query(self._selected().limit(limit))

    def write(self, path: Path, limit: int | None = None) -> int:
        """Write the rows as CSV with a header, in bounded memory; returns how many.

        Raises:
            StorageError: where the file cannot be written; one that was there is left as it was.
        """
        aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            with aside.open("w", encoding="utf-8", newline="") as file:
                written = self._write(csv.writer(file, lineterminator="\n"), limit)
            aside.replace(path)
        except OSError as error:
            raise StorageError(
                f"It cannot be written: {error.strerror}.", where=str(path), mend="Name another file."
            ) from error
        finally:
            aside.unlink(missing_ok=True)
        return written

    def _write(self, writer: Any, limit: int | None) -> int:
        writer.writerow(COLUMNS.values())
        if not self._exists():
            return 0
        select = self._selected() if limit is None else self._selected().limit(limit)
        # A stream takes no parameters: the key is written as a literal, quoted by sqlglot.
        literal = select.transform(lambda node: _literal(node, self._key))
        written = 0
        for batch in self._warehouse.read(text(literal)):
            writer.writerows(zip(*(item.to_pylist() for item in batch.columns), strict=True))
            written += batch.num_rows
        return written

    def _selected(self) -> exp.Select:
        from sqlglot import exp

        columns = [column(name).as_(shown, quoted=True) for name, shown in COLUMNS.items()]
        return self._where(exp.select(*columns)).order_by(*(column(name) for name in COLUMNS))

    def _where(self, select: exp.Select) -> exp.Select:
        from sqlglot import exp

        select = select.from_(relation(self._names.quarantine))
        return select if self._key is None else select.where(column("_object").eq(exp.Placeholder()))

    def _query(self, select: exp.Select) -> list[dict[str, Any]]:
        if not self._exists():
            return []
        return self._warehouse.query(text(select), [] if self._key is None else [self._key])

    def _exists(self) -> bool:
        return self._warehouse.columns(self._names.quarantine) is not None


def _literal(node: exp.Expr, key: str | None) -> exp.Expr:
    from sqlglot import exp

    return exp.Literal.string(key) if isinstance(node, exp.Placeholder) and key is not None else node
