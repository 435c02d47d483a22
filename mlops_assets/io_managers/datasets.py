"""dataset_io_manager: frames as Parquet in the object store, an immutable version per content."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from mlops_assets.artifacts import ArtifactUri
from mlops_assets.errors import DataError
from mlops_assets.io_managers import context as read
from mlops_assets.io_managers.frames import batches, kind_of, load
from mlops_assets.io_managers.pointers import Pointers
from mlops_assets.platforms.parquet import parquet_writer
from mlops_assets.platforms.ports import ObjectStore, Platform

if TYPE_CHECKING:
    import pyarrow as pa

FILE = "data.parquet"


class DatasetIOManager(dg.IOManager):
    """Frames as Parquet. A run over several partitions writes none: return one partition's rows per run."""

    def __init__(self, platform: Platform) -> None:
        self._store = platform.store
        self._pointers = Pointers(platform.store)

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Write the frame as a new version and let the pointer follow."""
        asset, name = read.path(context), read.name(context)
        partitions = read.partitions(context)
        if partitions is not None and len(partitions) != 1:
            raise DataError(
                f"One frame cannot be told apart into {len(partitions)} partitions.",
                where=name,
                mend="Run one partition at a time (no BackfillPolicy.single_run()), or use table_io_manager.",
            )
        with tempfile.TemporaryDirectory(prefix="dataset-") as folder, batches(obj, name) as reader:
            files = Path(folder) / "files"
            files.mkdir()
            rows = _write(files / FILE, reader)
            stored = self._pointers.publish(asset, partitions[0] if partitions else None, files)
        counted = "dagster/row_count" if partitions is None else "dagster/partition_row_count"
        context.add_output_metadata(
            {
                counted: rows,
                "dagster/uri": str(stored.file(FILE)),
                "version": dg.MetadataValue.text(stored.version),
            }
        )

    def load_input(self, context: dg.InputContext) -> Any:
        """The latest version as the annotation asks; several partitions below each other."""
        asset, name = read.path(context), read.name(context)
        kind = kind_of(read.annotation(context), f"input {context.name} of {name}")
        partitions = read.partitions(context)
        if partitions is not None and not partitions:
            raise DataError(
                "No partition of it is there to load.", where=name, mend="Materialise a partition first."
            )
        stored = [self._pointers.required(asset, key) for key in partitions or [None]]
        files = _Files(self._store, [item.file(FILE) for item in stored])
        return load(kind, files, read.columns(context))


class _Files:
    """Parquet files with the columns of all of them; of what lies elsewhere, only what is read is fetched."""

    def __init__(self, store: ObjectStore, uris: Sequence[ArtifactUri]) -> None:
        self._store, self._uris = store, uris

    def schema(self) -> pa.Schema:
        import pyarrow as pa
        import pyarrow.parquet as pq

        schemas = []
        for uri in self._uris:
            with self._store.open(uri) as stream:
                schemas.append(pq.read_schema(stream))
        return pa.unify_schemas(schemas, promote_options="permissive")

    def read(self, columns: Sequence[str] | None = None) -> pa.RecordBatchReader:
        import pyarrow.dataset as ds

        parquet = ds.ParquetFileFormat()
        fragments = [parquet.make_fragment(self._store.open(uri)) for uri in self._uris]
        dataset = ds.FileSystemDataset(fragments, self.schema(), parquet)
        return dataset.scanner(columns=list(columns) if columns is not None else None).to_reader()


def _write(path: Path, reader: pa.RecordBatchReader) -> int:
    rows = 0
    with parquet_writer(path, reader.schema, compression="zstd") as writer:
        for batch in reader:
            writer.write_batch(batch)
            rows += batch.num_rows
    return rows


@dg.io_manager(required_resource_keys={"platform"})
def dataset_io_manager(context: Any) -> DatasetIOManager:
    """Frames as Parquet on the platform bound to the resource `platform`."""
    return DatasetIOManager(context.resources.platform)
