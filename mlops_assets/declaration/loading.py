"""Loading declarations: a folder with defs.yaml, sql/ and perhaps train.py becomes a LoadedDeclaration."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from mlops_assets.declaration.checking import (
    ROOT,
    check_columns,
    check_estimator,
    check_model,
    read_program,
)
from mlops_assets.declaration.estimators import ALLOWED_ESTIMATORS
from mlops_assets.declaration.lineage import Catalog, resolve
from mlops_assets.declaration.loaded import LoadedDeclaration, SqlTable
from mlops_assets.declaration.parse_cache import ParseCache
from mlops_assets.declaration.schema import ModelDeclaration
from mlops_assets.declaration.source import (
    Source,
    mistakes_of,
    parse_source,
    raise_all,
    read_source,
    validation_mistakes,
)
from mlops_assets.declaration.sql import in_order, read_sql
from mlops_assets.declaration.suggesting import one_of, suggest
from mlops_assets.errors import DeclarationError

__all__ = ["ALLOWED_ESTIMATORS", "FILE", "TYPE", "complete", "find", "load", "load_all", "parse"]

TYPE = "mlops_assets.components.ModelPipeline"
FILE = "defs.yaml"

_OURS = re.compile(rf"^type:\s*[\"']?{re.escape(TYPE)}[\"']?\s*(#.*)?$", re.MULTILINE)
_KEYS = ("type", "attributes")

T = TypeVar("T")


def load(
    folder: Path, *, allowed_estimators: Sequence[str] = (), cache: Path | None = None
) -> LoadedDeclaration:
    """Load and check the model declared in `folder`.

    Args:
        folder: holds defs.yaml, the folder of SQL files and the training program.
        allowed_estimators: import paths that may be named beside scikit-learn's own.
        cache: folder of what parsing unchanged SQL gave before; none by default.

    Raises:
        DeclarationError: naming file, line and mend of every mistake.

    """
    source = read_source(folder / FILE)
    return complete(_spec(source), folder, source, allowed_estimators=allowed_estimators, cache=cache)


def parse(text: str, folder: Path, *, allowed_estimators: Sequence[str] = ()) -> LoadedDeclaration:
    """Like `load`, with the text of defs.yaml given; everything it names is read from `folder`."""
    source = parse_source(text, folder / FILE)
    return complete(_spec(source), folder, source, allowed_estimators=allowed_estimators)


def find(defs: Path) -> list[Path]:
    """Folders at or below `defs` whose defs.yaml declares a model of ours, sorted, without hidden ones."""
    found = []
    for path in defs.rglob(FILE):
        below = path.relative_to(defs).parts
        if any(part.startswith(".") for part in below) or not path.is_file():
            continue
        if _OURS.search(path.read_text(encoding="utf-8", errors="replace")):
            found.append(path.parent)
    return sorted(found)


def load_all(
    defs: Path, *, allowed_estimators: Sequence[str] = (), cache: Path | None = None
) -> list[LoadedDeclaration]:
    """Every model declared at or below `defs`.

    Raises:
        DeclarationError: listing the mistakes of every folder, and models that share a name.

    """
    loaded: dict[str, LoadedDeclaration] = {}
    mistakes: list[DeclarationError] = []
    for folder in find(defs):
        model = _collect(
            mistakes, lambda folder=folder: load(folder, allowed_estimators=allowed_estimators, cache=cache)
        )
        if model is None:
            continue
        if model.name in loaded:
            mistakes.append(
                DeclarationError(
                    f"The name {model.name!r} is taken by {loaded[model.name].folder / FILE}.",
                    where=read_source(folder / FILE).at((*ROOT, "name")),
                    mend="Give each model a name of its own.",
                )
            )
        loaded.setdefault(model.name, model)
    raise_all(mistakes)
    return list(loaded.values())


def complete(
    spec: ModelDeclaration,
    folder: Path,
    source: Source | None = None,
    *,
    allowed_estimators: Sequence[str] = (),
    cache: Path | None = None,
) -> LoadedDeclaration:
    """Read in everything that a validated declaration names, and check the parts against each other.

    Args:
        spec: the declaration.
        folder: the folder that its files are in.
        source: the text it comes from, for the lines in messages; none where it was made in Python.
        allowed_estimators: import paths that may be named beside scikit-learn's own.
        cache: folder of what parsing unchanged SQL gave before; none by default.

    Raises:
        DeclarationError: naming file, line and mend of every mistake.

    """
    source = source or Source(folder / FILE, None)
    mistakes = [*check_model(spec, source), *check_estimator(spec, source, allowed_estimators)]
    catalog = Catalog(spec.name, tuple(spec.arrivals.columns))
    paths = _collect(mistakes, lambda: _sql_files(spec, folder, source)) or []
    tables = _tables(paths, catalog, mistakes, ParseCache(cache))
    if paths or spec.dataset.source == "arrivals":
        mistakes += _unknown_table(spec, paths, source)
        mistakes += check_columns(spec, tables, catalog.columns, source)
    program = _collect(mistakes, lambda: read_program(spec, folder, source))
    raise_all(mistakes)
    return LoadedDeclaration(spec=spec, folder=folder, tables=tuple(tables), program=program)


def _spec(source: Source) -> ModelDeclaration:
    data = source.data
    if not isinstance(data, dict):
        raise source.mistake(
            (), "The file is not a mapping.", f"Begin it with `type: {TYPE}` and `attributes:`."
        )
    mistakes = [
        source.mistake((key,), f"{key}: this key is not known here.", suggest(key, _KEYS, one_of(_KEYS)))
        for key in data
        if key not in _KEYS
    ]
    if data.get("type") != TYPE:
        mistakes.append(
            source.mistake(("type",), f"The type is {data.get('type')!r}.", f"Write `type: {TYPE}`.")
        )
    try:
        spec = ModelDeclaration.model_validate(data.get("attributes") or {})
    except ValidationError as error:
        raise_all([*mistakes, *validation_mistakes(error, source, ModelDeclaration, ROOT)])
        raise  # unreachable: pydantic's error has at least one entry
    raise_all(mistakes)
    return spec


def _sql_files(spec: ModelDeclaration, folder: Path, source: Source) -> list[Path]:
    """The SQL files, sorted by name; none are needed where the dataset is `arrivals` itself."""
    root = folder / spec.tables
    location = (*ROOT, "tables")
    if not root.resolve().is_relative_to(folder.resolve()):
        raise source.mistake(
            location, f"The folder {spec.tables} is outside {folder}.", "Write `tables: sql/`."
        )
    paths = sorted(root.glob("*.sql"))
    if not paths and spec.dataset.source != "arrivals":
        what = (
            f"The folder {spec.tables} has no SQL file."
            if root.is_dir()
            else f"There is no folder {spec.tables}."
        )
        path = root / f"{spec.dataset.source}.sql"
        mend = f"Create {path} with one SELECT, or write `from: arrivals` under dataset."
        raise source.mistake(location, what, mend)
    return paths


def _unknown_table(
    spec: ModelDeclaration, paths: Sequence[Path], source: Source
) -> Iterator[DeclarationError]:
    known = ["arrivals", *(path.stem for path in paths)]
    name = spec.dataset.source
    if name not in known:
        path = source.path.parent / spec.tables / f"{name}.sql"
        yield source.mistake(
            (*ROOT, "dataset", "from"),
            f"There is no table {name!r}: the SQL file {path} is missing.",
            suggest(name, known, f"Create it, or: {one_of(known)}"),
        )


def _tables(
    paths: Sequence[Path], catalog: Catalog, mistakes: list[DeclarationError], cache: ParseCache
) -> list[SqlTable]:
    """The tables that can be resolved, in order; what is wrong with the others is added to `mistakes`."""
    key = cache.key(catalog.model, catalog.columns["arrivals"], paths)
    if known := cache.get(key):
        tables, columns = known
        catalog.columns.update(columns)
        return tables
    tables, wrong = _parsed(paths, catalog)
    mistakes += wrong
    if not wrong:
        cache.put(key, tables, catalog.columns)
    return tables


def _parsed(paths: Sequence[Path], catalog: Catalog) -> tuple[list[SqlTable], list[DeclarationError]]:
    mistakes: list[DeclarationError] = []
    files = [file for path in paths if (file := _collect(mistakes, lambda path=path: read_sql(path)))]
    ordered, wrong = in_order(files, [path.stem for path in paths])
    mistakes += wrong
    tables = []
    for file in ordered:
        # A table that reads one whose own mistake is known already cannot be judged yet.
        if all(name in catalog.columns for name in file.relations):
            table = _collect(mistakes, lambda file=file: resolve(file, catalog))
            tables += [table] if table else []
    return tables, mistakes


def _collect(mistakes: list[DeclarationError], work: Callable[[], T]) -> T | None:
    """The result of `work`, or None with its mistakes collected."""
    try:
        return work()
    except DeclarationError as error:
        mistakes.extend(mistakes_of(error))
        return None
