"""UNLOAD: the rows of a SELECT into objects of S3, read in the session's own transaction."""

from __future__ import annotations

import gzip
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from mlops_assets_tests.standins.redshift.arrow_text import batch_schema, csv_as_batches
from mlops_assets_tests.standins.redshift.binary_rows import are_fixed, binary_as_batches
from mlops_assets_tests.standins.redshift.copying import s3_error
from mlops_assets_tests.standins.redshift.dialect import expressions, refuse
from mlops_assets_tests.standins.redshift.options import Options, read_options, s3_parts
from mlops_assets_tests.standins.redshift.tokens import Reader, Token, text, tokens
from mlops_assets_tests.standins.redshift.wire import SYNTAX, RedshiftError, notice

if TYPE_CHECKING:
    from mlops_assets_tests.standins.redshift.session import Session

_LARGEST = int(6.2 * (1 << 30))
_SMALLEST = 5 << 20
_SLICES = 2
_NOT_PARQUET = {"DELIMITER", "ADDQUOTES", "ESCAPE", "NULL", "HEADER", "GZIP"}


@dataclass
class _Written:
    key: str
    size: int
    rows: int


class Unload:
    """One UNLOAD statement."""

    def __init__(self, parts: Sequence[Token], *, case_sensitive: bool) -> None:
        """Read the statement, and the one that it holds."""
        reader = Reader(parts)
        reader.expect("UNLOAD")
        inner = Reader(reader.bracketed())
        select = tokens(inner.string())
        reader.expect("TO")
        self._target = reader.string()
        self._options: Options = read_options(reader)
        refuse(select)
        _refuse_limit(select)
        self._select = text(expressions(select, case_sensitive=case_sensitive))
        options = self._options
        if options.format == "PARQUET" and (odd := _NOT_PARQUET & set(options.values)):
            raise RedshiftError(f"{min(odd)} is not supported for UNLOAD to PARQUET", SYNTAX)
        if options.get("MAXFILESIZE", _LARGEST) < _SMALLEST or options.get("MAXFILESIZE", 0) > _LARGEST:
            raise RedshiftError("MAXFILESIZE must be between 5 MB and 6.2 GB", "22023")

    def run(self, session: Session) -> str:
        """Write the objects, and the manifest last."""
        bucket, prefix = s3_parts(self._target)
        self._clear(session, bucket, prefix)
        columns = session.backend.run(f"SELECT * FROM ({self._select}) AS unloaded LIMIT 0").columns
        written: list[_Written] = []
        schema, fixed = batch_schema(columns), are_fixed([oid for _, oid, _ in columns])
        form = "FORMAT binary" if fixed else "FORMAT csv, NULL '', FORCE_QUOTE *"
        with tempfile.NamedTemporaryFile(dir=session.server.scratch) as rows:
            copied = session.backend.run(
                f"COPY ({self._select}) TO STDOUT WITH ({form})", copy_out=rows.write
            )
            rows.seek(0)
            session.server.faults.reached("unload", session)
            batches: Iterator[pa.RecordBatch] = iter(())
            if copied.count and fixed:
                batches = binary_as_batches(Path(rows.name), copied.count, columns, schema)
            elif copied.count:
                batches = csv_as_batches(rows, columns)
            for path, shape, part in self._partitions(schema, batches):
                written += self._write(session, bucket, prefix + path, shape, part)
        if "MANIFEST" in self._options:
            self._manifest(session, bucket, prefix, written, columns)
        session.backend.run(f"SELECT set_config('rs.last_unload_count', '{copied.count}', false)")
        session.rows = copied.count
        session.say(notice(f"UNLOAD completed, {copied.count} record(s) unloaded successfully."))
        return "UNLOAD"

    def _clear(self, session: Session, bucket: str, prefix: str) -> None:
        s3 = session.server.s3
        try:
            pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
            there = [item["Key"] for page in pages for item in page.get("Contents", [])]
        except s3.exceptions.ClientError as error:
            raise s3_error(error) from None
        if "CLEANPATH" in self._options:
            for key in there:
                s3.delete_object(Bucket=bucket, Key=key)
        elif there and "ALLOWOVERWRITE" not in self._options:
            raise RedshiftError(
                "Specified unload destination on S3 is not empty. Consider using a different bucket / "
                "prefix, manually removing the target files in S3, or using the ALLOWOVERWRITE option."
            )

    # --- files --------------------------------------------------------------------------------------------

    def _partitions(
        self, schema: pa.Schema, batches: Iterator[pa.RecordBatch]
    ) -> Iterator[tuple[str, pa.Schema, Iterator[pa.RecordBatch]]]:
        by = self._options.get("PARTITION")
        if not by:
            yield "", schema, batches
            return
        table = pa.Table.from_batches(list(batches), schema)
        values = list(zip(*(table[name].to_pylist() for name in by), strict=True))
        for group in dict.fromkeys(values):
            part = table.filter(pa.array([value == group for value in values]))
            part = part if self._options.get("INCLUDE") else part.drop_columns(by)
            path = "".join(f"{name}={_hive(value)}/" for name, value in zip(by, group, strict=True))
            yield path, part.schema, iter(part.to_batches())

    def _write(
        self, session: Session, bucket: str, prefix: str, schema: pa.Schema, batches: Iterator[pa.RecordBatch]
    ) -> list[_Written]:
        """In order into one file after the other, or dealt out to two slices."""
        serial = self._options.get("PARALLEL", True) is False
        ending = ".parquet" if self._options.format == "PARQUET" else ""
        ending += ".gz" if "GZIP" in self._options else ""
        slices = 1 if serial else _SLICES
        files: list[_File | None] = [None] * slices
        made: list[_File] = []
        for at, batch in enumerate(batches):
            place = at % slices
            file = files[place]
            if file is None or file.size >= self._options.get("MAXFILESIZE", _LARGEST):
                number = sum(1 for other in made if other.place == place)
                name = f"{number:03d}" if serial else f"{place:04d}_part_{number:02d}"
                file = _File(session.server.scratch, place, f"{prefix}{name}{ending}", schema, self._options)
                files[place] = file
                made.append(file)
            file.add(batch)
        if not made:
            name = "000" if serial else "0000_part_00"
            made.append(_File(session.server.scratch, 0, f"{prefix}{name}{ending}", schema, self._options))
        return [file.upload(session.server.s3, bucket) for file in made]

    def _manifest(
        self,
        session: Session,
        bucket: str,
        prefix: str,
        written: Sequence[_Written],
        columns: Sequence[tuple[str, int, int]],
    ) -> None:
        verbose = "VERBOSE" in self._options
        entries: list[dict[str, Any]] = []
        for item in written:
            meta: dict[str, int] = {"content_length": item.size}
            if verbose:
                meta["record_count"] = item.rows
            entry: dict[str, Any] = {"url": f"s3://{bucket}/{item.key}"}
            entries.append({**entry, "meta": meta} if verbose or self._options.format == "PARQUET" else entry)
        body: dict[str, Any] = {"entries": entries}
        if verbose:
            schema = batch_schema(columns)
            body["schema"] = {"elements": [{"name": f.name, "type": {"base": str(f.type)}} for f in schema]}
            body["meta"] = {
                "content_length": sum(item.size for item in written),
                "record_count": sum(item.rows for item in written),
            }
            body["author"] = {"name": "Amazon Redshift"}
        session.server.s3.put_object(Bucket=bucket, Key=f"{prefix}manifest", Body=json.dumps(body).encode())


class _File:
    """One object in the making, on disk until it is whole."""

    def __init__(self, folder: Path, place: int, key: str, schema: pa.Schema, options: Options) -> None:
        self.place, self.rows = place, 0
        self._key, self._gzip = key, "GZIP" in options
        self._file = tempfile.NamedTemporaryFile(dir=folder)  # noqa: SIM115 - closed by upload
        if options.format == "PARQUET":
            # Looking for floats that repeat takes longer than writing them.
            repeating: Any = [item.name for item in schema if not pa.types.is_floating(item.type)] or False
            self._writer: Any = pq.ParquetWriter(self._file, schema, use_dictionary=repeating)
        else:
            is_csv = options.format == "CSV"
            self._writer = pacsv.CSVWriter(
                self._file,
                schema,
                write_options=pacsv.WriteOptions(
                    include_header="HEADER" in options,
                    delimiter=options.get("DELIMITER", "," if is_csv else "|"),
                    quoting_style="needed" if is_csv or "ADDQUOTES" in options else "none",
                ),
            )

    @property
    def size(self) -> int:
        return self._file.tell()

    def add(self, batch: pa.RecordBatch) -> None:
        self.rows += batch.num_rows
        self._writer.write_batch(batch)

    def upload(self, s3: Any, bucket: str) -> _Written:
        self._writer.close()
        self._file.flush()
        path = Path(self._file.name)
        if self._gzip:
            body = gzip.compress(path.read_bytes())
            s3.put_object(Bucket=bucket, Key=self._key, Body=body)
            size = len(body)
        else:
            size = path.stat().st_size
            with path.open("rb") as body:
                s3.put_object(Bucket=bucket, Key=self._key, Body=body)
        self._file.close()
        return _Written(self._key, size, self.rows)


def _hive(value: object) -> str:
    return "__HIVE_DEFAULT_PARTITION__" if value is None else quote(str(value), safe=" -.")


def _refuse_limit(select: Sequence[Token]) -> None:
    depth = 0
    for part in select:
        depth += (part.text == "(") - (part.text == ")")
        if depth == 0 and part.key == "LIMIT":
            raise RedshiftError("Limit clause is not supported", "0A000")
