"""One exception hierarchy: every message says what was wrong, where, and what to do about it.

Nothing secret belongs in `what`, `where` or `mend`: messages travel to logs, events and metadata.
"""

from __future__ import annotations

from typing import Any


class MlopsAssetsError(Exception):
    """Base of everything this package raises on purpose.

    Args:
        what: what was wrong, one sentence.
        where: the place: a file with a line, a column, a key, a URI.
        mend: what to do about it.
    """

    def __init__(self, what: str, *, where: str | None = None, mend: str | None = None) -> None:
        self.what = what
        self.where = where
        self.mend = mend
        super().__init__(what, where, mend)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled by its three parts, so that it can come from another process."""
        return _again, (type(self), self.what, self.where, self.mend)

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text} Mend: {self.mend}" if self.mend else text


class SettingsError(MlopsAssetsError):
    """A setting is missing or wrong."""


class DeclarationError(MlopsAssetsError):
    """A declaration (defs.yaml, SQL, train.py) is wrong."""


class DataError(MlopsAssetsError):
    """Data that arrived cannot be used as it is."""


class ArtifactError(MlopsAssetsError):
    """An artifact is missing, half-written, or not what its digest says."""


class PathEscapeError(ArtifactError):
    """A key or path would leave the prefix it is confined to."""


class ConflictError(MlopsAssetsError):
    """A conditional write lost: somebody else wrote first."""


class StorageError(MlopsAssetsError):
    """The object store or the warehouse could not read or write: a full disk, a lock that is not released."""


class UntrustedModelError(ArtifactError):
    """A model file holds types that nobody allowed, or is not in a format that loads without running code."""


class JobFailedError(MlopsAssetsError):
    """A training, evaluation or scoring job ended without its result."""


class GateRefusedError(MlopsAssetsError):
    """Registration was asked for a candidate without a valid decision that lets it pass."""


class SignatureError(MlopsAssetsError):
    """Rows do not match the model's signature; the message names the column."""


class DeploymentError(MlopsAssetsError):
    """A model version could not take over its endpoint; what served before goes on serving."""


class NotInstalledError(SettingsError):
    """The chosen platform's packages are not installed."""


def _again(kind: type[MlopsAssetsError], what: str, where: str | None, mend: str | None) -> MlopsAssetsError:
    return kind(what, where=where, mend=mend)
