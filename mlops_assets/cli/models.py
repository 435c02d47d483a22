"""Finding a declared model by its name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from mlops_assets.declaration.loaded import LoadedDeclaration
    from mlops_assets.settings import Settings


def declared(settings: Settings, name: str) -> LoadedDeclaration:
    """The model called `name` below `settings.defs`; mistakes in other models do not matter.

    Raises:
        UsageError: where there is none, naming the nearest.
        DeclarationError: where its declaration is wrong.
    """
    from mlops_assets.declaration.loading import find, load
    from mlops_assets.errors import DeclarationError

    folders = find(settings.defs) if settings.defs.is_dir() else []
    # A folder is nearly always called what its model is called: look there first.
    folders.sort(key=lambda folder: folder.name != name)
    known: list[str] = []
    broken: list[str] = []
    for folder in folders:
        try:
            loaded = load(folder, allowed_estimators=settings.allowed_estimators, cache=settings.parse_cache)
        except DeclarationError:
            if folder.name == name:
                raise
            broken.append(folder.name)
            continue
        if loaded.name == name:
            return loaded
        known.append(loaded.name)
    raise _unknown(name, known, broken, str(settings.defs))


def _unknown(name: str, known: list[str], broken: list[str], where: str) -> click.UsageError:
    from mlops_assets.starting.naming import did_you_mean

    if not known and not broken:
        write = f"mlops-assets init {name} --data FILE --target COLUMN"
        return click.UsageError(f"No model is declared below {where}. Write one: {write}")
    hint = did_you_mean(name, sorted(known)) if known else ""
    wrong = f"Not loaded for their mistakes: {', '.join(sorted(broken))} (mlops-assets doctor names them)."
    parts = [f"No model {name!r} below {where}.", hint, wrong if broken else ""]
    return click.UsageError(" ".join(part for part in parts if part))
