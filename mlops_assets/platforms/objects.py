"""What every cloud's object store says alike: keys below its root, objects that are not there, lost races."""

from __future__ import annotations

import logging

from mlops_assets.artifacts import ArtifactUri
from mlops_assets.errors import ArtifactError, ConflictError, PathEscapeError

_LOG = logging.getLogger(__name__)


def key_below(root: ArtifactUri, uri: ArtifactUri) -> str:
    """The key of `uri`, which lies below the root or is it.

    Raises:
        PathEscapeError: where it does not.
    """
    if uri != root:
        root.relative(uri)
    return uri.key


def demand_below(root: ArtifactUri, uri: ArtifactUri, *, deleting: bool = False) -> None:
    """Refuse to write or delete the root itself.

    Raises:
        PathEscapeError, ConflictError: where `uri` is the root.
    """
    if uri == root and deleting:
        raise PathEscapeError(
            "The whole store cannot be deleted.", where=uri, mend="Delete a prefix below it."
        )
    if uri == root:
        raise ConflictError("The root is no object.", where=uri, mend="Write to a key below it.")


def listed_uri(prefix: ArtifactUri, name: str) -> ArtifactUri | None:
    """URI of a listed key; None for folder markers, and with a warning for keys that no URI can hold."""
    if name.endswith("/") or not name:
        return None
    try:
        return prefix.join(name)
    except PathEscapeError as error:
        _LOG.warning("An object is left out, rename it: %s", error.what)
        return None


def no_object(uri: ArtifactUri) -> ArtifactError:
    """The error of a reader."""
    return ArtifactError("There is no such object.", where=uri, mend="Materialise the asset that writes it.")


def lost_write(uri: ArtifactUri, *, first: bool) -> ConflictError:
    """The error of a conditional writer; `first`: of one that wanted to be the first."""
    if first:
        return ConflictError("It exists already.", where=uri, mend="Read what the first writer wrote.")
    return ConflictError("Somebody else wrote it meanwhile.", where=uri, mend="Read it again, then write.")
