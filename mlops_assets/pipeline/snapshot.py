"""Makes a dataset: rows split in the warehouse, exported as Parquet, and published under their content."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from mlops_assets.artifacts import ArtifactUri, Column, Dataset, Split, digest_of
from mlops_assets.declaration.loaded import LoadedDeclaration
from mlops_assets.errors import DataError
from mlops_assets.pipeline.facts import Counter, Facts
from mlops_assets.pipeline.names import Names
from mlops_assets.pipeline.roles import Roles, Source
from mlops_assets.pipeline.splits import SPLITS, Splitter
from mlops_assets.pipeline.sql import selected
from mlops_assets.platforms.ports import ObjectStore, Platform, TemporaryTable
from mlops_assets.runtime.parquet_file import open_parquet

FORMAT = 1
_SAMPLE = 5
_ABANDONED = timedelta(days=1)


class Snapshot:
    """One dataset in the making. All rows stay in the warehouse and the object store."""

    def __init__(self, platform: Platform, loaded: LoadedDeclaration, source: Source, run_id: str) -> None:
        self._store, self._warehouse = platform.store, platform.warehouse
        self._loaded, self._source = loaded, source
        self._names = Names(loaded.name)
        self._roles = Roles.of(loaded, source)
        self._split = loaded.spec.dataset.split
        self._splitter = Splitter(source.relation, source.columns, self._split, self._roles.target.name)
        self._token = digest_of(run_id)[:8]
        self._drafts = self._store.root.join("tmp", "datasets", loaded.name)

    def make(self) -> Dataset:
        """Split, count, export, describe and publish; the dataset that is published under this content.

        One temporary table holds every row with its split, so that the splits are of one moment whatever is
        loaded meanwhile, and a view is computed once.

        Raises:
            DataError: where rows cannot be split as declared; nothing is published then.
        """
        self._remove_abandoned()
        staging, draft = self._staging(self._token), self._drafts.join(self._token)
        files = draft.join("files")
        self._store.write(draft.join("started"), b"")
        try:
            with self._warehouse.temporary(staging, self._splitter.assigned()) as assigned:
                facts = Counter(assigned, self._splitter, self._loaded.spec.training.task).facts()
                rows = {name: self._export(assigned, files, name, facts) for name in SPLITS}
            return self._publish(files, [self._split_of(files, name, rows[name]) for name in SPLITS], facts)
        finally:
            self._store.delete(draft)

    def _staging(self, token: str) -> str:
        return self._names.relation(f"dataset_staging_{token}")

    def _remove_abandoned(self) -> None:
        """Drop what runs left that were killed more than a day ago; a younger one may still be running."""
        for info in list(self._store.list(self._drafts)):
            token, _, name = self._drafts.relative(info.uri).partition("/")
            if name == "started" and datetime.now(UTC) - info.modified > _ABANDONED:
                self._warehouse.drop(self._staging(token))
                self._store.delete(self._drafts.join(token))

    def _export(self, assigned: TemporaryTable, files: ArtifactUri, name: str, facts: Facts) -> int:
        uri, expected = _file(files, name), facts.rows[name]
        once = facts.entities["entities"] == sum(facts.rows.values())
        select = self._splitter.rows(assigned.relation, name, every_entity_once=once)
        rows = assigned.export(select, uri)
        if rows != expected:
            raise DataError(
                f"{rows:,} rows were exported, but {expected:,} belong to {name}.",
                where=str(uri),
                mend="Run the dataset again.",
            )
        return rows

    def _split_of(self, files: ArtifactUri, name: str, rows: int) -> dict[str, Any]:
        uri = _file(files, name)
        return {"name": name, "file": files.relative(uri), "rows": rows, "sha256": self._store.digest(uri)}

    def _publish(self, files: ArtifactUri, splits: Sequence[Mapping[str, Any]], facts: Facts) -> Dataset:
        sample = _first_rows(self._store, _file(files, "train"))
        manifest = self._manifest(splits, facts) | {"sample": sample}
        self._store.write(files.join("manifest.json"), _json(manifest))
        uri = self._names.datasets(self._store.root).join(str(manifest["version"]))
        self._store.publish(files, uri)
        # The first one published under this content stays, with the upstream versions that it was made from.
        return dataset_of(read_manifest(self._store, uri), uri)

    def _manifest(self, splits: Sequence[Mapping[str, Any]], facts: Facts) -> dict[str, Any]:
        roles, source = self._roles, self._source
        table = source.relation.split(".", 1)[1]
        origins = {item.name: self._loaded.arrivals_column(table, item.name) for item in source.columns}
        declared = {
            "format": FORMAT,
            "features": list(roles.features),
            "target": roles.target.name,
            "key": roles.key,
            "time": roles.time,
            "split": self._split.model_dump(mode="json"),
        }
        types = [[item.name, item.type] for item in source.columns]
        files = {split["name"]: split["sha256"] for split in splits}
        return {
            **declared,
            "model": self._loaded.name,
            "version": digest_of({**declared, "columns": types, "files": files}),
            "splits": list(splits),
            "columns": [{"name": name, "type": type_, "nulls": facts.nulls[name]} for name, type_ in types],
            "query": selected(source.relation, source.columns),
            "upstream": {source.relation: source.version},
            "passthrough": {name: origin for name, origin in origins.items() if origin is not None},
            "left_out": dict(facts.left_out),
            "entities": dict(facts.entities),
            "target_summary": list(facts.target),
        }


def _file(files: ArtifactUri, split: str) -> ArtifactUri:
    return files.join(split, "data.parquet")


def read_manifest(store: ObjectStore, uri: ArtifactUri) -> dict[str, Any]:
    """The manifest of the dataset published at `uri`.

    Its fields are those of `Dataset`, with each split's `file` relative to the folder and `nulls` per column,
    and `split` as declared, `left_out`, `entities`, `target_summary` and a `sample` of rows as text.
    """
    return json.loads(store.read(uri.join("manifest.json")))


def dataset_of(manifest: Mapping[str, Any], uri: ArtifactUri) -> Dataset:
    """The dataset that a manifest describes, its files below `uri`."""
    splits = tuple(
        Split(name=item["name"], uri=uri.join(item["file"]), rows=item["rows"], sha256=item["sha256"])
        for item in manifest["splits"]
    )
    same = ("model", "version", "target", "key", "time", "query", "upstream", "passthrough")
    return Dataset(
        uri=uri,
        splits=splits,
        columns=tuple(Column(name=item["name"], type=item["type"]) for item in manifest["columns"]),
        features=tuple(manifest["features"]),
        **{name: manifest[name] for name in same},
    )


def _first_rows(store: ObjectStore, parquet: ArtifactUri) -> list[dict[str, Any]]:
    """The first rows of a Parquet file, values as text; no more of it is fetched than they need."""
    with store.open(parquet) as stream, open_parquet(stream) as file:
        batch = next(file.iter_batches(batch_size=_SAMPLE))
    rows = batch.to_pylist()
    return [
        {name: None if value is None else str(value)[:200] for name, value in row.items()} for row in rows
    ]


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False).encode()
