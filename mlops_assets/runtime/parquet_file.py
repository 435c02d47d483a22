"""Opening Parquet files so that memory holds what is being read of them, and not the file."""

from __future__ import annotations

from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow.parquet as pq

_BUFFER = 1 << 20


def open_parquet(source: Path | IO[bytes] | Any) -> pq.ParquetFile:
    """A Parquet file to read batch by batch; close it.

    By default pyarrow fetches every column of every row group ahead of the first batch: of a file of 64 MB
    all 64, and decoded pages beside them.

    Raises:
        pyarrow.ArrowInvalid: for a file that is no Parquet.
        OSError: for one that cannot be read.
    """
    import pyarrow.parquet as pq

    return pq.ParquetFile(source, pre_buffer=False, buffer_size=_BUFFER)
