"""What every platform's endpoint says of a deployment: one that is stopped, one that did not take over."""

from __future__ import annotations

from collections.abc import Mapping

from mlops_assets.artifacts import ArtifactUri, Deployment
from mlops_assets.errors import DeploymentError, MlopsAssetsError
from mlops_assets.platforms.ports import ObjectStore


def stopped(model: str, version: int | None, stopped_by: str | None, how: str = "not running") -> Deployment:
    """A model that nothing serves, and what starts it.

    Args:
        model, version: what was deployed last.
        stopped_by: the person who stopped it.
        how: why nothing serves where no person stopped it.
    """
    why = f"stopped by {stopped_by}" if stopped_by else how
    return Deployment(
        model=model,
        version=version,
        status="stopped",
        message=f"{why}; start it with: mlops-assets endpoints restart {model}",
        stopped_by=stopped_by,
    )


def not_taken_over(
    version: int, before: Deployment, error: MlopsAssetsError, log: str | None = None
) -> DeploymentError:
    """The error of a version that did not take over: why, what serves now, and how its server's log ends.

    Args:
        version: the one that failed.
        before: what its endpoint's status is now.
        error: what went wrong.
        log: the last lines of the new server.
    """
    kept = "Nothing serves this model now."
    if before.status == "serving":
        kept = f"Version {before.version} goes on serving at {before.url}."
    where = f" ({error.where})" if error.where else ""
    tail = f"\nIts log ends:\n{log}" if log is not None else ""
    return DeploymentError(
        f"Version {version} did not take over{where}: {error.what} {kept}{tail}",
        where=f"endpoint of {before.model}",
        mend=error.mend or "Mend what the log names, then materialise the endpoint again.",
    )


def check_files(store: ObjectStore, uri: ArtifactUri, files: Mapping[str, str]) -> None:
    """Refuse what is not registered before a server is paid for; the server checks the bytes.

    Args:
        store: where the files lie.
        uri: their folder.
        files: file name -> SHA-256, as registered.

    Raises:
        DeploymentError: naming the first file that is not.
    """
    there = store.published(uri) or {}
    for name in sorted(files.keys() | there.keys()):
        if there.get(name) != files.get(name):
            raise DeploymentError(
                f"{name} is not the registered file.",
                where=str(uri),
                mend="Register the candidate again, and find out who changed it.",
            )
