"""A folder of files that appears all at once: `_complete` beside them names each with its SHA-256."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from mlops_assets.artifacts import digest_file
from mlops_assets.artifacts.digest import canonical_json
from mlops_assets.errors import ArtifactError, PathEscapeError
from mlops_assets.platforms.local.scratch import remove, scratch_path, sync_file, sync_folder

MARKER = "_complete"


def publish(folder: Path, target: Path) -> bool:
    """Move `folder` to `target` with its marker; False where `target` was published already.

    The caller holds the lock of `target`. A half folder without a marker is replaced.
    """
    if not folder.is_dir():
        raise ArtifactError(
            "There is no folder to publish.", where=str(folder), mend="Write the files first."
        )
    if published(target) is not None:
        shutil.rmtree(folder)
        return False
    _seal(folder)
    with scratch_path(target) as half:
        if target.exists():
            target.rename(half)
        _move(folder, target)
    sync_folder(target.parent)
    return True


def published(target: Path) -> Mapping[str, str] | None:
    """File name -> SHA-256 as published, where the marker and every file it names are there; else None."""
    try:
        files = json.loads((target / MARKER).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError:
        raise ArtifactError(
            "The marker of a published folder is damaged.",
            where=str(target / MARKER),
            mend="Delete the folder and materialise its asset again.",
        ) from None
    return files if all((target / name).is_file() for name in files) else None


def _seal(folder: Path) -> None:
    """Write the marker; files and names reach the disk before anything is renamed."""
    marker = folder / MARKER
    marker.unlink(missing_ok=True)
    files: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            raise PathEscapeError(
                "A link cannot be published.", where=str(path), mend="Publish the file itself."
            )
        if path.is_file():
            sync_file(path)
            files[path.relative_to(folder).as_posix()] = digest_file(path)
    marker.write_text(canonical_json(files))
    sync_file(marker)
    sync_folder(folder)


def _move(folder: Path, target: Path) -> None:
    try:
        folder.rename(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        with scratch_path(target) as copy:
            shutil.copytree(folder, copy)
            for path in copy.rglob("*"):
                if path.is_file():
                    sync_file(path)
            copy.rename(target)
        remove(folder)
