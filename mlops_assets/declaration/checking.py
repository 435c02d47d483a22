"""What the schema alone cannot see: columns, estimators and files that one part names in another."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from mlops_assets.declaration.estimators import allowed_for, other_task
from mlops_assets.declaration.loaded import SqlTable
from mlops_assets.declaration.schema import ColumnCheck, ModelDeclaration
from mlops_assets.declaration.source import KeyPath, Source
from mlops_assets.declaration.suggesting import closest, one_of, suggest
from mlops_assets.errors import DeclarationError

ROOT: KeyPath = ("attributes",)

_COLUMN = re.compile(r"^[a-z][a-z0-9_]{0,126}$")
TAKEN = ("information_schema", "main", "pg_catalog", "public", "system", "temp")
_NUMBERS = ("int", "float")
_ORDERED = ("int", "float", "timestamp", "date")


def check_model(spec: ModelDeclaration, source: Source) -> Iterator[DeclarationError]:
    """Mistakes in the model's name and in its arrivals' columns and checks."""
    if spec.name in TAKEN:
        yield source.mistake(
            (*ROOT, "name"), f"{spec.name!r} is a schema of the warehouse itself.", "Choose another name."
        )
    for name in spec.arrivals.columns:
        if not _COLUMN.match(name):
            plain = (
                re.sub(r"\W+", "_", re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name)).strip("_").lower() or "name"
            )
            yield source.mistake(
                (*ROOT, "arrivals", "columns", name),
                f"The column name {name!r} does not work on every platform.",
                f"Write `{plain}: {{type: {spec.arrivals.columns[name].type}, source: {name!r}}}`.",
            )
    for index, check in enumerate(spec.arrivals.checks):
        for key, what, mend in _condition(check, spec.arrivals.columns[check.column].type):
            yield source.mistake((*ROOT, "arrivals", "checks", index, *key), what, mend)


def _condition(check: ColumnCheck, kind: str) -> Iterator[tuple[KeyPath, str, str]]:
    name = f"{check.column} is {kind}"
    if (
        check.min is None
        and check.max is None
        and not check.not_null
        and not check.one_of
        and check.matches is None
    ):
        yield (), "The check asks nothing.", "Add min, max, not_null, one_of or matches."
    for key in ("min", "max"):
        if getattr(check, key) is not None and kind not in _NUMBERS:
            yield (key,), f"{name}: {key} is for numbers.", f"Take {key} out, or correct the column's type."
    if check.min is not None and check.max is not None and check.min > check.max:
        yield ("min",), f"min {check.min:g} is above max {check.max:g}.", "Swap them."
    if check.matches is not None:
        if kind != "string":
            yield (
                ("matches",),
                f"{name}: matches is for strings.",
                "Take matches out, or correct the column's type.",
            )
        try:
            re.compile(check.matches)
        except re.error as error:
            yield ("matches",), f"matches is not a regular expression: {error}.", "Correct it."
    types = {"string": (str,), "int": (int,), "float": (int, float), "bool": (bool,)}.get(kind)
    if types and any(not isinstance(value, types) for value in check.one_of or ()):
        yield (
            ("one_of",),
            f"{name}: a value of one_of is something else.",
            "Put texts in quotes, and only them.",
        )


def check_columns(
    spec: ModelDeclaration, tables: Sequence[SqlTable], columns: Mapping[str, Sequence[str]], source: Source
) -> Iterator[DeclarationError]:
    """Mistakes in what is said about the dataset's columns.

    Args:
        spec: the declaration.
        tables: the SQL tables that could be resolved.
        columns: table -> its columns, `arrivals` included, as far as they are known.
        source: the declaration's text, for lines.

    """
    known = list(columns.get(spec.dataset.source, ()))
    if not known:
        return  # its own mistake has been found already
    unknown = _unknown_in(known, spec.dataset.source, source)
    for location, names in _named(spec):
        for index, name in names:
            yield from unknown((*location, *index), name)
    if spec.monitoring.columns is not None:
        either = dict.fromkeys([*known, *spec.arrivals.columns])
        watched = _unknown_in(list(either), f"{spec.dataset.source} or arrivals", source)
        for index, name in enumerate(spec.monitoring.columns):
            yield from watched(("monitoring", "columns", index), name)
    yield from _check_roles(spec, known, source)
    yield from _check_types(spec, tables, source)


def _named(spec: ModelDeclaration) -> Iterator[tuple[KeyPath, list[tuple[KeyPath, str]]]]:
    """Every place that names columns of the dataset's table, with the names."""
    split, training = spec.dataset.split, spec.training
    single: list[tuple[KeyPath, str | None]] = [
        (("dataset", "split", "key"), split.key),
        (("dataset", "split", "column"), split.column),
        (("training", "target"), training.target),
    ]
    for location, name in single:
        yield location, [((), name)] if name is not None else []
    several: list[tuple[KeyPath, Iterable[str]]] = [
        (("training", "features"), training.features or ()),
        (("training", "exclude"), training.exclude),
        (("evaluation", "slices"), spec.evaluation.slices),
    ]
    for location, names in several:
        yield location, [((index,), name) for index, name in enumerate(names)]
    for index, gate in enumerate(spec.gates):
        if gate.slice is not None:
            yield ("gates", index), [(("slice",), gate.slice.split("=", 1)[0])]


def _unknown_in(
    known: Sequence[str], table: str, source: Source
) -> Callable[[KeyPath, str], Iterator[DeclarationError]]:
    def unknown(location: KeyPath, name: str) -> Iterator[DeclarationError]:
        if name not in known:
            shown = ".".join(str(part) for part in location)
            yield source.mistake(
                (*ROOT, *location),
                f"{shown}: unknown column {name!r}; {table} does not have it.",
                suggest(name, known, one_of(known)),
            )

    return unknown


def _check_roles(spec: ModelDeclaration, known: Sequence[str], source: Source) -> Iterator[DeclarationError]:
    training, split = spec.training, spec.dataset.split
    if training.target in (training.features or ()):
        yield source.mistake(
            (*ROOT, "training", "features"),
            f"The target {training.target!r} is among the features: the model would be told the answer.",
            "Take it out of features.",
        )
    apart = {training.target, split.key, split.column, *training.exclude}
    if training.features is None and not [name for name in known if name not in apart]:
        yield source.mistake(
            (*ROOT, "training", "exclude"),
            f"No feature is left: {spec.dataset.source} has only {', '.join(known)}.",
            "Select more columns, or exclude fewer.",
        )
    for index, gate in enumerate(spec.gates):
        if gate.min is not None and gate.max is not None and gate.min > gate.max:
            yield source.mistake(
                (*ROOT, "gates", index, "min"), f"min {gate.min:g} is above max {gate.max:g}.", "Swap them."
            )


def _check_types(
    spec: ModelDeclaration, tables: Sequence[SqlTable], source: Source
) -> Iterator[DeclarationError]:
    """Types are known of columns that a table copies unchanged from arrivals."""
    copies = {table.name: table.passthrough for table in tables}

    def kind(column: str | None) -> str | None:
        place = (spec.dataset.source, column) if column else None
        while place is not None and place[0] != "arrivals":
            place = copies.get(place[0], {}).get(place[1])
        declared = spec.arrivals.columns.get(place[1]) if place and place[1] else None
        return declared.type if declared else None

    target, column = spec.training.target, spec.dataset.split.column
    if spec.training.task == "regression" and kind(target) not in (None, *_NUMBERS):
        yield source.mistake(
            (*ROOT, "training", "target"),
            f"{target} is {kind(target)}; regression predicts a number.",
            "Choose a numeric target, or `task: classification`.",
        )
    if spec.dataset.split.by == "time" and kind(column) not in (None, *_ORDERED):
        yield source.mistake(
            (*ROOT, "dataset", "split", "column"),
            f"{column} is {kind(column)}; a split by time needs a time.",
            "Name a timestamp or date column, or correct the column's type.",
        )


def check_estimator(
    spec: ModelDeclaration, source: Source, allowed_estimators: Sequence[str]
) -> Iterator[DeclarationError]:
    """Mistakes in the estimator's name; its parameters are the training program's to judge."""
    path, task = spec.training.estimator, spec.training.task
    if path is None or path in (allowed := allowed_for(task, allowed_estimators)):
        return
    location = (*ROOT, "training", "estimator")
    by_class = {name.rsplit(".", 1)[1]: name for name in allowed}
    near = closest(path.rsplit(".", 1)[-1], by_class)
    other = other_task(path, task)
    if other is not None:
        mend = f"Use {by_class[near]}" if near else f"Use an estimator for {task}"
        yield source.mistake(location, f"{path} is for {other}, not {task}.", f"{mend}, or change `task`.")
        return
    hint = f"Did you mean {by_class[near]!r}?" if near else ""
    trust = f"To allow it, add it to the setting MLOPS_ALLOWED_ESTIMATORS (a JSON list): '[\"{path}\"]'."
    yield source.mistake(
        location, f"The estimator {path!r} is not allowed for {task}.", f"{hint} {trust}".strip()
    )


def read_program(spec: ModelDeclaration, folder: Path, source: Source) -> str | None:
    """Source of the training program, where one is declared.

    Raises:
        DeclarationError: where it is missing, or is not Python.

    """
    name = spec.training.program
    if name is None:
        return None
    path = folder / name
    try:
        text = path.read_text(encoding="utf-8")
        ast.parse(text)
    except FileNotFoundError:
        raise source.mistake(
            (*ROOT, "training", "program"),
            f"The program {name} does not exist.",
            f"Create {path}, or name an `estimator`.",
        ) from None
    except SyntaxError as error:
        raise DeclarationError(
            f"This is not Python: {error.msg}.", where=f"{path}:{error.lineno}", mend="Correct the line."
        ) from None
    except ValueError:
        raise DeclarationError(
            "The file is not UTF-8 text.", where=str(path), mend="Save it as UTF-8."
        ) from None
    return text
