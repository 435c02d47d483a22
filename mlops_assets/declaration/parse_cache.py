"""What parsing SQL gave, kept with the platform's other state: loading unchanged SQL then needs no parser.

Importing sqlglot and resolving two models' SQL costs as much as everything else that a code location adds to
Dagster, and every worker and step process would pay it again. An entry's key is everything the result depends
on; an entry that is damaged or cannot be written costs a parse and nothing else.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mlops_assets.artifacts import digest_of
from mlops_assets.declaration.loaded import SqlTable

_CODE = ("lineage.py", "loaded.py", "parse_cache.py", "restrictions.py", "sql.py")


class ParseCache:
    """Parsed tables by what they were parsed from.

    Args:
        folder: where entries are kept, one file each; None keeps nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def key(self, model: str, arrivals: Sequence[str], paths: Sequence[Path]) -> str:
        """Digest of the model's name, its arrivals' columns, the files' places and bytes, and the parser."""
        if self._folder is None:
            return ""
        files = [[str(path), hashlib.sha256(path.read_bytes()).hexdigest()] for path in paths]
        return digest_of([model, list(arrivals), files, _parser()])

    def get(self, key: str) -> tuple[list[SqlTable], dict[str, tuple[str, ...]]] | None:
        """The tables and every table's columns, or None."""
        if self._folder is None:
            return None
        try:
            entry = json.loads((self._folder / f"{key}.json").read_bytes())
            tables = [_table(item) for item in entry["tables"]]
            return tables, {name: tuple(columns) for name, columns in entry["columns"].items()}
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def put(self, key: str, tables: Sequence[SqlTable], columns: Mapping[str, Sequence[str]]) -> None:
        """Keep an entry; a folder that cannot be written to is no mistake of the declaration."""
        if self._folder is None:
            return
        entry = {
            "tables": [asdict(table) | {"path": str(table.path)} for table in tables],
            "columns": {name: list(names) for name, names in columns.items()},
        }
        aside = self._folder / f".{key}-{secrets.token_hex(4)}"
        with suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            aside.write_text(json.dumps(entry), encoding="utf-8")
            aside.replace(self._folder / f"{key}.json")


def _table(item: dict[str, Any]) -> SqlTable:
    """The table that `asdict` and JSON made of it: lists are tuples again."""
    return SqlTable(
        **item
        | {
            "path": Path(item["path"]),
            "unique_key": tuple(item["unique_key"]),
            "dependencies": tuple(item["dependencies"]),
            "lineage": {name: tuple((a, b) for a, b in origin) for name, origin in item["lineage"].items()},
            "passthrough": {name: (origin[0], origin[1]) for name, origin in item["passthrough"].items()},
        }
    )


@lru_cache(maxsize=1)
def _parser() -> list[str]:
    """Identity of what parses: sqlglot's version, and the code around it."""
    here = Path(__file__).parent
    return [version("sqlglot"), *(hashlib.sha256((here / name).read_bytes()).hexdigest() for name in _CODE)]
