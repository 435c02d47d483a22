"""The clauses that COPY and UNLOAD share: source and target in S3, authorisation, format and options."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from mlops_assets_tests.standins.redshift.tokens import Reader
from mlops_assets_tests.standins.redshift.wire import FEATURE, SYNTAX, RedshiftError

_ROLE = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/\S+|default")
_FORMATS = ("CSV", "PARQUET", "JSON")
_FLAGS = {
    "GZIP", "MANIFEST", "HEADER", "ADDQUOTES", "ESCAPE", "EMPTYASNULL", "BLANKSASNULL", "FILLRECORD",
    "EXPLICIT_IDS", "ALLOWOVERWRITE", "CLEANPATH", "NOLOAD", "TRUNCATECOLUMNS", "SERIALIZETOJSON",
    "ENCRYPTED",
}  # fmt: skip
_STRINGS = {
    "IAM_ROLE", "ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN", "REGION", "DELIMITER", "NULL",
    "QUOTE", "CREDENTIALS", "DATEFORMAT", "TIMEFORMAT", "KMS_KEY_ID", "EXTENSION",
}  # fmt: skip
_SIZES = {"MB": 1 << 20, "GB": 1 << 30}


@dataclass
class Options:
    """What was written behind the source or target, by keyword.

    Attributes:
        format: `CSV`, `PARQUET`, `JSON` or `TEXT`.
        values: keyword -> its value; True for a keyword alone.
    """

    format: str = "TEXT"
    values: dict[str, Any] = field(default_factory=dict)

    def __contains__(self, keyword: str) -> bool:
        return keyword in self.values

    def get(self, keyword: str, default: Any = None) -> Any:
        """The value of a keyword."""
        return self.values.get(keyword, default)


def s3_parts(uri: str) -> tuple[str, str]:
    """Bucket and key of an S3 URI."""
    match = re.fullmatch(r"s3://([^/]+)/(.*)", uri, re.S)
    if match is None:
        raise RedshiftError(f"The specified S3 path '{uri}' is not valid", "22023")
    return match[1], match[2]


def read_options(reader: Reader) -> Options:
    """Everything up to the end of the statement.

    Raises:
        RedshiftError: for an unknown option, none of the ways to authorise, or a malformed role.
    """
    found = Options()
    while reader:
        _option(reader, found)
    if not {"IAM_ROLE", "ACCESS_KEY_ID", "CREDENTIALS"} & found.values.keys():
        raise RedshiftError("Must specify an authorization parameter, such as IAM_ROLE", SYNTAX)
    role = found.get("IAM_ROLE")
    if role is not None and not _ROLE.fullmatch(role):
        raise RedshiftError(f"Invalid IAM role '{role}'", "22023")
    return found


def _option(reader: Reader, found: Options) -> None:
    key = reader.take().key
    if key == "FORMAT":
        reader.accept("AS")
        key = reader.take().key
        if key not in _FORMATS:
            raise RedshiftError(f"FORMAT {key} is not built into this stand-in", FEATURE)
    if key in _FORMATS:
        found.format = key
        if key == "JSON" and "string" in (reader.peek().kind, reader.peek(1).kind):
            found.values["PATHS"] = reader.string()
    elif key == "IAM_ROLE" and reader.accept("DEFAULT"):
        found.values[key] = "default"
    elif key in _STRINGS:
        found.values[key] = reader.string()
    elif key == "IGNOREHEADER":
        found.values[key] = int(reader.number())
    elif key in ("COMPUPDATE", "STATUPDATE", "PARALLEL"):
        switch = reader.peek().key in ("ON", "OFF", "TRUE", "FALSE", "PRESET")
        found.values[key] = not switch or reader.take().key in ("ON", "TRUE")
    elif key in ("MAXFILESIZE", "ROWGROUPSIZE"):
        size = reader.number()
        unit = reader.take().key if reader.peek().key in _SIZES else "MB"
        found.values[key] = int(size * _SIZES[unit])
    elif key == "PARTITION":
        reader.expect("BY")
        found.values[key] = reader.names()
        found.values["INCLUDE"] = reader.accept("INCLUDE")
    elif key in _FLAGS:
        found.values[key] = True
        found.values |= {"VERBOSE": True} if reader.accept("VERBOSE") else {}
    else:
        raise RedshiftError(
            f'syntax error at or near "{key.lower()}" (or not built into this stand-in)', SYNTAX
        )
