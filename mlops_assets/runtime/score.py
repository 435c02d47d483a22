"""Scoring a file: CSV, Parquet or JSON lines in and out, in bounded memory, whatever the number of rows."""

# pyright: reportAttributeAccessIssue=false
# pyarrow makes the functions of pyarrow.compute at import, where no type checker sees them.

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from mlops_assets.errors import DataError, SignatureError
from mlops_assets.runtime.casting import select
from mlops_assets.runtime.cells import cast_column
from mlops_assets.runtime.model import LoadedModel
from mlops_assets.runtime.signature import Signature
from mlops_assets.runtime.tabular_files import Batch, format_of, open_writer, read_batches

Progress = Callable[[int], None]
BATCH_ROWS = 65_536


def score(
    model_folder: Path,
    data: Path,
    out: Path,
    *,
    files: Mapping[str, str] | None = None,
    trusted_types: Sequence[str] = (),
    batch_rows: int = BATCH_ROWS,
    progress: Progress | None = None,
) -> int:
    """Write the rows of `data` with their predictions beside them to `out`; returns the number of rows.

    Every column of `data` is kept as it is; the model's columns (`prediction`, and `probability_<class>` of a
    classification) follow. `out` is there when it is complete, and not before.

    Args:
        model_folder: holds model.skops and model.json.
        data: `.csv` (UTF-8, with a header), `.parquet`, `.jsonl` or `.ndjson`.
        out: one of the same, not `data` itself.
        files: file name -> SHA-256, checked before the model is parsed.
        trusted_types: types by full name that the operator trusts beside ours.
        batch_rows: rows that are held in memory at once.
        progress: called with the number of rows done, after each batch.

    Raises:
        DataError: for a file that cannot be read or written as its suffix says.
        SignatureError: naming file, row and column where `data` does not fit the model.
    """
    target = format_of(out)
    if data.exists() and out.exists() and out.samefile(data):
        raise DataError("The output is the data itself.", where=str(out), mend="Name another file.")
    model = LoadedModel.load(model_folder, files=files, trusted_types=trusted_types)
    rows = 0
    batches = feature_batches(
        data, model.signature, model.answer_schema.names, typed=target != "jsonl", batch_rows=batch_rows
    )
    with _aside(out) as path, open_writer(path, target) as writer:
        for batch, features in batches:
            with _naming(data):
                answers = model.predict(features)
            writer.write(batch, answers)
            rows += batch.table.num_rows
            if progress is not None:
                progress(rows)
    return rows


def feature_batches(
    data: Path,
    signature: Signature,
    answers: Collection[str],
    *,
    typed: bool,
    batch_rows: int = BATCH_ROWS,
) -> Iterator[tuple[Batch, pa.Table]]:
    """The file's rows, batch by batch, and beside them the model's features, cast as its signature says.

    Args:
        data: a file as `score` takes it.
        signature: of the model.
        answers: names of the columns that predictions go to; `data` may have none of them.
        typed: as in `read_batches`.
        batch_rows: rows per batch, at most.

    Raises:
        DataError, SignatureError: as `score`.
    """
    kind = format_of(data)
    missing = signature.csv.null_values if kind == "csv" else ()
    first_row = 0
    for batch in read_batches(data, kind, batch_rows, typed=typed, delimiter=signature.csv.delimiter):
        taken = set(batch.table.column_names).intersection(answers)
        if taken:
            raise DataError(
                f"It has a column {min(taken)!r} already.",
                where=str(data),
                mend="Rename it: predictions go there.",
            )
        with _naming(data):
            chosen = select(batch.table, signature)
            columns = [
                cast_column(_without(column, missing), feature, first_row)
                for column, feature in zip(chosen.columns, signature.features, strict=True)
            ]
        yield batch, pa.table(columns, names=list(signature.names))
        first_row += batch.table.num_rows


@contextmanager
def _naming(data: Path) -> Iterator[None]:
    """Put the file's name before the place of a mistake."""
    try:
        yield
    except SignatureError as error:
        where = f"{data}, {error.where}" if error.where else str(data)
        raise SignatureError(error.what, where=where, mend=error.mend) from None


def _without(column: pa.ChunkedArray, missing: Sequence[str]) -> pa.ChunkedArray:
    """The column with NULL where its text is one of the spellings of a missing value."""
    if not missing or not pa.types.is_string(column.type):
        return column
    is_missing = pc.is_in(column, value_set=pa.array(missing, pa.string()))
    return pc.if_else(is_missing, pa.scalar(None, pa.string()), column)


@contextmanager
def _aside(out: Path) -> Iterator[Path]:
    """A path beside `out` to write to; it becomes `out` where the block ends well, else nothing is left."""
    out.parent.mkdir(parents=True, exist_ok=True)
    path = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        yield path
        with path.open("rb") as file:
            os.fsync(file.fileno())
        path.replace(out)
    except OSError as error:
        place = str(error.filename or out)
        raise DataError(f"{error.strerror}.", where=place, mend="Check space and rights.") from None
    finally:
        path.unlink(missing_ok=True)
