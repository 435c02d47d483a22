"""Arrow request bodies: an IPC stream, read so that a stranger's small body cannot become a large table."""

from __future__ import annotations

import struct
from typing import Any

import pyarrow as pa
import pyarrow.compute

from mlops_assets.errors import SignatureError
from mlops_assets.runtime.bodies import TooLargeError, check_rows
from mlops_assets.runtime.signature import Signature

pc: Any = pyarrow.compute  # its functions are made at import: type checkers cannot see them
MAX_TEXT = 256 << 20


def read_arrow(body: bytes, signature: Signature) -> pa.Table:
    """The signature's columns of an Arrow IPC stream.

    Raises:
        SignatureError: for a stream that is damaged, compressed, or of types that no feature can have.
        TooLargeError: for too many rows, or too much text in dictionaries.
    """
    wanted = {*signature.names, *signature.aliases}
    try:
        _refuse_compressed(body)
        with pa.ipc.open_stream(pa.BufferReader(body)) as reader:
            fields = [field for field in reader.schema if field.name in wanted]
            for field in fields:
                _check_flat(field)
            positions = [index for index, name in enumerate(reader.schema.names) if name in wanted]
            schema = pa.schema(fields)
            batches = _batches(reader, positions)
    except (pa.ArrowException, OSError, struct.error) as error:
        raise SignatureError(
            f"The body is no readable Arrow stream ({str(error)[:200]}).",
            where="body",
            mend="Send an uncompressed Arrow IPC stream.",
        ) from None
    table = pa.Table.from_batches(batches, schema=schema)
    check_rows(table.num_rows)
    _check_dictionaries(table)
    return table


def _batches(reader: pa.RecordBatchReader, positions: list[int]) -> list[pa.RecordBatch]:
    batches: list[pa.RecordBatch] = []
    rows = 0
    for whole in reader:
        rows += whole.num_rows
        check_rows(max(rows, 1))
        batch = whole.select(positions)
        batch.validate(full=True)
        batches.append(batch)
    return batches


def _check_flat(field: pa.Field) -> None:
    """Types whose few bytes can stand for many (views, run lengths, nested lists) are refused."""
    kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    flat = (
        pa.types.is_primitive(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_null(kind)
        or pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
    )
    if not flat:
        raise SignatureError(
            f"column {field.name!r} is {field.type}, which no feature can be.",
            where=f"column {field.name}",
            mend="Send numbers, booleans, text, timestamps or dates.",
        )


def _check_dictionaries(table: pa.Table) -> None:
    for name, column in zip(table.column_names, table.columns, strict=True):
        if not pa.types.is_dictionary(column.type):
            continue
        kind = column.type.value_type
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            continue
        lengths = (
            pc.sum(pc.take(pc.binary_length(part.dictionary), part.indices)).as_py() for part in column.chunks
        )
        if sum(length or 0 for length in lengths) > MAX_TEXT:
            raise TooLargeError(
                "the text is too long once decoded.", where=f"column {name}", mend="Send fewer rows."
            )


def _refuse_compressed(body: bytes) -> None:
    """Refuse compressed record batches, whose declared sizes could be anything.

    Reads the few flatbuffer fields needed from each message's metadata (Arrow's format/Message.fbs).
    """
    reader = pa.ipc.MessageReader.open_stream(pa.BufferReader(body))
    while True:
        try:
            message = reader.read_next_message()
        except StopIteration:
            return
        if message.type in ("record batch", "dictionary") and _is_compressed(message.metadata.to_pybytes()):
            raise pa.ArrowInvalid("it is compressed")


def _is_compressed(metadata: bytes) -> bool:
    def field(table: int, slot: int) -> int | None:
        vtable = table - struct.unpack_from("<i", metadata, table)[0]
        size = struct.unpack_from("<H", metadata, vtable)[0]
        if 4 + 2 * slot >= size:
            return None
        offset = struct.unpack_from("<H", metadata, vtable + 4 + 2 * slot)[0]
        return table + offset if offset else None

    def follow(position: int) -> int:
        return position + struct.unpack_from("<I", metadata, position)[0]

    message = follow(0)
    kind, header = field(message, 1), field(message, 2)
    if kind is None or header is None:
        return False
    batch = follow(header)
    if metadata[kind] == 2:  # DictionaryBatch: its record batch is the second field
        inner = field(batch, 1)
        if inner is None:
            return False
        batch = follow(inner)
    return field(batch, 3) is not None
