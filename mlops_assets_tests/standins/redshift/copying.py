"""COPY: objects of S3 into a table, in the session's own transaction."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from mlops_assets_tests.standins.redshift.arrow_text import open_parquet, parquet_as_csv
from mlops_assets_tests.standins.redshift.binary_rows import can_write, parquet_as_binary
from mlops_assets_tests.standins.redshift.options import Options, read_options, s3_parts
from mlops_assets_tests.standins.redshift.tables import quoted
from mlops_assets_tests.standins.redshift.tokens import Reader, Token, text
from mlops_assets_tests.standins.redshift.wire import FEATURE, SYNTAX, PostgresError, RedshiftError, notice

if TYPE_CHECKING:
    from mlops_assets_tests.standins.redshift.session import Session

_CHUNK = 1 << 18
# https://docs.aws.amazon.com/redshift/latest/dg/copy-usage_notes-copy-from-columnar.html
_COLUMNAR = {
    "FILLRECORD", "IAM_ROLE", "CREDENTIALS", "ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN",
    "STATUPDATE", "MANIFEST", "EXPLICIT_IDS", "SERIALIZETOJSON",
}  # fmt: skip


class Copy:
    """One COPY statement."""

    def __init__(self, parts: Sequence[Token]) -> None:
        """Read the statement."""
        reader = Reader(parts)
        reader.expect("COPY")
        self._relation = text(reader.relation())
        self._listed = reader.names() if reader.peek().text == "(" else None
        reader.expect("FROM")
        self._source = reader.string()
        self._options: Options = read_options(reader)
        if self._options.format == "PARQUET" and (odd := set(self._options.values) - _COLUMNAR):
            raise RedshiftError(f"{min(odd)} argument is not supported for PARQUET based COPY", SYNTAX)

    def run(self, session: Session) -> str:
        """Load every object; an error undoes what the transaction did."""
        columns = self._columns(session)
        rows = 0
        for bucket, key in self._objects(session):
            with tempfile.NamedTemporaryFile(dir=session.server.scratch) as local:
                shutil.copyfileobj(
                    session.server.s3.get_object(Bucket=bucket, Key=key)["Body"], local, _CHUNK
                )
                local.flush()
                session.server.faults.reached("copy", session)
                rows += self._object(session, Path(local.name), columns, f"s3://{bucket}/{key}")
        session.backend.run(
            f"SELECT set_config('rs.last_copy_count', '{rows}', false), "
            f"set_config('rs.last_copy_id', '{session.query_id}', false)"
        )
        session.rows = rows
        done = f"Load into table '{self._name}' completed, {rows} record(s) loaded successfully."
        session.say(notice(done))
        return "COPY"

    @property
    def _name(self) -> str:
        return self._relation.replace('"', "").rsplit(".", 1)[-1]

    def _columns(self, session: Session) -> list[tuple[str, int]]:
        """Name and type of each column that is filled."""
        described = session.backend.run(
            f"SELECT attname, atttypid, attidentity <> '' FROM pg_attribute "
            f"WHERE attrelid = {quoted(self._relation)}::regclass AND attnum > 0 AND NOT attisdropped "
            "ORDER BY attnum"
        )
        types = {str(name): int(cast("str", oid)) for name, oid, _ in described.rows}
        own = [str(name) for name, _, is_identity in described.rows if is_identity == "t"]
        names = self._listed or [name for name in types if name not in own or "EXPLICIT_IDS" in self._options]
        for name in names:
            if name not in types:
                raise RedshiftError(f'column "{name}" of relation "{self._name}" does not exist', "42703")
        return [(name, types[name]) for name in names]

    def _objects(self, session: Session) -> Iterator[tuple[str, str]]:
        bucket, key = s3_parts(self._source)
        s3 = session.server.s3
        try:
            if "MANIFEST" in self._options:
                entries = json.loads(s3.get_object(Bucket=bucket, Key=key)["Body"].read())["entries"]
                found = [self._entry(s3, entry) for entry in entries]
                yield from [place for place in found if place is not None]
                return
            pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=key)
            listed = [item["Key"] for page in pages for item in page.get("Contents", [])]
        except s3.exceptions.ClientError as error:
            raise s3_error(error) from None
        if not listed:
            raise RedshiftError(f"The specified S3 prefix '{key}' does not exist")
        yield from ((bucket, name) for name in listed)

    def _entry(self, s3: Any, entry: dict[str, Any]) -> tuple[str, str] | None:
        bucket, key = s3_parts(entry["url"])
        size = entry.get("meta", {}).get("content_length")
        if self._options.format == "PARQUET" and size is None:
            raise RedshiftError(f"Manifest file has no content_length for {entry['url']}", "XX000")
        try:
            found = s3.head_object(Bucket=bucket, Key=key)
        except s3.exceptions.ClientError as error:
            if entry.get("mandatory"):
                raise s3_error(error, f" (mandatory file {entry['url']} of the manifest)") from None
            return None
        if size is not None and found["ContentLength"] != size:
            raise RedshiftError(f"Size of {entry['url']} is not the content_length of the manifest")
        return bucket, key

    def _object(self, session: Session, file: Path, columns: Sequence[tuple[str, int]], where: str) -> int:
        feed, form = self._feed(file, columns, where)
        listed = ", ".join('"' + name.replace('"', '""') + '"' for name, _ in columns)
        try:
            copied = session.backend.run(
                f"COPY {self._relation} ({listed}) FROM STDIN WITH ({form})", copy_in=feed
            )
        except PostgresError as error:
            raise self._load_error(session, error, where) from None
        return copied.count

    def _feed(
        self, file: Path, columns: Sequence[tuple[str, int]], where: str
    ) -> tuple[Iterator[bytes], str]:
        options, kind = self._options, self._options.format
        if kind == "PARQUET":
            source, oids = open_parquet(file, columns, where), [oid for _, oid in columns]
            if can_write(source.schema_arrow, oids):
                return parquet_as_binary(source, oids), "FORMAT binary"
            return parquet_as_csv(source), "FORMAT csv, NULL ''"
        opened = cast("BinaryIO", gzip.GzipFile(file) if "GZIP" in options else file.open("rb"))
        if kind == "JSON":
            if options.get("PATHS", "auto") not in ("auto", "auto ignorecase"):
                raise RedshiftError("JSON paths are not built into this stand-in", FEATURE)
            return _json_as_csv(opened, [name for name, _ in columns]), "FORMAT csv, NULL ''"
        is_csv = kind == "CSV"
        delimiter = options.get("DELIMITER", "," if is_csv else "|").replace("\\t", "\t")
        null = options.get("NULL", "" if is_csv else "\\N")
        form = f"FORMAT {'csv' if is_csv else 'text'}, DELIMITER {quoted(delimiter)}, NULL {quoted(null)}"
        if "QUOTE" in options:
            form += f", QUOTE {quoted(options.get('QUOTE'))}"
        return _lines(opened, options.get("IGNOREHEADER", 0)), form

    def _load_error(self, session: Session, error: PostgresError, where: str) -> RedshiftError:
        """Keep what is wrong with the record outside the transaction, as the service does."""
        context = error.fields.get("W", "")
        found = re.search(r"line (\d+)(?:, column ([^:]+))?(?:: \"(.*)\")?", context, re.S)
        line, column, raw = found.groups() if found else ("0", None, None)
        too_long = error.fields.get("C") in ("22001", "23514")
        row = [
            *(str(session.query_id), quoted(where), line, quoted(column or ""), quoted((raw or "")[:1024])),
            "1204" if too_long else "1200",
            quoted("String length exceeds DDL length" if too_long else str(error)),
            quoted(self._name),
        ]
        session.server.administer(
            session.database, f"INSERT INTO rs_internal.load_errors VALUES ({', '.join(row)})"
        )
        return RedshiftError(
            f"Load into table '{self._name}' failed.  Check 'sys_load_error_detail' system table for details."
        )


def s3_error(error: Any, what: str = "") -> RedshiftError:
    """The words in which the service hands on what S3 said."""
    code, status = error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]
    said = error.response["Error"].get("Message", "")
    return RedshiftError(f"S3ServiceException:{said},Status {status},Error {code}{what}")


def _lines(file: BinaryIO, skipped: int) -> Iterator[bytes]:
    with file:
        for _ in range(skipped):
            file.readline()
        last = b"\n"
        while chunk := file.read(_CHUNK):
            yield chunk
            last = chunk[-1:]
        if last != b"\n":
            yield b"\n"


def _json_as_csv(file: BinaryIO, columns: Sequence[str]) -> Iterator[bytes]:
    """One JSON object after the other as CSV, columns by name."""
    decoder = json.JSONDecoder()
    with file:
        content = file.read().decode()
    at, out = 0, io.StringIO()
    writer = csv.writer(out)
    while at < len(content):
        if content[at].isspace():
            at += 1
            continue
        try:
            found, at = decoder.raw_decode(content, at)
        except ValueError:
            raise RedshiftError("Load failed: Invalid JSON object") from None
        writer.writerow([_cell(found.get(name)) for name in columns])
        if out.tell() > _CHUNK:
            yield out.getvalue().encode()
            out.seek(0)
            out.truncate()
    yield out.getvalue().encode()


def _cell(value: object) -> object:
    if isinstance(value, dict | list):
        return json.dumps(value)
    return {None: "", True: "t", False: "f"}.get(value, value) if isinstance(value, bool | None) else value
