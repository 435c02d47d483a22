"""SageMaker's model registry: package groups, their versions, approval and customer metadata."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from threading import RLock
from typing import Any, ClassVar

from moto.core.responses import ActionResult, BaseResponse, EmptyResult
from moto.sagemaker.exceptions import ConflictException, ValidationError

from mlops_assets_tests.standins.aws.jobs import ACCOUNT, now
from mlops_assets_tests.standins.aws.registry_limits import (
    check_group,
    check_metadata,
    check_package,
    check_update,
)

Record = dict[str, Any]

_MOST_ON_A_PAGE = 100
_UPDATED_AS_GIVEN = (
    "ModelApprovalStatus",
    "ApprovalDescription",
    "ModelPackageRegistrationType",
    "InferenceSpecification",
    "SourceUri",
    "ModelCard",
    "ModelLifeCycle",
)


class ModelPackages:
    """Every group and version of one server; a version has no ModelPackageName, as the service's has none."""

    def __init__(self, region: str) -> None:
        self._prefix = f"arn:aws:sagemaker:{region}:{ACCOUNT}"
        self._groups: dict[str, Record] = {}
        self._packages: dict[str, Record] = {}
        self._tokens: dict[str, str] = {}
        self._numbers: dict[str, int] = {}
        self._lock = RLock()

    # --- groups -------------------------------------------------------------------------------------------

    def create_group(self, request: Mapping[str, Any]) -> str:
        """The ARN of a new group; a name is used once."""
        check_group(request)
        name = request["ModelPackageGroupName"]
        with self._lock:
            if name in self._groups:
                arn = self._groups[name]["ModelPackageGroupArn"]
                raise ValidationError(message=f"Model Package Group already exists: {arn}")
            self._groups[name] = {
                **{key: value for key, value in request.items() if key != "Tags"},
                "ModelPackageGroupArn": f"{self._prefix}:model-package-group/{name}",
                "ModelPackageGroupStatus": "Completed",
                "CreationTime": now(),
                "CreatedBy": {},
            }
            return self._groups[name]["ModelPackageGroupArn"]

    def group(self, name: str) -> Record:
        """What DescribeModelPackageGroup answers, by name or ARN."""
        name = name.rpartition("/")[2]
        with self._lock:
            if name not in self._groups:
                arn = f"{self._prefix}:model-package-group/{name}"
                raise ValidationError(message=f"ModelPackageGroup {arn} does not exist.")
            return copy.deepcopy(self._groups[name])

    def groups(self) -> list[Record]:
        """Every group, oldest first."""
        with self._lock:
            return copy.deepcopy(list(self._groups.values()))

    def delete_group(self, name: str) -> None:
        """Remove an empty group."""
        with self._lock:
            name = self.group(name)["ModelPackageGroupName"]
            if any(item["ModelPackageGroupName"] == name for item in self._packages.values()):
                raise ConflictException(
                    "Model Package Group cannot be deleted because it still contains Model Packages."
                )
            del self._groups[name]

    # --- versions -----------------------------------------------------------------------------------------

    def create(self, request: Mapping[str, Any]) -> str:
        """The ARN of a new version; the same client token again gives the same one."""
        check_package(request)
        token = request["ClientToken"]
        with self._lock:
            if token in self._tokens:
                return self._tokens[token]
            name = self.group(request["ModelPackageGroupName"])["ModelPackageGroupName"]
            number = self._numbers[name] = self._numbers.get(name, 0) + 1
            arn = f"{self._prefix}:model-package/{name}/{number}"
            self._packages[arn] = {
                "ModelApprovalStatus": "PendingManualApproval",
                **copy.deepcopy({k: v for k, v in request.items() if k not in ("Tags", "ClientToken")}),
                "ModelPackageGroupName": name,
                "ModelPackageVersion": number,
                "ModelPackageArn": arn,
                "ModelPackageStatus": "Completed",
                "ModelPackageStatusDetails": {"ValidationStatuses": []},
                "CreationTime": now(),
                "LastModifiedTime": now(),
                "CreatedBy": {},
            }
            self._tokens[token] = arn
            return arn

    def package(self, name: str) -> Record:
        """What DescribeModelPackage answers, by ARN or `group/version`."""
        with self._lock:
            return copy.deepcopy(self._found(name))

    def packages(self) -> list[Record]:
        """Every version of every group, oldest first."""
        with self._lock:
            return copy.deepcopy(list(self._packages.values()))

    def update(self, request: Mapping[str, Any]) -> str:
        """Change a version, everything or nothing; metadata is merged, then what is to go is removed."""
        check_update(request)
        with self._lock:
            found = self._found(request["ModelPackageArn"])
            metadata = {
                **found.get("CustomerMetadataProperties", {}),
                **request.get("CustomerMetadataProperties", {}),
            }
            for key in request.get("CustomerMetadataPropertiesToRemove", []):
                metadata.pop(key, None)
            check_metadata(metadata)
            found |= {key: request[key] for key in _UPDATED_AS_GIVEN if key in request}
            found |= {"CustomerMetadataProperties": metadata, "LastModifiedTime": now()}
            return found["ModelPackageArn"]

    def delete(self, name: str) -> None:
        """Remove a version; its number is not used again."""
        with self._lock:
            del self._packages[self._found(name)["ModelPackageArn"]]

    def _found(self, name: str) -> Record:
        arn = name if name.startswith("arn:") else f"{self._prefix}:model-package/{name}"
        if arn not in self._packages:
            raise ValidationError(message=f"ModelPackage {arn} does not exist.")
        return self._packages[arn]


class RegistryOperations(BaseResponse):
    """The operations, one method each, as moto's dispatcher calls them."""

    packages: ClassVar[ModelPackages]

    def create_model_package_group(self) -> ActionResult:
        """CreateModelPackageGroup."""
        arn = self.packages.create_group(self.params)
        self.keep_tags(arn, self.params.get("Tags") or [])
        return ActionResult({"ModelPackageGroupArn": arn})

    def describe_model_package_group(self) -> ActionResult:
        """DescribeModelPackageGroup."""
        return ActionResult(self.packages.group(self.params["ModelPackageGroupName"]))

    def list_model_package_groups(self) -> ActionResult:
        """ListModelPackageGroups."""
        contains = self.params.get("NameContains", "")
        kept = [item for item in self.packages.groups() if contains in item["ModelPackageGroupName"]]
        return self._page(kept, "ModelPackageGroupName", "ModelPackageGroupSummaryList")

    def delete_model_package_group(self) -> ActionResult:
        """DeleteModelPackageGroup."""
        self.packages.delete_group(self.params["ModelPackageGroupName"])
        return EmptyResult()

    def create_model_package(self) -> ActionResult:
        """CreateModelPackage, of versions in groups alone."""
        arn = self.packages.create(self.params)
        self.keep_tags(arn, self.params.get("Tags") or [])
        return ActionResult({"ModelPackageArn": arn})

    def describe_model_package(self) -> ActionResult:
        """DescribeModelPackage."""
        return ActionResult(self.packages.package(self.params["ModelPackageName"]))

    def update_model_package(self) -> ActionResult:
        """UpdateModelPackage."""
        return ActionResult({"ModelPackageArn": self.packages.update(self.params)})

    def list_model_packages(self) -> ActionResult:
        """ListModelPackages: without a group, those of none, and there are none."""
        group = self.params.get("ModelPackageGroupName")
        name = self.packages.group(group)["ModelPackageGroupName"] if group else None
        status, contains = self.params.get("ModelApprovalStatus"), self.params.get("NameContains", "")
        kept = [
            item
            for item in self.packages.packages()
            if item["ModelPackageGroupName"] == name
            and status in (None, item["ModelApprovalStatus"])
            and contains in item["ModelPackageGroupName"]
        ]
        return self._page(kept, "ModelPackageArn", "ModelPackageSummaryList")

    def delete_model_package(self) -> ActionResult:
        """DeleteModelPackage."""
        self.packages.delete(self.params["ModelPackageName"])
        return EmptyResult()

    def _page(self, records: list[Record], name: str, answer: str) -> ActionResult:
        """One page of summaries, by the request's times and order (latest first where it names none)."""
        after, before = (self._utc(f"CreationTime{edge}") for edge in ("After", "Before"))
        kept = [
            item
            for item in records
            if (after is None or item["CreationTime"] > after)
            and (before is None or item["CreationTime"] < before)
        ]
        order = name if self.params.get("SortBy") == "Name" else "CreationTime"
        kept.sort(key=lambda item: item[order], reverse=self.params.get("SortOrder") != "Ascending")
        start = int(self.params.get("NextToken") or 0)
        end = start + min(self.params.get("MaxResults", 10), _MOST_ON_A_PAGE)
        further = {"NextToken": str(end)} if end < len(kept) else {}
        return ActionResult({answer: [dict(_summary(item)) for item in kept[start:end]], **further})

    def _utc(self, member: str) -> datetime | None:
        """A time of the request; moto reads it as UTC and does not say so."""
        given = self.params.get(member)
        return given and given.replace(tzinfo=UTC)

    def keep_tags(self, arn: str, tags: list[dict[str, str]]) -> None:
        """Set tags of a resource; `TagOperations` does."""
        raise NotImplementedError


_SUMMARISED = (
    "ModelPackageGroupName",
    "ModelPackageVersion",
    "ModelPackageArn",
    "ModelPackageDescription",
    "ModelPackageStatus",
    "ModelApprovalStatus",
    "ModelLifeCycle",
    "ModelPackageGroupArn",
    "ModelPackageGroupDescription",
    "ModelPackageGroupStatus",
    "CreationTime",
)


def _summary(record: Record) -> Iterator[tuple[str, Any]]:
    return ((key, record[key]) for key in _SUMMARISED if key in record)
