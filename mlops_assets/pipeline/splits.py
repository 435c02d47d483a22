"""How rows become train, validation and test: SELECTs in DuckDB's dialect that sqlglot can transpile.

**By hash.** An entity's place is the first 8 hexadecimal digits of `MD5(seed || ':' || entity)`, read as the
fraction `digits / 16^8` of [0, 1): below `train` it is train, below `train + validation` validation, else
test. Comparing the digits as text compares the fractions, so nothing turns hexadecimal text into a number,
which DuckDB, Redshift and BigQuery do in three ways; all three have MD5 of text. The entity is the key as
text; a row without a key (none declared, or NULL) is its own entity: the MD5 of its columns as text, so
identical rows stay together. `sql.as_stable_text` says what text a float is: the same on every engine. An
entity never changes its split when rows are added.

**By time.** A row's fraction is the share of rows before its time, so rows of equal time stay together. With
a key, a row takes its entity's *last* time: every row of the training split is then older than the boundary,
and so is every other row of its entity, so that nothing of the future leaks into training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlops_assets.artifacts import Column
from mlops_assets.declaration.schema import SplitSpec
from mlops_assets.pipeline.sql import (
    as_stable_text,
    as_text,
    column,
    count,
    count_where,
    present,
    relation,
    text,
)

if TYPE_CHECKING:
    from sqlglot import exp

SPLIT, ENTITY, ORDER = "_mlops_split", "_mlops_entity", "_mlops_order"
RESERVED = "_mlops_"
SPLITS = ("train", "validation", "test")
# 96 bits order even billions of entities without a tie, and take less room in the staging table than 128.
_DIGITS = 24
_MILLION = 1_000_000
_LARGEST = "1.7976931348623157e308"


@dataclass(frozen=True)
class Splitter:
    """The SELECTs of one dataset.

    Attributes:
        relation: `schema.table` of the rows to split.
        columns: the columns to keep, in order.
        target: one of them; rows without it are left out, as are rows without a time in a split by time.
    """

    relation: str
    columns: tuple[Column, ...]
    split: SplitSpec
    target: str

    def assigned(self) -> str:
        """Every row with its split and its place in the order; by time, with its entity.

        A row that is left out has the split NULL.
        """
        return text(self._by_hash() if self.split.by == "hash" else self._by_time())

    def left_out(self, assigned: str) -> str:
        """One row: `total` rows, those `without_target`, and those that have it but are `without_time`."""
        from sqlglot import exp

        no_target = exp.not_(self._has_target())
        no_time = exp.and_(self._has_target(), exp.not_(self._has_time()))
        counts = [
            count_where(condition).as_(name)
            for name, condition in (("without_target", no_target), ("without_time", no_time))
        ]
        return text(exp.select(count().as_("total"), *counts).from_(relation(assigned)))

    def rows(self, assigned: str, name: str, *, every_entity_once: bool = False) -> str:
        """The split's rows out of the relation that `assigned()` was built into, in an order of their own.

        The order depends on the rows alone: by hash (or by time), then by every column. Where no entity has a
        second row their hashes order them already, which costs half of sorting by every column.
        """
        from sqlglot import exp

        by_hash = self.split.by == "hash"
        by = [column(ORDER) if by_hash else column(self.split.column or "")]
        if not (by_hash and every_entity_once):
            by += [column(item.name) for item in self.columns]
        rows = exp.select(*(column(item.name) for item in self.columns)).from_(relation(assigned))
        return text(rows.where(column(SPLIT).eq(exp.convert(name))).order_by(*by))

    def straddling(self, assigned: str) -> str:
        """One row: the number of `entities`, and of those in more than one split, `straddling`."""
        from sqlglot import exp

        # Numbers are compared in half the time of names.
        number = exp.Case()
        for place, name in enumerate(SPLITS):
            number = number.when(column(SPLIT).eq(exp.convert(name)), exp.convert(place))
        least, most = exp.Min(this=number), exp.Max(this=number.copy())
        entity = self._entity_of_assigned()
        entities = exp.select(least.neq(most).as_("several")).from_(relation(assigned))
        entities = entities.where(present(SPLIT)).group_by(*entity)
        several = count_where(exp.column("several"))
        counts = exp.select(count().as_("entities"), several.as_("straddling"))
        return text(counts.from_(entities.subquery("e")))

    # --- parts --------------------------------------------------------------------------------------------

    def _by_hash(self) -> exp.Select:
        from sqlglot import exp

        names = [column(item.name) for item in self.columns]
        every = exp.select(*names, self._entity().as_(ENTITY, quoted=True)).from_(relation(self.relation))
        salted = exp.Concat(expressions=[exp.convert(f"{self.split.seed}:"), column(ENTITY)])
        order = exp.Substring(this=exp.MD5(this=salted), start=exp.convert(1), length=exp.convert(_DIGITS))
        placed = exp.select(*_copies(names), order.as_(ORDER, quoted=True)).from_("every_row")
        digits = exp.Substring(this=column(ORDER), start=exp.convert(1), length=exp.convert(8))
        validation_from, test_from = (
            exp.convert(f"{min(round(share * 16**8), 16**8 - 1):08x}") for share in self._boundaries()
        )
        name = _named(exp.not_(self._has_target()), digits < validation_from, digits.copy() < test_from)
        return (
            exp.select(*_copies(names), column(ORDER), name)
            .from_("placed")
            .with_("every_row", as_=every)
            .with_("placed", as_=placed)
        )

    def _by_time(self) -> exp.Select:
        from sqlglot import exp

        names = [column(item.name) for item in self.columns]
        time = column(self.split.column or "")
        entity = (
            self._entity() if self.split.key else as_text(time.copy(), self._type(self.split.column or ""))
        )
        every = exp.select(*names, entity.as_(ENTITY, quoted=True)).from_(relation(self.relation))
        # NULL for a row that is left out, which says nothing of when its entity was seen last either.
        usable = exp.and_(self._has_target(), self._has_time())
        at: exp.Expr = exp.Case().when(usable, time.copy())
        if self.split.key:
            last = exp.Window(this=exp.Max(this=at), partition_by=[column(ENTITY)])
            at = exp.Case().when(usable.copy(), last)
        placed = exp.select(*_copies(names), column(ENTITY), at.as_(ORDER, quoted=True)).from_("every_row")
        place = exp.column(ORDER, "placed", quoted=True)
        validation_from, test_from = (
            exp.column(f"{RESERVED}{name}_from", "boundaries") for name in SPLITS[1:]
        )
        left_out = place.copy().is_(exp.null())
        name = _named(left_out, _before(place, validation_from), _before(place, test_from))
        return (
            exp.select(*_copies(names), column(ENTITY), column(ORDER), name)
            .from_("placed")
            .join("boundaries", join_type="cross")
            .with_("every_row", as_=every)
            .with_("placed", as_=placed)
            .with_("moments", as_=_moments())
            .with_("running", as_=_running())
            .with_("boundaries", as_=self._time_boundaries())
        )

    def _time_boundaries(self) -> exp.Select:
        """The first moment that is not train, and the first that is test; in whole numbers, so exactly."""
        from sqlglot import exp

        selected = []
        for name, share in zip(SPLITS[1:], self._boundaries(), strict=True):
            before = exp.column("before") * exp.convert(_MILLION)
            reached = before >= exp.column("total") * exp.convert(round(share * _MILLION))
            selected.append(
                exp.Min(this=exp.Case().when(reached, column(ORDER))).as_(f"{RESERVED}{name}_from")
            )
        return exp.select(*selected).from_("running")

    def _boundaries(self) -> tuple[float, float]:
        return self.split.train, self.split.train + self.split.validation

    def _entity(self) -> exp.Expr:
        from sqlglot import exp

        parts: list[exp.Expr] = []
        for item in self.columns:
            text = as_stable_text(column(item.name), item.type)
            parts += [exp.func("COALESCE", text, exp.convert("\\N")), exp.convert("|")]
        own = exp.MD5(this=exp.Concat(expressions=parts))
        if self.split.key is None:
            return own
        unknown = exp.Concat(expressions=[exp.convert("row:"), own])
        return exp.func(
            "COALESCE", as_stable_text(column(self.split.key), self._type(self.split.key)), unknown
        )

    def _type(self, name: str) -> str:
        return next(item.type for item in self.columns if item.name == name)

    def _entity_of_assigned(self) -> list[exp.Expr]:
        """What tells entities of assigned rows apart: the key, not the hash that chose the split."""
        from sqlglot import exp

        if self.split.by == "time":
            return [column(ENTITY)]
        if self.split.key is None:
            return [column(ORDER)]
        kind = self._type(self.split.key)
        # Only of floats do several values have one text.
        key = as_stable_text(column(self.split.key), kind) if kind == "float" else column(self.split.key)
        return [key, exp.Case().when(key.copy().is_(exp.null()), column(ORDER))]

    def _has_target(self) -> exp.Expr:
        return _usable({item.name: item for item in self.columns}[self.target])

    def _has_time(self) -> exp.Expr:
        from sqlglot import exp

        return present(self.split.column or "") if self._needs_time else exp.true()

    @property
    def _needs_time(self) -> bool:
        return self.split.by == "time"


def _usable(target: Column) -> exp.Expr:
    """Not NULL, and a finite number where it is a float; never NULL itself."""
    from sqlglot import exp

    there = present(target.name)
    if target.type != "float":
        return there
    most = exp.Literal.number(_LARGEST)
    return exp.and_(there, column(target.name).between(exp.Neg(this=most), most.copy()))


def _moments() -> exp.Select:
    from sqlglot import exp

    moments = exp.select(column(ORDER), count().as_("n")).from_("placed").where(present(ORDER))
    return moments.group_by(column(ORDER))


def _running() -> exp.Select:
    """Each moment with the rows before it and the rows of all, as BIGINT."""
    from sqlglot import exp

    n = exp.column("n")
    # Where missing values would go is said, though there are none: BigQuery's default is not DuckDB's.
    first = exp.Ordered(this=column(ORDER), nulls_first=True)
    # Every moment is there once, so counting rows or values is the same; the frame that all have is said.
    frame = exp.WindowSpec(
        kind="ROWS", start="UNBOUNDED", start_side="PRECEDING", end="CURRENT ROW", end_side=None
    )
    upto = exp.Window(this=exp.Sum(this=n), order=exp.Order(expressions=[first]), spec=frame)
    total = exp.Window(this=exp.Sum(this=n.copy()))
    return exp.select(
        column(ORDER),
        exp.cast(exp.Sub(this=upto, expression=n.copy()), "bigint").as_("before"),
        exp.cast(total, "bigint").as_("total"),
    ).from_("moments")


def _before(place: exp.Expr, boundary: exp.Expr) -> exp.Expr:
    """`place` comes before `boundary`; so it does where no moment reaches the boundary."""
    from sqlglot import exp

    return exp.or_(boundary.is_(exp.null()), exp.LT(this=place.copy(), expression=boundary.copy()))


def _named(left_out: exp.Expr, is_train: exp.Expr, is_validation: exp.Expr) -> exp.Expr:
    from sqlglot import exp

    train, validation, test = (exp.convert(name) for name in SPLITS)
    name = exp.Case().when(left_out, exp.null()).when(is_train, train).when(is_validation, validation)
    return name.else_(test).as_(SPLIT, quoted=True)


def _copies(columns: Sequence[exp.Column]) -> list[exp.Column]:
    return [column.copy() for column in columns]
