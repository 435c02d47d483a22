"""boto3 clients as every adapter uses them, and AWS's errors in this package's words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from mlops_assets.errors import MlopsAssetsError, SettingsError, StorageError

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

# Calls that were throttled or met a fault of the service are tried this often, at growing distances.
ATTEMPTS = 8
_CONNECTIONS = 32
_MISSING = ("404", "NoSuchKey", "NotFound", "ResourceNotFound", "ResourceNotFoundException")
_MENDS = {
    "ResourceLimitExceeded": "Ask for a higher quota (console: Service Quotas), or set a smaller instance.",
    "NoSuchBucket": "Create the bucket, or correct MLOPS_AWS_ROOT.",
    "ExpiredToken": "Log in again: the credentials have expired.",
    "ExpiredTokenException": "Log in again: the credentials have expired.",
    "SlowDown": "Wait a little, or spread the load over more prefixes; then run again.",
}
_DENIED = ("403", "AccessDenied", "AccessDeniedException", "KMS.AccessDeniedException")


@lru_cache(maxsize=32)
def client(service: str, region: str | None) -> Any:
    """A client of one service, one per process: clients are safe to share between threads.

    Raises:
        SettingsError: where no region is known.
    """
    from boto3.session import Session
    from botocore.config import Config
    from botocore.exceptions import NoRegionError

    config = Config(
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
        max_pool_connections=_CONNECTIONS,
        connect_timeout=10,
        user_agent_extra="mlops-assets",
    )
    try:
        return Session().client(service, region_name=region, config=config)
    except NoRegionError:
        raise SettingsError(
            "No AWS region is set.", where="environment", mend="Set MLOPS_AWS_REGION or AWS_DEFAULT_REGION."
        ) from None


def code_of(error: ClientError) -> str:
    """The service's error code."""
    return str(error.response.get("Error", {}).get("Code", ""))


def is_missing(error: ClientError) -> bool:
    """Whether the service says that there is no such thing."""
    return code_of(error) in _MISSING


@contextmanager
def speaking(where: str, kind: type[MlopsAssetsError] = StorageError) -> Iterator[None]:
    """Say what AWS refused and where; credentials are in neither.

    Args:
        where: what the calls are about.
        kind: the error for what is neither a lack of credentials nor of permission.

    Raises:
        SettingsError: without credentials, or where they do not permit the call.
        MlopsAssetsError: of `kind`, for any other answer, and where nobody answers.
    """
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

    try:
        yield
    except NoCredentialsError:
        raise SettingsError(
            "No AWS credentials were found.",
            where=where,
            mend="Run: aws configure, or give this host a role.",
        ) from None
    except ClientError as error:
        code, call = code_of(error), error.operation_name
        if code in _DENIED:
            raise SettingsError(
                f"AWS denies {call} ({code}).",
                where=where,
                mend=f"Allow {call} to the caller's role, as the policies in deploy/aws do.",
            ) from error
        message = error.response.get("Error", {}).get("Message", "")
        mend = _MENDS.get(code, "Run it again; it changed nothing.")
        raise kind(f"{call} failed: {code} {message}".strip(), where=where, mend=mend) from error
    except BotoCoreError as error:
        raise kind(
            f"AWS did not answer: {error}", where=where, mend="Check the network and the region."
        ) from error
