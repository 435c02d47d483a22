"""What SageMaker's model registry refuses of a request and botocore lets pass."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from moto.sagemaker.exceptions import ValidationError

_NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")
_TOKEN = re.compile(r"[a-zA-Z0-9-]{1,36}")
# \p{L}\p{Z}\p{N} of the service's pattern are word characters and spaces; \w has the underscore too.
_PLAIN = re.compile(r"[\w\s.:/=+\-@]*")
_STATES = ("Approved", "Rejected", "PendingManualApproval")
_MOST_ENTRIES, _KEY, _VALUE, _DESCRIPTION = 50, 128, 256, 1_024


def check_group(request: Mapping[str, Any]) -> None:
    """Refuse a group that the service would."""
    _name("modelPackageGroupName", request["ModelPackageGroupName"])
    _description(request, "ModelPackageGroupDescription")
    check_tags(request.get("Tags") or [])


def check_package(request: Mapping[str, Any]) -> None:
    """Refuse a new version that the service would; packages without a group are not served."""
    if "ModelPackageName" in request or "ModelPackageGroupName" not in request:
        raise ValidationError(message="Only versions in a model package group are served by the stand-in.")
    _demand(
        _TOKEN.fullmatch(request["ClientToken"]),
        f"clientToken' failed to satisfy constraint: pattern {_TOKEN.pattern}",
    )
    if request.get("Tags"):
        raise ValidationError(
            message="Tags are not supported for versioned model packages; tag the model package group."
        )
    if "InferenceSpecification" not in request and "SourceUri" not in request:
        raise ValidationError(message="Either InferenceSpecification or SourceUri must be provided.")
    _description(request, "ModelPackageDescription")
    _inference(request)
    _status(request)
    check_metadata(request.get("CustomerMetadataProperties", {}))


def check_update(request: Mapping[str, Any]) -> None:
    """Refuse a change that the service would."""
    _description(request, "ApprovalDescription")
    _inference(request)
    _status(request)
    check_metadata(request.get("CustomerMetadataProperties", {}))


def check_metadata(entries: Mapping[str, str]) -> None:
    """Refuse customer metadata that is too much, too long or of other characters."""
    member = "customerMetadataProperties' failed to satisfy constraint:"
    _demand(len(entries) <= _MOST_ENTRIES, f"{member} Member must have at most {_MOST_ENTRIES} entries")
    for key, value in entries.items():
        _demand(1 <= len(key) <= _KEY and _PLAIN.fullmatch(key), f"{member} Map keys ({key[:_KEY]})")
        _demand(1 <= len(value) <= _VALUE and _PLAIN.fullmatch(value), f"{member} Map value ({key})")


def check_tags(tags: Sequence[Mapping[str, str]]) -> None:
    """Refuse tags that are too many, too long or of other characters."""
    _demand(len(tags) <= _MOST_ENTRIES, "tags' failed to satisfy constraint: at most 50")
    for tag in tags:
        _demand(
            len(tag["Key"]) <= _KEY and len(tag["Value"]) <= _VALUE and _PLAIN.fullmatch(tag["Value"]),
            f"tags' failed to satisfy constraint: {tag['Key']}",
        )


def _inference(request: Mapping[str, Any]) -> None:
    for container in request.get("InferenceSpecification", {}).get("Containers", []):
        _demand(
            re.fullmatch(r"\S{1,255}", container.get("Image", "")),
            "inferenceSpecification.containers.image' failed to satisfy constraint: pattern [\\S]+",
        )


def _status(request: Mapping[str, Any]) -> None:
    _demand(
        request.get("ModelApprovalStatus", _STATES[0]) in _STATES,
        f"modelApprovalStatus' failed to satisfy constraint: Member must satisfy enum value set: {_STATES}",
    )


def _description(request: Mapping[str, Any], member: str) -> None:
    _demand(
        len(request.get(member, "")) <= _DESCRIPTION,
        f"{member[0].lower()}{member[1:]}' failed to satisfy constraint: Member must have length less than "
        f"or equal to {_DESCRIPTION}",
    )


def _name(member: str, name: str) -> None:
    _demand(_NAME.fullmatch(name), f"{member}' failed to satisfy constraint: pattern {_NAME.pattern}")


def _demand(holds: object, problem: str) -> None:
    if not holds:
        raise ValidationError(message=f"1 validation error detected: Value at '{problem}")
