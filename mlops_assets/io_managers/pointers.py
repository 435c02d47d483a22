"""Versions of an asset in the object store: immutable folders named by content, and a pointer to the latest.

    assets/<asset key>/latest.json                            {"version": …, "files": {name: SHA-256}}
    assets/<asset key>/<version>/…
    assets/<asset key>/partition=<key>/latest.json and <version>/…

The pointer is written last, so a write that dies midway leaves what was there before.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from mlops_assets.artifacts import ArtifactUri, digest_file, digest_of
from mlops_assets.errors import ArtifactError
from mlops_assets.platforms.ports import ObjectStore


@dataclass(frozen=True)
class Stored:
    """One version of an asset, or of a partition of it.

    Attributes:
        version: digest of `files`.
        uri: the folder.
        files: name -> SHA-256.
    """

    version: str
    uri: ArtifactUri
    files: Mapping[str, str]

    def file(self, name: str) -> ArtifactUri:
        """The URI of one of its files."""
        return self.uri.join(name)


class Pointers:
    """The versions of every asset of one object store."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def folder(self, asset: Sequence[str], partition: str | None) -> ArtifactUri:
        """Where an asset's versions, or those of one partition, lie."""
        folder = self._store.root.join("assets", *asset)
        # No partition key can lead out of the folder: slashes are escaped, and dots have company.
        return folder if partition is None else folder.join(f"partition={quote(partition, safe='')}")

    def publish(self, asset: Sequence[str], partition: str | None, files: Path) -> Stored:
        """Make a local folder's files the latest version; the folder is consumed."""
        digests = {item.name: digest_file(item) for item in sorted(files.iterdir())}
        version = digest_of(digests)[:32]
        folder = self.folder(asset, partition)
        uri = folder.join(version)
        self._store.publish(files, uri)
        pointer = {"version": version, "files": digests}
        self._store.write(folder.join("latest.json"), json.dumps(pointer, sort_keys=True).encode())
        return Stored(version, uri, digests)

    def latest(self, asset: Sequence[str], partition: str | None) -> Stored | None:
        """The latest version, or None where nothing was ever stored."""
        folder = self.folder(asset, partition)
        pointer = folder.join("latest.json")
        if self._store.head(pointer) is None:
            return None
        try:
            document = json.loads(self._store.read(pointer))
            version, files = str(document["version"]), dict(document["files"])
        except (ValueError, KeyError, TypeError):
            raise ArtifactError(
                "The pointer to the latest version cannot be read.",
                where=str(pointer),
                mend="Materialise the asset again.",
            ) from None
        return Stored(version, folder.join(version), files)

    def required(self, asset: Sequence[str], partition: str | None) -> Stored:
        """The latest version.

        Raises:
            ArtifactError: where nothing was ever stored.
        """
        stored = self.latest(asset, partition)
        if stored is None:
            name = "/".join(asset) + (f", partition {partition}" if partition is not None else "")
            raise ArtifactError("It has not been materialised yet.", where=name, mend="Materialise it first.")
        return stored
