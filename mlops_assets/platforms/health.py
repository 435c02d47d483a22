"""What a platform can say of its own health, for `mlops-assets doctor`: findings, each with its mend.

What can be looked at through the ports is looked at here, the same on every cloud.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlops_assets.errors import MlopsAssetsError

if TYPE_CHECKING:
    from mlops_assets.platforms.ports import Platform

_PROBE = "mlops_doctor"


@dataclass(frozen=True)
class Finding:
    """One thing looked at; `mend` is empty where it is well."""

    subject: str
    found: str
    mend: str = ""


Check = Callable[[], Finding]
"""Looks at one thing; whatever it raises is a finding too."""

Checks = Mapping[str, Check]
"""Subject -> check, in the order in which they build on each other."""


def examined(subject: str, check: Check) -> Finding:
    """A check's finding, or what it stumbled over."""
    try:
        return check()
    except MlopsAssetsError as error:
        where = f"{error.where}: " if error.where else ""
        return Finding(subject, f"{where}{error.what}", error.mend or "See the message.")
    except Exception as error:
        return Finding(subject, f"{type(error).__name__}: {error}", "See the message; --verbose shows more.")


def bucket(platform: Platform) -> Finding:
    """Writes, reads, lists and deletes; and that a conditional write holds, which registrations rest on."""
    store = platform.store
    folder = store.root.join("tmp", "doctor")
    uri = folder.join(uuid.uuid4().hex)
    store.write(uri, b"1", if_absent=True)
    try:
        if store.read(uri) != b"1" or not any(info.uri == uri for info in store.list(folder)):
            return Finding("bucket", f"{uri} is not what was written", "Use the cloud's own store.")
        try:
            store.write(uri, b"2", if_absent=True)
        except MlopsAssetsError:
            return Finding("bucket", f"{store.root} can be written, read, listed and deleted from")
        return Finding(
            "bucket",
            "an object was written over that must not be",
            "Use a store whose conditional writes hold, as Amazon S3's and Cloud Storage's do.",
        )
    finally:
        store.delete(uri)


def warehouse(platform: Platform) -> Finding:
    """A query is answered."""
    answer = platform.warehouse.query("SELECT 1 AS one")
    if answer != [{"one": 1}]:
        return Finding("warehouse", f"answers {answer}", "Look at the warehouse: this is none.")
    return Finding("warehouse", "answers")


def transfer(platform: Platform) -> Finding:
    """A row goes into the warehouse by the store, and back, as every table and dataset does."""
    import pyarrow as pa

    name = uuid.uuid4().hex[:8]
    relation, uri = f"{_PROBE}.probe_{name}", platform.store.root.join("tmp", "doctor", f"{name}.parquet")
    try:
        platform.warehouse.write(relation, pa.table({"one": [1]}).to_reader())
        rows = platform.warehouse.export(f'SELECT one FROM "{_PROBE}"."probe_{name}"', uri)  # noqa: S608
    finally:
        platform.warehouse.drop(relation)
        platform.store.delete(uri)
    if rows != 1:
        return Finding("transfer", f"{rows} rows came back of 1", "Look at what the warehouse says of it.")
    return Finding("transfer", "a row went into the warehouse and back by the store")


def registry(platform: Platform) -> Finding:
    """Versions are listed."""
    return Finding("registry", f"{len(platform.registry.versions())} versions")
