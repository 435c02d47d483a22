"""Reading MLflow's SQLite file without MLflow, whose import alone takes longer than a whole unchanged run.

Only reading: every write goes through MLflow's own client (registry.py). The tables are those of MLflow 3;
where they are not as expected, reading fails rather than finding nothing: "no champion" would open a gate.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from mlops_assets.errors import ArtifactError

DELETED = "Deleted_Internal"

_VERSIONS = """
SELECT v.name, v.version, t.key, t.value FROM model_versions AS v
LEFT JOIN model_version_tags AS t ON t.name = v.name AND t.version = v.version
WHERE coalesce(v.current_stage, '') <> :deleted AND (:model IS NULL OR v.name = :model)
AND (:version IS NULL OR v.version = :version)
AND (:tag IS NULL OR EXISTS (SELECT 1 FROM model_version_tags AS s WHERE s.name = v.name
    AND s.version = v.version AND s.key = :tag AND s.value = :value))
ORDER BY v.version DESC, v.name
"""
_ALIASES = "SELECT name, version, alias FROM registered_model_aliases WHERE :model IS NULL OR name = :model"
_MODEL_TAG = "SELECT value FROM registered_model_tags WHERE name = :model AND key = :tag"


@dataclass
class VersionRow:
    """A version as MLflow keeps it, finished or not."""

    model: str
    version: int
    tags: dict[str, str] = field(default_factory=dict)
    aliases: list[str] = field(default_factory=list)


class MlflowFile:
    """MLflow's registry tables in one SQLite file; a file that is not there yet holds nothing."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def rows(
        self,
        model: str | None = None,
        *,
        version: int | None = None,
        tag: tuple[str, str] | None = None,
    ) -> Sequence[VersionRow]:
        """Versions that were not deleted, newest first, with their tags and aliases.

        Args:
            model: of this model; default: of all.
            version: with this number.
            tag: with this tag and value.
        """
        key, value = tag or (None, None)
        wanted = {"deleted": DELETED, "model": model, "version": version, "tag": key, "value": value}
        found: dict[tuple[str, int], VersionRow] = {}
        tagged, named = self._select((_VERSIONS, wanted), (_ALIASES, {"model": model}))
        for name, number, tag_key, tag_value in tagged:
            row = found.setdefault((name, number), VersionRow(name, number))
            if tag_key is not None:
                row.tags[tag_key] = tag_value
        for name, number, alias in named:
            if (name, number) in found:
                found[name, number].aliases.append(alias)
        return list(found.values())

    def alias(self, model: str, alias: str) -> int | None:
        """The version that an alias points at."""
        (rows,) = self._select((_ALIASES, {"model": model}))
        return next((version for _, version, name in rows if name == alias), None)

    def model_tag(self, model: str, tag: str) -> str | None:
        """A tag of the registered model."""
        (rows,) = self._select((_MODEL_TAG, {"model": model, "tag": tag}))
        return rows[0][0] if rows else None

    def _select(self, *queries: tuple[str, dict[str, object]]) -> list[list[tuple]]:
        """The rows of each query, all seen in one state of the file."""
        if not self.path.exists():
            return [[] for _ in queries]
        try:
            return list(self._read(queries))
        except sqlite3.Error as error:
            raise ArtifactError(
                f"The model registry cannot be read ({error}).",
                where=str(self.path),
                mend="Check it with `sqlite3 FILE 'pragma integrity_check'`; MLflow 3 must have written it.",
            ) from error

    def _read(self, queries: Sequence[tuple[str, dict[str, object]]]) -> Iterator[list[tuple]]:
        # rw, not ro: after a crash the first reader rolls the journal back. It never creates the file.
        with closing(sqlite3.connect(f"{self.path.as_uri()}?mode=rw", uri=True, timeout=20)) as connection:
            connection.execute("BEGIN")
            for query, parameters in queries:
                yield connection.execute(query, parameters).fetchall()
