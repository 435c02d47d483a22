"""Google's clients as every adapter uses them, and Google's errors in this package's words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from mlops_assets.errors import MlopsAssetsError, SettingsError, StorageError

if TYPE_CHECKING:
    from google.api_core.exceptions import GoogleAPICallError
    from google.api_core.retry import Retry
    from google.cloud.storage import Client

# Seconds before a call that was throttled or met a fault of the service is tried again (growing), and in all.
FIRST_WAIT = 0.3
PATIENCE = 120.0
# Seconds for a connection, and between two pieces of an answer.
TIMEOUT = (10, 60)
_SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)
_THROTTLED = ("rateLimitExceeded", "quotaExceeded", "userRateLimitExceeded", "jobRateLimitExceeded")
_MENDS = {
    "rateLimitExceeded": "Wait a little, or spread the load over more prefixes; then run again.",
    "quotaExceeded": "Ask for a higher quota (console: IAM & Admin, Quotas), or wait until it is free again.",
}


@lru_cache(maxsize=1)
def credentials() -> tuple[Any, str | None]:
    """Application Default Credentials, and the project that they name.

    Raises:
        SettingsError: where none are found.
    """
    import google.auth

    with speaking("Google Cloud"):
        return google.auth.default(scopes=_SCOPES)


@lru_cache(maxsize=8)
def storage_client(project: str | None) -> Client:
    """The client of Cloud Storage, one per process: it is safe to share between threads.

    Raises:
        SettingsError: where no credentials are found.
    """
    from google.cloud import storage

    with speaking("Cloud Storage"):
        return storage.Client(project=project)


def retry() -> Retry:
    """What every call of Cloud Storage is tried again by."""
    from google.cloud.storage.retry import DEFAULT_RETRY

    return DEFAULT_RETRY.with_delay(initial=FIRST_WAIT, maximum=30, multiplier=2).with_timeout(PATIENCE)


def said(error: GoogleAPICallError) -> tuple[str, str]:
    """Google's word for an error, and its message; the address of the call is in neither.

    The address of a resumable upload is a capability.
    """
    found: list[dict[str, Any]] = [dict(item) for item in error.errors]
    if not found and error.response is not None:
        try:
            body = error.response.json()["error"]
            found = body.get("errors") or [{"reason": body.get("status"), "message": body.get("message")}]
        except (ValueError, KeyError, TypeError, AttributeError):
            found = []
    first = found[0] if found else {}
    return str(first.get("reason") or error.code or ""), str(first.get("message") or "")


@contextmanager
def speaking(where: str, kind: type[MlopsAssetsError] = StorageError) -> Iterator[None]:
    """Say what Google refused and where; credentials are in neither.

    Args:
        where: what the calls are about.
        kind: the error for what is neither a lack of credentials nor of permission.

    Raises:
        SettingsError: without credentials, or where they do not permit the call.
        MlopsAssetsError: of `kind`, for any other answer, and where nobody answers.
    """
    from google.api_core.exceptions import GoogleAPICallError, RetryError
    from google.auth.exceptions import GoogleAuthError, TransportError
    from google.cloud.storage.exceptions import DataCorruption
    from requests.exceptions import RequestException

    try:
        yield
    except GoogleAPICallError as error:
        raise _refusal(error, where, kind) from error
    except DataCorruption as error:
        raise kind(
            "The bytes were damaged on their way: checksums differ.", where=where, mend="Run it again."
        ) from error
    except (RetryError, RequestException, TransportError, ConnectionError) as error:
        raise kind(
            f"Google Cloud did not answer ({type(error).__name__}).",
            where=where,
            mend="Check the network and the location.",
        ) from error
    except GoogleAuthError as error:
        raise SettingsError(
            f"Google Cloud's credentials are missing or refused ({type(error).__name__}).",
            where=where,
            mend="Run: gcloud auth application-default login, or give this host a service account.",
        ) from error


def _refusal(error: GoogleAPICallError, where: str, kind: type[MlopsAssetsError]) -> MlopsAssetsError:
    reason, message = said(error)
    if error.code in (401, 403) and reason not in _THROTTLED:
        return SettingsError(
            f"Google Cloud denies the call ({reason}): {message}",
            where=where,
            mend="Allow it to the caller's service account, as the roles in deploy/gcp do.",
        )
    mend = _MENDS.get(reason, "Run it again; it changed nothing.")
    if "bucket does not exist" in message:
        mend = "Create the bucket, or correct MLOPS_GCP_ROOT."
    return kind(f"The call failed: {reason} {message}".strip(), where=where, mend=mend)
