"""The model file: a skops archive, checked before it is parsed, written with equal bytes for equal models."""

from __future__ import annotations

import io
import json
import re
import stat
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import skops.io

from mlops_assets.artifacts.uri import check_key
from mlops_assets.errors import ArtifactError, PathEscapeError, UntrustedModelError
from mlops_assets.runtime.trusted import TRUSTED_TYPES

# Ours are stored without compression (ratio 1); a deflate bomb reaches 1,032.
MAX_BYTES = 8 << 30
MAX_RATIO = 100
MAX_ENTRIES = 1_000_000
_EPOCH = (1980, 1, 1, 0, 0, 0)
_MEMBER = re.compile(r"^(\d+)(\.\w+)$")
_RETRAIN = "Train the candidate again; a model file is only ever made by training."


def load_archive(path: Path, *, trusted_types: Sequence[str] = ()) -> Any:
    """The object in a skops file, of types that our code or the operator trusts.

    Args:
        path: the file; its digest is the caller's to check before.
        trusted_types: full names beside skops' own list and `TRUSTED_TYPES`.

    Raises:
        UntrustedModelError: for anything but a sound skops archive of trusted types; nothing of it was run.
    """
    check_archive(path)
    trusted = [*TRUSTED_TYPES, *trusted_types]
    try:
        unknown = sorted(set(skops.io.get_untrusted_types(file=path)) - set(trusted))
        if unknown:
            raise UntrustedModelError(
                f"The model file holds types that nobody trusts: {', '.join(unknown)}.",
                where=path.name,
                mend="If you know where it comes from, add the types to MLOPS_TRUSTED_TYPES (a JSON list).",
            )
        return skops.io.load(path, trusted=trusted)
    except UntrustedModelError:
        raise
    # A crafted schema can make skops fail in any way; whichever it is, the file is refused with its cause.
    except Exception as error:
        raise UntrustedModelError(
            f"The model file cannot be read: {type(error).__name__}: {str(error)[:200]}.",
            where=path.name,
            mend=_RETRAIN,
        ) from error


def check_archive(path: Path) -> None:
    """Return where `path` is a bounded zip of plain entries; nothing is decompressed or parsed.

    Raises:
        ArtifactError: where there is no such file.
        UntrustedModelError: for a symlink, a pickle or other format, a truncated archive, a zip bomb, an
            entry that leads out of the archive.
    """
    try:
        mode = path.lstat().st_mode
    except OSError:
        raise ArtifactError(
            "The model file is missing.", where=path.name, mend="Train the candidate again."
        ) from None
    if not stat.S_ISREG(mode):
        raise _refused(path, "is not a regular file")
    with path.open("rb") as file:
        if file.read(4) != b"PK\x03\x04":
            raise _refused(path, "is not a skops archive (a pickle is never loaded)")
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise _refused(path, f"is truncated or damaged ({error})") from None
    _check_entries(path, entries)


def _check_entries(path: Path, entries: list[zipfile.ZipInfo]) -> None:
    names = [entry.filename for entry in entries]
    if "schema.json" not in names:
        raise _refused(path, "is not a skops archive: it has no schema.json")
    if len(names) != len(set(names)) or len(names) > MAX_ENTRIES:
        raise _refused(path, "has duplicate entries, or too many")
    if sum(entry.file_size for entry in entries) > MAX_BYTES:
        raise _refused(path, f"unpacks to more than {MAX_BYTES >> 30} GiB")
    for entry in entries:
        try:
            check_key(entry.filename)
        except PathEscapeError:
            raise _refused(path, f"has the entry {entry.filename!r}, which leads out of it") from None
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise _refused(path, f"has the symbolic link {entry.filename!r}")
        if entry.file_size > MAX_RATIO * max(entry.compress_size, 1):
            raise _refused(
                path, f"has the entry {entry.filename!r}, which unpacks more than {MAX_RATIO}-fold"
            )


def _refused(path: Path, what: str) -> UntrustedModelError:
    return UntrustedModelError(f"The model file {what}.", where=path.name, mend=_RETRAIN)


def dump_archive(model: Any, path: Path) -> None:
    """Write `model` as a skops file whose bytes depend on the model alone.

    skops names entries and objects by memory address and zip stamps the time; both are replaced by counting.
    """
    buffer = io.BytesIO()
    skops.io.dump(model, buffer)
    with zipfile.ZipFile(buffer) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as target:
        numbers: dict[str, str] = {}
        schema = _renumbered(json.loads(source.read("schema.json")), numbers)
        text = json.dumps(schema, separators=(",", ":"), allow_nan=False)
        target.writestr(zipfile.ZipInfo("schema.json", _EPOCH), text)
        for name in sorted(set(source.namelist()) - {"schema.json"}, key=lambda name: _order(name, numbers)):
            target.writestr(zipfile.ZipInfo(_renamed(name, numbers), _EPOCH), source.read(name))


def _renumbered(node: Any, numbers: dict[str, str]) -> Any:
    if isinstance(node, list):
        return [_renumbered(item, numbers) for item in node]
    if not isinstance(node, dict):
        return node
    fresh: dict[str, Any] = {}
    for key, value in node.items():
        if key == "__id__" and isinstance(value, int):
            fresh[key] = int(_number(str(value), numbers))
        elif key == "file" and isinstance(value, str):
            fresh[key] = _renamed(value, numbers)
        else:
            fresh[key] = _renumbered(value, numbers)
    return fresh


def _number(old: str, numbers: dict[str, str]) -> str:
    return numbers.setdefault(old, str(len(numbers) + 1))


def _renamed(name: str, numbers: dict[str, str]) -> str:
    match = _MEMBER.match(name)
    return _number(match[1], numbers) + match[2] if match else name


def _order(name: str, numbers: dict[str, str]) -> tuple[int, str]:
    match = _MEMBER.match(name)
    return (int(_number(match[1], numbers)), "") if match else (0, name)
