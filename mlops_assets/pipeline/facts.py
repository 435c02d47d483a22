"""What is counted of a dataset's rows before they are exported, and what is refused then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlops_assets.artifacts import Column
from mlops_assets.artifacts.metrics import Task
from mlops_assets.errors import DataError
from mlops_assets.pipeline.splits import SPLIT, SPLITS, Splitter
from mlops_assets.pipeline.sql import as_text, column, count, count_where, present, relation, text
from mlops_assets.platforms.ports import TemporaryTable

if TYPE_CHECKING:
    from sqlglot import exp

SMALLEST = 2
_MOST_CLASSES = 1_000
_MEASURES = ("mean", "std", "min", "max")


@dataclass(frozen=True)
class Facts:
    """Counts over the rows with their splits.

    Attributes:
        rows: split -> rows.
        left_out: `without_target` and `without_time`: rows of the source that are in no split.
        entities: `entities`, and those `straddling` two splits: 0.
        target: one row per class (`class` and rows per split), or per split (`split`, mean, std, min, max).
        nulls: column -> missing values.
    """

    rows: Mapping[str, int]
    left_out: Mapping[str, int]
    entities: Mapping[str, int]
    target: Sequence[Mapping[str, Any]]
    nulls: Mapping[str, int]


@dataclass(frozen=True)
class Counter:
    """Counts the rows of `assigned`, which holds what `splitter.assigned()` selects."""

    assigned: TemporaryTable
    splitter: Splitter
    task: Task

    def facts(self) -> Facts:
        """Every count.

        Raises:
            DataError: where rows are missing, a split is too small, a class is missing from train, or an
                entity is in two splits; with the counts and the mend.
        """
        counted = self._one(self.splitter.left_out(self.assigned.relation))
        left_out = {name: int(value) for name, value in counted.items()}
        rows = self._rows()
        self._refuse_lost(rows, left_out.pop("total") - sum(left_out.values()))
        self._refuse_small(rows, left_out)
        summary = self._classes() if self.task == "classification" else self._numbers()
        if self.task == "classification":
            self._refuse_missing_class(summary)
        entities = {
            name: int(value)
            for name, value in self._one(self.splitter.straddling(self.assigned.relation)).items()
        }
        self._refuse_straddling(entities)
        return Facts(rows, left_out, entities, summary, self._nulls())

    def _rows(self) -> dict[str, int]:
        from sqlglot import exp

        select = exp.select(column(SPLIT).as_("name"), count().as_("n")).group_by(column(SPLIT))
        found = {row["name"]: int(row["n"]) for row in self._query(select)}
        return {name: found.get(name, 0) for name in SPLITS}

    def _classes(self) -> list[dict[str, Any]]:
        """Rows per class and split, the largest class first."""
        from sqlglot import exp

        parts = [count_where(column(SPLIT).eq(exp.convert(name))).as_(name) for name in SPLITS]
        types = {item.name: item.type for item in self.splitter.columns}
        target = as_text(column(self.splitter.target), types[self.splitter.target])
        largest = exp.Ordered(this=count(), desc=True)
        select = (
            exp.select(target.as_("class"), *parts).group_by(target.copy()).order_by(largest, target.copy())
        )
        found = self._query(select.limit(_MOST_CLASSES + 1))
        if len(found) > _MOST_CLASSES:
            raise DataError(
                f"The target {self.splitter.target!r} has more than {_MOST_CLASSES:,} classes.",
                where=self.splitter.relation,
                mend="Declare task: regression, or group the classes in the table's SQL.",
            )
        return [
            {name: value if name == "class" else int(value) for name, value in row.items()} for row in found
        ]

    def _numbers(self) -> list[dict[str, Any]]:
        from sqlglot import exp

        target = exp.cast(column(self.splitter.target), "double")
        kinds = (exp.Avg, exp.StddevSamp, exp.Min, exp.Max)
        measured = [kind(this=target.copy()).as_(name) for name, kind in zip(_MEASURES, kinds, strict=True)]
        select = exp.select(column(SPLIT).as_("split"), *measured).group_by(column(SPLIT))
        found = {row["split"]: row for row in self._query(select)}
        return [{"split": name, **{key: _rounded(found[name][key]) for key in _MEASURES}} for name in SPLITS]

    def _nulls(self) -> dict[str, int]:
        from sqlglot import exp

        columns: Sequence[Column] = self.splitter.columns
        counts = [exp.Count(this=column(item.name)).as_(f"c{place}") for place, item in enumerate(columns)]
        row = self._query(exp.select(count().as_("total"), *counts))[0]
        return {item.name: int(row["total"]) - int(row[f"c{place}"]) for place, item in enumerate(columns)}

    # --- what is refused ----------------------------------------------------------------------------------

    def _refuse_lost(self, rows: Mapping[str, int], expected: int) -> None:
        if sum(rows.values()) != expected:
            raise DataError(
                f"{expected:,} rows were to be split, {sum(rows.values()):,} were.",
                where=self.splitter.relation,
                mend="A defect of mlops_assets: please report it with its dataset.split.",
            )

    def _refuse_small(self, rows: Mapping[str, int], left_out: Mapping[str, int]) -> None:
        small = [name for name in SPLITS if rows[name] < SMALLEST]
        if small:
            counts = ", ".join(f"{name} {rows[name]:,}" for name in SPLITS)
            raise DataError(
                f"Too few rows for {' and '.join(small)} (at least {SMALLEST} each): {counts}. Left out: "
                f"{left_out['without_target']:,} without target, {left_out['without_time']:,} without time.",
                where=self.splitter.relation,
                mend="Load more data, change dataset.split's shares, or take a key or time with more values.",
            )

    def _refuse_missing_class(self, classes: Sequence[Mapping[str, Any]]) -> None:
        missing = [str(row["class"]) for row in classes if row["train"] == 0]
        if not missing and len(classes) > 1:
            return
        counts = ", ".join(
            f"{row['class']!r} {row['train']:,}/{row['validation']:,}/{row['test']:,}" for row in classes[:20]
        )
        raise DataError(
            (
                f"The class {missing[0]!r} of {self.splitter.target!r} has no row in train"
                if missing
                else f"The target {self.splitter.target!r} has only one class"
            )
            + f" (rows in train/validation/test: {counts}).",
            where=self.splitter.relation,
            mend="Load more of its rows, leave it out or group it in the SQL, or change dataset.split.seed.",
        )

    def _refuse_straddling(self, entities: Mapping[str, int]) -> None:
        if entities["straddling"]:
            raise DataError(
                f"{entities['straddling']:,} of {entities['entities']:,} entities are in two splits.",
                where=self.splitter.relation,
                mend="A defect of mlops_assets: please report it with its dataset.split.",
            )

    def _one(self, select: str) -> dict[str, Any]:
        return self.assigned.query(select)[0]

    def _query(self, select: exp.Select) -> list[dict[str, Any]]:
        rows = select.from_(relation(self.assigned.relation)).where(present(SPLIT))
        return self.assigned.query(text(rows))


def _rounded(value: float | None) -> float | None:
    """Nine significant digits: a sum's last bits depend on the order that threads add in."""
    return None if value is None else float(f"{value:.9g}")
