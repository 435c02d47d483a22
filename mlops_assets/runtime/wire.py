"""What travels to and from a model server: media types, bodies read by the signature, answers written."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv

from mlops_assets.errors import SignatureError
from mlops_assets.runtime.arrow_body import read_arrow
from mlops_assets.runtime.bodies import csv_header, read_csv, read_json, read_lines
from mlops_assets.runtime.signature import Signature

JSON, LINES = "application/json", "application/jsonlines"
CSV, ARROW = "text/csv", "application/vnd.apache.arrow.stream"
_NAMES = {
    JSON: JSON,
    CSV: CSV,
    ARROW: ARROW,
    **dict.fromkeys(
        (LINES, "application/x-jsonlines", "application/jsonl", "application/x-ndjson", "application/ndjson"),
        LINES,
    ),
}


class UnsupportedFormatError(SignatureError):
    """The body's media type is not one of ours."""


class NotAcceptableError(SignatureError):
    """None of the media types that the client accepts is one of ours."""


@dataclass(frozen=True)
class Request:
    """A request's rows.

    Attributes:
        table: the columns by name; the model casts them by its signature.
        header: whether a CSV body had a header; a CSV answer mirrors it.
    """

    table: pa.Table
    header: bool = True


@dataclass(frozen=True)
class MediaType:
    """A media type of ours, with its parameters in lower case."""

    name: str
    parameters: Mapping[str, str]


def media_type(text: str | None) -> MediaType:
    """The media type of a body.

    Raises:
        UnsupportedFormatError: for a missing one or one that is not ours.
    """
    name, parameters = _split(text or "")
    if name not in _NAMES:
        raise UnsupportedFormatError(
            f"Content-Type {name!r} is not read here." if name else "The request has no Content-Type.",
            where="Content-Type",
            mend=f"Send one of {', '.join((JSON, LINES, CSV, ARROW))}.",
        )
    if parameters.get("charset", "utf-8") not in ("utf-8", "utf8", "us-ascii"):
        raise UnsupportedFormatError(
            f"charset {parameters['charset']!r} is not read here.", where="Content-Type", mend="Send UTF-8."
        )
    return MediaType(_NAMES[name], parameters)


def accepted(text: str | None) -> MediaType:
    """The best media type that an Accept header allows (RFC 9110, 12.5.1); JSON where it allows anything.

    Raises:
        NotAcceptableError: where it allows none of ours.
    """
    offers: list[tuple[float, int, MediaType]] = []
    for position, part in enumerate((text or "*/*").split(",")):
        name, parameters = _split(part)
        name = {"*/*": JSON, "application/*": JSON, "text/*": CSV, "": JSON}.get(name, name)
        try:
            quality = float(parameters.get("q", "1"))
        except ValueError:
            quality = 0.0
        if name in _NAMES and quality > 0:
            offers.append((-quality, position, MediaType(_NAMES[name], parameters)))
    if not offers:
        raise NotAcceptableError(
            "None of the accepted media types is written here.",
            where="Accept",
            mend=f"Accept one of {', '.join((JSON, LINES, CSV, ARROW))}.",
        )
    return min(offers, key=lambda offer: offer[:2])[2]


def _split(text: str) -> tuple[str, dict[str, str]]:
    name, *rest = (part.strip().lower() for part in text.split(";"))
    pairs = (part.partition("=") for part in rest if "=" in part)
    return name, {key.strip(): value.strip().strip('"') for key, _, value in pairs}


def read(body: bytes, kind: MediaType, signature: Signature) -> Request:
    """The rows of a request body.

    Raises:
        SignatureError: naming the place where the body is not of its kind.
        TooLargeError: for more rows than one request may hold.
    """
    if kind.name == CSV:
        return Request(*read_csv(body, signature, header=kind.parameters.get("header")))
    readers: dict[str, Callable[[bytes, Signature], pa.Table]] = {
        JSON: read_json,
        LINES: read_lines,
        ARROW: read_arrow,
    }
    return Request(readers[kind.name](body, signature))


def write(predictions: pa.Table, kind: MediaType, *, header: bool = True) -> bytes:
    """Predictions in a media type.

    JSON `{"predictions": [...]}` holds plain values where there is one column, else records; JSON lines hold
    records. A number that JSON cannot hold is null.

    Args:
        predictions: what the model answered.
        kind: one of ours.
        header: whether CSV starts with one; `Accept: text/csv; header=present|absent` overrules it.
    """
    if kind.name == ARROW:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, predictions.schema) as writer:
            writer.write_table(predictions)
        return sink.getvalue().to_pybytes()
    if kind.name == CSV:
        header = kind.parameters.get("header", "present" if header else "absent") == "present"
        out = io.BytesIO()
        if header:
            out.write(csv_header(predictions.column_names))
        pacsv.write_csv(predictions, out, pacsv.WriteOptions(include_header=False, quoting_style="needed"))
        return out.getvalue()
    if kind.name == LINES:
        return "".join(f"{_dumps(record)}\n" for record in json_records(predictions)).encode()
    plain = predictions.num_columns == 1
    rows = _finite(predictions.column(0)) if plain else json_records(predictions)
    return _dumps({"predictions": rows}).encode()


def json_records(table: pa.Table) -> list[dict[str, Any]]:
    """The rows as records that JSON can hold: NaN and infinities are null, times are ISO 8601 text."""
    columns = [_finite(column) for column in table.columns]
    return [dict(zip(table.column_names, cells, strict=True)) for cells in zip(*columns, strict=True)]


def _finite(column: pa.ChunkedArray) -> list[Any]:
    values = column.to_pylist()
    if pa.types.is_floating(column.type):
        return [value if value is not None and math.isfinite(value) else None for value in values]
    if pa.types.is_temporal(column.type):
        return [value if value is None else value.isoformat() for value in values]
    return values


def _dumps(value: Any) -> str:
    return json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
