"""Loads arriving objects: which of them need it and why, and what came of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mlops_assets.artifacts import ArtifactUri, digest_of
from mlops_assets.declaration.loaded import LoadedDeclaration
from mlops_assets.errors import DataError
from mlops_assets.pipeline.accounts import Accounts
from mlops_assets.pipeline.names import Names
from mlops_assets.platforms.ports import LedgerEntry, LoadRequest, ObjectInfo, Platform

_ATTEMPTS = 3
PROVENANCE = ("_object", "_row", "_loaded_at")


@dataclass(frozen=True)
class Taken:
    """What came of one object.

    Attributes:
        reasons: reason -> rejected rows, for an object loaded now.
    """

    key: str
    loaded_now: bool
    entry: LedgerEntry
    reasons: Mapping[str, int] = field(default_factory=dict)

    @property
    def line(self) -> str:
        """What a person wants to read of it, in one line."""
        entry = self.entry
        text = f"{entry.rows_in:,} rows, {entry.loaded:,} loaded, {entry.quarantined:,} quarantined"
        worst = sorted(self.reasons.items(), key=lambda item: (-item[1], item[0]))
        listed = ", ".join(f"{count:,} {reason}" for reason, count in worst[:3]) + (
            ", …" if len(worst) > 3 else ""
        )
        return f"{text} ({listed})" if worst else text


class Intake:
    """Takes one model's arriving objects into its arrivals, quarantine and ledger.

    An object's content in the ledger is `<digest of its bytes>.<digest of how it was read>`, so that a
    changed column, check or delimiter is seen for every object without reading any.
    """

    def __init__(self, platform: Platform, loaded: LoadedDeclaration, conditions: Mapping[str, str]) -> None:
        self._platform = platform
        self._store, self._warehouse = platform.store, platform.warehouse
        self._spec = loaded.spec.arrivals
        self._names = Names(loaded.name)
        self.accounts = Accounts(platform.warehouse, self._names)
        self._conditions = conditions
        self._prefix = self._store.root.join(self._spec.prefix)
        self._reading = digest_of(
            {
                "format": self._spec.format,
                "columns": [
                    [name, item.type, item.source or name] for name, item in self._spec.columns.items()
                ],
                "conditions": dict(conditions),
                "delimiter": self._spec.delimiter,
                "null_values": list(self._spec.null_values),
            }
        )[:16]

    def uri(self, key: str) -> ArtifactUri:
        """Where the object `key` lies."""
        return self._prefix.join(key)

    # --- what has to be read again ------------------------------------------------------------------------

    def stale(self) -> dict[str, str]:
        """Ledger key -> why it must be loaded again: read under another declaration, or rows of it are gone.

        The ledger is the list of what is left to do, so a run that dies half-way is taken up by the next.

        Raises:
            DataError: where the columns changed and an object is gone, whose rows would be lost.
        """
        entries = self.accounts.mislaid(self._reading)
        if not self._columns_differ():
            return {key: why for key, why in entries.items() if self._store.head(self.uri(key)) is not None}
        known = list(self._warehouse.loaded(self._names.ledger))
        gone = [key for key in known if self._store.head(self.uri(key)) is None]
        if gone:
            raise DataError(
                f"The declared columns changed, but {len(gone)} loaded objects are gone and cannot be read "
                f"again: {_some(gone)}.",
                where=str(self._prefix),
                mend="Put them back, or take the change of arrivals.columns back.",
            )
        self._warehouse.drop(self._names.arrivals)
        return dict.fromkeys(known, "the declared columns changed")

    def _columns_differ(self) -> bool:
        columns = self._warehouse.columns(self._names.arrivals)
        if columns is None:
            return False
        there = {item.name: item.type for item in columns if item.name not in PROVENANCE}
        return there != {name: item.type for name, item in self._spec.columns.items()}

    # --- loading ------------------------------------------------------------------------------------------

    def take(self, key: str, entry: LedgerEntry | None, *, again: bool = False) -> Taken:
        """Load the object `key` unless exactly its bytes were loaded in exactly this way.

        Args:
            key: its key below the landing prefix.
            entry: the ledger's entry, or None where it was never loaded.
            again: load it whatever the ledger says.

        Raises:
            DataError: for an object that is gone, is empty, cannot be read, or does not stop changing.
        """
        uri = self.uri(key)
        again = again or self._platform.settings.force
        for _ in range(_ATTEMPTS):
            info = self._present(uri)
            if (
                entry
                and not again
                and entry.version == info.version
                and entry.content.endswith(f".{self._reading}")
            ):
                return Taken(key, False, entry)
            self._warehouse.prepare(info.size)
            content = f"{self._store.digest(uri)}.{self._reading}"
            if entry and not again and entry.content == content:
                return Taken(key, False, entry)
            request = self._request(uri, key, info.version, content)
            result = self._warehouse.load(request)
            entry = LedgerEntry(info.version, content, result.rows_in, result.loaded, result.quarantined)
            after = self._store.head(uri)
            if after is not None and after.version == info.version:
                return Taken(key, True, entry, result.reasons)
            again = True  # what was loaded may be half of one version and half of another
        raise DataError(
            f"It changed while it was read, {_ATTEMPTS} times in a row.",
            where=str(uri),
            mend="Write objects aside, rename them into the landing prefix, and run this partition again.",
        )

    def _present(self, uri: ArtifactUri) -> ObjectInfo:
        info = self._store.head(uri)
        if info is None:
            raise DataError(
                "The object is gone; rows loaded from it earlier stay.",
                where=str(uri),
                mend="Put it back and run this partition again, or delete the partition.",
            )
        if info.size == 0:
            raise DataError(
                "The object is empty: zero bytes, not even a header.",
                where=str(uri),
                mend="If it only marks a folder, delete it and its partition; else upload the file again.",
            )
        return info

    def _request(self, uri: ArtifactUri, key: str, version: str, content: str) -> LoadRequest:
        spec = self._spec
        return LoadRequest(
            relation=self._names.arrivals,
            quarantine=self._names.quarantine,
            ledger=self._names.ledger,
            uri=uri,
            key=key,
            version=version,
            content=content,
            format=spec.format,
            columns={name: item.type for name, item in spec.columns.items()},
            sources={name: item.source for name, item in spec.columns.items() if item.source is not None},
            conditions=self._conditions,
            delimiter=spec.delimiter,
            null_values=spec.null_values,
        )


def _some(keys: Sequence[str]) -> str:
    return ", ".join(keys[:5]) + (f" and {len(keys) - 5:,} more" if len(keys) > 5 else "")
