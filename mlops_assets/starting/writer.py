"""Writes a declaration: defs.yaml and the SQL of its features, complete, commented, ready to run."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_assets.declaration.loading import load
from mlops_assets.errors import DataError, DeclarationError
from mlops_assets.starting.naming import snake_case
from mlops_assets.starting.profile import ColumnProfile, Profile
from mlops_assets.starting.task import check_target, infer_task
from mlops_assets.starting.text import defs_yaml, features_sql
from mlops_assets.starting.warnings import ColumnWarning, warn

if TYPE_CHECKING:
    from mlops_assets.artifacts.metrics import Task

_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_FEWEST_ROWS = 10
# Warnings that choosing a column as time or key answers.
_SETTLED = ("date", "identifier")


@dataclass(frozen=True)
class Plan:
    """What will be written: every choice made, nothing spelled yet.

    Attributes:
        left_out: declared name -> why it is no feature.
        notes: the warnings, for comments.
    """

    name: str
    profile: Profile
    target: ColumnProfile
    task: Task
    time: ColumnProfile | None
    key: ColumnProfile | None
    left_out: dict[str, str]
    notes: tuple[ColumnWarning, ...]

    @property
    def features(self) -> list[ColumnProfile]:
        """Columns that a model sees, dates among them."""
        aside = {column.name for column in (self.target, self.time, self.key) if column}
        return [
            column
            for column in self.profile.columns
            if column.name not in self.left_out and column.name not in aside
        ]

    @property
    def table(self) -> str:
        """Name of the features' table."""
        return f"{self.name[:53]}_features"


def plan(
    name: str,
    profile: Profile,
    target: str,
    *,
    task: Task | None = None,
    time: str | None = None,
    key: str | None = None,
    notes: Sequence[ColumnWarning] | None = None,
) -> Plan:
    """Decide everything that a declaration says.

    Raises:
        DataError: for a target, time or key that cannot be one.
        DeclarationError: for a name that no model can have.
    """
    if not _NAME.fullmatch(name):
        hint = snake_case(name)
        raise DeclarationError(
            f"{name!r} is no name for a model: letters a-z, digits and _, a letter first, at most 63.",
            mend=f"Use {hint}." if hint else "For example: housing.",
        )
    aim = profile.column(target)
    chosen = task or infer_task(aim)
    check_target(profile, aim, chosen)
    if profile.rows - aim.nulls < _FEWEST_ROWS:
        raise DataError(
            f"{profile.rows - aim.nulls} rows with a target cannot be split three ways.",
            where=str(profile.path),
            mend=f"Give at least {_FEWEST_ROWS} rows.",
        )
    found = tuple(warn(profile, target, chosen) if notes is None else notes)
    when = _time(profile, time, aim)
    entity = profile.column(key) if key else None
    if entity is not None and entity.name in (aim.name, when.name if when else None):
        raise DataError(
            "Key, time and target are different columns.", where=str(profile.path), mend="Choose others."
        )
    kept = {column.name for column in (aim, when, entity) if column}
    split_by = {column.name for column in (when, entity) if column}
    found = tuple(note for note in found if not (note.column in split_by and note.kind in _SETTLED))
    left_out = {note.column: note.message for note in found if note.excludes and note.column not in kept}
    made = Plan(name, profile, aim, chosen, when, entity, left_out, found)
    if not made.features:
        raise DataError(
            f"No column is left to predict {aim.source!r} from: "
            + "; ".join(f"{k}: {v}" for k, v in left_out.items()),
            where=str(profile.path),
            mend="Give columns that are known before the target is.",
        )
    return made


def _time(profile: Profile, time: str | None, aim: ColumnProfile) -> ColumnProfile | None:
    if time is None:
        return None
    when = profile.column(time)
    where = f"{profile.path}, column {when.source!r}"
    if when.feature_type not in ("date", "timestamp", "int"):
        raise DataError(
            f"It is no time: it holds {when.type} such as {', '.join(when.examples[:1])!r}.",
            where=where,
            mend="Write times as YYYY-MM-DD or YYYY-MM-DD HH:MM:SS.",
        )
    if when.name == aim.name:
        raise DataError("Time and target are different columns.", where=where, mend="Choose another --time.")
    return when


def write(
    folder: Path,
    name: str,
    profile: Profile,
    target: str,
    *,
    task: Task | None = None,
    time: str | None = None,
    key: str | None = None,
    force: bool = False,
    notes: Sequence[ColumnWarning] | None = None,
) -> Path:
    """Write `<folder>/<name>/defs.yaml` and `sql/<name>_features.sql`, and load them to see that they hold.

    Args:
        folder: the deployment's folder of declarations, `Settings.defs`.
        name: the model's name.
        profile: what `look` saw.
        target: column to predict, by its name in the file or its declared one.
        task: default: inferred from the target.
        time: column to split by; default: a split by hash.
        key: column that names an entity, which then lies within one split.
        force: write over files that are there.
        notes: what `warn` found, where that is known already.

    Returns:
        The path of the defs.yaml.

    Raises:
        DataError: for a target, time or key that cannot be one.
        DeclarationError: where the declaration exists and `force` is not given.
    """
    made = plan(name, profile, target, task=task, time=time, key=key, notes=notes)
    texts = {Path("defs.yaml"): defs_yaml(made), Path("sql", f"{made.table}.sql"): features_sql(made)}
    goal = folder / name
    existing = [str(goal / path) for path in texts if (goal / path).exists()]
    if existing and not force:
        raise DeclarationError(
            "It is there already.",
            where=existing[0],
            mend="Choose another name, or write over it with --force.",
        )
    folder.mkdir(parents=True, exist_ok=True)
    aside = folder / f".{name}.{os.getpid()}"
    try:
        _write(aside, texts.items())
        load(aside)
        if goal.exists():
            for path in texts:
                (goal / path).parent.mkdir(parents=True, exist_ok=True)
                (aside / path).replace(goal / path)
        else:
            aside.replace(goal)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return goal / "defs.yaml"


def _write(folder: Path, texts: Iterable[tuple[Path, str]]) -> None:
    for path, text in texts:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
