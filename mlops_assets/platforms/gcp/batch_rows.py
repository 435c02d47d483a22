"""Rows as a batch prediction is sent them, and its answers back beside the rows that they belong to."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

    from mlops_assets.runtime.signature import Signature

# The field of an instance that holds its row's number; Vertex AI keeps it from the model.
KEY = "__mlops_assets_row__"


def write_instances(data: Path, signature: Signature, out: Path) -> int:
    """Write the features of a file's rows as JSON lines, each row with its number; the number of rows.

    The values are cast as the model's signature says, so that a file that does not fit fails here, before
    anything is paid for, and CSV's cells arrive as what they are.

    Raises:
        DataError, SignatureError: as `runtime.score.score`, naming file, row and column.
    """
    from mlops_assets.runtime.score import feature_batches
    from mlops_assets.runtime.wire import json_records

    reserved = ["prediction", *(f"probability_{label}" for label in signature.labels)]
    rows = 0
    with out.open("w", encoding="utf-8") as file:
        for _, features in feature_batches(data, signature, reserved, typed=False):
            for record in json_records(features):
                line = json.dumps({KEY: str(rows), **record}, allow_nan=False, ensure_ascii=False)
                file.write(line + "\n")
                rows += 1
    return rows


def read_predictions(files: Sequence[Path], signature: Signature, rows: int) -> pa.Table | None:
    """What was predicted for `rows` rows, in their order; None unless each of them has one prediction.

    The predictions of all rows are held in memory, about 16 bytes a row and 8 for each class.

    Args:
        files: JSON lines in any order, as Vertex AI leaves them: `key` and `prediction`.
        signature: of the model.
        rows: how many there are.
    """
    import numpy as np
    import pyarrow as pa

    from mlops_assets.runtime.score import BATCH_ROWS

    lines = (json.loads(line) for path in files for line in _lines(path))
    parts = [_table(chunk, signature) for chunk in iter(lambda: list(islice(lines, BATCH_ROWS)), [])]
    if sum(part.num_rows for part in parts) != rows:
        return None
    table = pa.concat_tables(parts).sort_by(KEY)
    if not np.array_equal(table.column(KEY).to_numpy(), np.arange(rows)):
        return None
    return table.drop_columns([KEY])


def write_scored(data: Path, signature: Signature, predictions: pa.Table, out: Path) -> None:
    """Write the file's rows with their predictions beside them, as `runtime.score.score` does."""
    from mlops_assets.runtime.score import BATCH_ROWS
    from mlops_assets.runtime.tabular_files import format_of, open_writer, read_batches

    kind, delimiter = format_of(out), signature.csv.delimiter
    first_row = 0
    with open_writer(out, kind) as writer:
        for batch in read_batches(
            data, format_of(data), BATCH_ROWS, typed=kind != "jsonl", delimiter=delimiter
        ):
            rows = batch.table.num_rows
            writer.write(batch, predictions.slice(first_row, rows))
            first_row += rows


def _lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from file


def _table(answers: Iterable[Mapping[str, Any]], signature: Signature) -> pa.Table:
    import pyarrow as pa

    from mlops_assets.runtime.model import prediction_type

    keys, predictions = [], []
    for answer in answers:
        found = answer["prediction"]
        keys.append(int(answer["key"]))
        predictions.append(found if isinstance(found, dict) else {"prediction": found})
    columns = {
        name: pa.array(
            [item[name] for item in predictions],
            prediction_type(signature) if name == "prediction" else pa.float64(),
        )
        for name in predictions[0]
    }
    return pa.table({KEY: pa.array(keys, pa.int64()), **columns})
