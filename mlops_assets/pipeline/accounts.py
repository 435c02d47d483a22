"""Every row accounted for: ledger, arrivals and quarantine, counted in the warehouse and compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from mlops_assets.pipeline.names import Names
from mlops_assets.pipeline.sql import column, count, relation, text
from mlops_assets.platforms.ports import LedgerEntry, Warehouse

if TYPE_CHECKING:
    from sqlglot import exp

_CHUNK = 500
_SAMPLE = 5


class Accounts:
    """The books of one model's arrivals."""

    def __init__(self, warehouse: Warehouse, names: Names) -> None:
        self._warehouse, self._names = warehouse, names
        self._seen: set[str] = set()

    def known(self, keys: Sequence[str]) -> dict[str, LedgerEntry]:
        """The ledger's entries of `keys`."""
        found: dict[str, LedgerEntry] = {}
        for some in _chunks(keys):
            found.update(self._warehouse.loaded(self._names.ledger, some))
        return found

    def mislaid(self, reading: str) -> dict[str, str]:
        """Ledger key -> why: its content does not end in `.<reading>`, or rows of it are missing or more."""
        from sqlglot import exp

        if not self._exists(self._names.ledger):
            return {}
        zero = exp.convert(0)
        otherwise = column("content", "l").like(f"%.{reading}").not_()
        wrong = [
            column(name, "l").neq(exp.func("COALESCE", column("n", alias), zero))
            for name, alias in (("loaded", "a"), ("quarantined", "q"))
        ]
        select = (
            exp.select(column("_object", "l").as_("key"), otherwise.as_("otherwise"))
            .from_(relation(self._names.ledger).as_("l"))
            .join(self._counts(self._names.arrivals, "a"), on=_same_object("l", "a"), join_type="left")
            .join(self._counts(self._names.quarantine, "q"), on=_same_object("l", "q"), join_type="left")
            .where(exp.or_(otherwise.copy(), *wrong))
        )
        changed, miscounted = "the columns' reading or checks changed", "its rows are not those of the ledger"
        return {row["key"]: changed if row["otherwise"] else miscounted for row in self._query(select)}

    def unaccounted(self) -> list[dict[str, Any]]:
        """Objects (20 at most) whose rows in are not the rows counted now in arrivals and in quarantine.

        Everything is counted in the tables; rows of an object that the ledger does not know show as well.
        """
        from sqlglot import exp

        if not self._exists(self._names.ledger):
            return []
        zero = exp.convert(0)
        rows_in = exp.func("COALESCE", column("rows_in", "l"), zero)
        loaded = exp.func("COALESCE", column("n", "a"), zero)
        quarantined = exp.func("COALESCE", column("n", "q"), zero)
        objects = [column("_object", alias) for alias in ("l", "a", "q")]
        either = exp.func("COALESCE", *objects[:2])
        select = (
            exp.select(exp.func("COALESCE", *objects).as_("object"), rows_in.as_("rows_in"))
            .select(loaded.as_("loaded"), quarantined.as_("quarantined"))
            .from_(relation(self._names.ledger).as_("l"))
            .join(self._counts(self._names.arrivals, "a"), on=_same_object("l", "a"), join_type="full")
            .join(self._counts(self._names.quarantine, "q"), on=either.eq(objects[2]), join_type="full")
            .where(rows_in.neq(exp.Add(this=loaded, expression=quarantined)))
            .order_by("1")
            .limit(20)
        )
        return self._query(select)

    def totals(self) -> dict[str, int]:
        """Objects, rows_in, loaded and quarantined of the whole ledger."""
        from sqlglot import exp

        sums = [
            exp.func("COALESCE", exp.Sum(this=column(name)), exp.convert(0)).as_(name)
            for name in ("rows_in", "loaded", "quarantined")
        ]
        select = exp.select(count().as_("objects"), *sums).from_(relation(self._names.ledger))
        if not self._exists(self._names.ledger):
            return {"objects": 0, "rows_in": 0, "loaded": 0, "quarantined": 0}
        return {name: int(value) for name, value in self._query(select)[0].items()}

    def rejected(
        self, keys: Sequence[str]
    ) -> tuple[dict[str, dict[str, int]], dict[str, list[dict[str, Any]]]]:
        """Of each of `keys`: reason -> rows, and the first few rejected rows (`_line`, `reason`, `raw`)."""
        from sqlglot import exp

        reasons: dict[str, dict[str, int]] = {}
        samples: dict[str, list[dict[str, Any]]] = {}
        key, line = column("_object"), column("_line")
        rank = exp.Window(
            this=exp.RowNumber(), partition_by=[key.copy()], order=exp.Order(expressions=[line.copy()])
        ).as_("place")
        quarantine = relation(self._names.quarantine)
        for some in _chunks(keys):
            wanted = key.isin(*(exp.Placeholder() for _ in some))
            counts = exp.select(key, "reason", count().as_("n")).from_(quarantine).where(wanted)
            for row in self._query(counts.group_by(key, "reason"), some):
                reasons.setdefault(row["_object"], {})[row["reason"]] = int(row["n"])
            start = exp.func("SUBSTRING", column("raw"), exp.convert(1), exp.convert(200)).as_("raw")
            ranked = (
                exp.select(key, line, "reason", start, rank).from_(quarantine.copy()).where(wanted.copy())
            )
            first = (
                exp.select("*").from_(ranked.subquery("ranked")).where(f"place <= {_SAMPLE}").order_by(line)
            )
            for row in self._query(first, some):
                samples.setdefault(row["_object"], []).append(row)
        return reasons, samples

    def _exists(self, name: str) -> bool:
        """Whether the relation is there; asked until it is, for what loading has made stays."""
        if name not in self._seen and self._warehouse.columns(name) is not None:
            self._seen.add(name)
        return name in self._seen

    def _counts(self, name: str, alias: str) -> exp.Subquery:
        """Rows by object; none where the relation does not exist yet."""
        from sqlglot import exp

        key = column("_object")
        if not self._exists(name):
            nothing = exp.cast(exp.null(), "text").as_("_object", quoted=True)
            return exp.select(nothing, exp.convert(0).as_("n")).where(exp.false()).subquery(alias)
        return exp.select(key, count().as_("n")).from_(relation(name)).group_by(key).subquery(alias)

    def _query(self, select: exp.Select, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        return self._warehouse.query(text(select), parameters)


def _same_object(left: str, right: str) -> exp.Expr:
    return column("_object", left).eq(column("_object", right))


def _chunks(keys: Sequence[str]) -> Iterator[list[str]]:
    rest = iter(keys)
    while some := list(islice(rest, _CHUNK)):
        yield some
