"""The stand-in's own fidelity: SageMaker's model registry as its documentation and clients tell."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from mlops_assets_tests.standins.aws.fixtures import Aws
from mlops_assets_tests.standins.aws.server import IMAGE

SPECIFICATION = {"Containers": [{"Image": IMAGE}]}


@pytest.fixture
def sagemaker(aws: Aws) -> Any:
    return aws.server.client("sagemaker")


@pytest.fixture
def group(aws: Aws, sagemaker: Any) -> str:
    sagemaker.create_model_package_group(ModelPackageGroupName=aws.bucket)
    return aws.bucket


def create(sagemaker: Any, group: str, **more: Any) -> str:
    request = {"ModelPackageGroupName": group, "InferenceSpecification": SPECIFICATION, **more}
    return sagemaker.create_model_package(**request)["ModelPackageArn"]


def test_versions_count_from_one_and_a_deleted_number_is_not_used_again(sagemaker: Any, group: str) -> None:
    first, second = create(sagemaker, group), create(sagemaker, group)
    assert (first[-2:], second[-2:]) == ("/1", "/2")
    sagemaker.delete_model_package(ModelPackageName=second)
    assert create(sagemaker, group)[-2:] == "/3"
    shown = sagemaker.describe_model_package(ModelPackageName=first)
    assert (shown["ModelPackageVersion"], shown["ModelApprovalStatus"]) == (1, "PendingManualApproval")
    assert "ModelPackageName" not in shown


def test_a_client_token_makes_one_version(sagemaker: Any, group: str) -> None:
    token = uuid.uuid4().hex
    assert create(sagemaker, group, ClientToken=token) == create(sagemaker, group, ClientToken=token)
    assert create(sagemaker, group) != create(sagemaker, group)
    assert len(sagemaker.list_model_packages(ModelPackageGroupName=group)["ModelPackageSummaryList"]) == 3


def test_metadata_is_merged_and_removed_and_the_rest_stays(sagemaker: Any, group: str) -> None:
    arn = create(sagemaker, group, CustomerMetadataProperties={"a": "1", "b": "2"})
    sagemaker.update_model_package(ModelPackageArn=arn, ModelApprovalStatus="Approved")
    sagemaker.update_model_package(
        ModelPackageArn=arn,
        CustomerMetadataProperties={"b": "3", "c": "4"},
        CustomerMetadataPropertiesToRemove=["a"],
    )
    shown = sagemaker.describe_model_package(ModelPackageName=arn)
    assert shown["CustomerMetadataProperties"] == {"b": "3", "c": "4"}
    assert shown["ModelApprovalStatus"] == "Approved"


@pytest.mark.parametrize(
    "metadata",
    [
        {"key": "x" * 257},
        {"k" * 129: "x"},
        {"key": '{"json":1}'},
        {f"key{n}": "x" for n in range(51)},
    ],
)
def test_metadata_that_is_too_much_is_refused_and_changes_nothing(
    sagemaker: Any, group: str, metadata: dict[str, str]
) -> None:
    arn = create(sagemaker, group, CustomerMetadataProperties={"a": "1"})
    with pytest.raises(ClientError, match="customerMetadataProperties"):
        sagemaker.update_model_package(
            ModelPackageArn=arn, ModelApprovalStatus="Approved", CustomerMetadataProperties=metadata
        )
    shown = sagemaker.describe_model_package(ModelPackageName=arn)
    assert shown["CustomerMetadataProperties"] == {"a": "1"}
    assert shown["ModelApprovalStatus"] == "PendingManualApproval"


def test_fifty_entries_are_allowed_and_not_one_more_by_merging(sagemaker: Any, group: str) -> None:
    arn = create(sagemaker, group, CustomerMetadataProperties={f"key{n}": "x" for n in range(50)})
    with pytest.raises(ClientError, match="at most 50"):
        sagemaker.update_model_package(ModelPackageArn=arn, CustomerMetadataProperties={"more": "x"})


def test_lists_come_in_pages_sorted_and_filtered(sagemaker: Any, group: str) -> None:
    arns = [create(sagemaker, group) for _ in range(5)]
    sagemaker.update_model_package(ModelPackageArn=arns[2], ModelApprovalStatus="Rejected")

    def listed(**asked: Any) -> list[int]:
        pages = sagemaker.get_paginator("list_model_packages").paginate(
            ModelPackageGroupName=group, PaginationConfig={"PageSize": 2}, **asked
        )
        return [item["ModelPackageVersion"] for page in pages for item in page["ModelPackageSummaryList"]]

    assert listed() == [5, 4, 3, 2, 1]
    assert listed(SortOrder="Ascending", SortBy="Name") == [1, 2, 3, 4, 5]
    assert listed(ModelApprovalStatus="Rejected") == [3]
    now, day = datetime.now(UTC), timedelta(days=1)
    assert listed(CreationTimeAfter=now - day, CreationTimeBefore=now + day) == [5, 4, 3, 2, 1]
    assert listed(CreationTimeAfter=now + day) == listed(CreationTimeBefore=now - day) == []
    assert sagemaker.list_model_packages()["ModelPackageSummaryList"] == []


def test_groups_are_made_once_listed_and_deleted_when_empty(sagemaker: Any, group: str) -> None:
    with pytest.raises(ClientError, match=r"ValidationException.*already exists"):
        sagemaker.create_model_package_group(ModelPackageGroupName=group)
    found = sagemaker.list_model_package_groups(NameContains=group)["ModelPackageGroupSummaryList"]
    assert [item["ModelPackageGroupName"] for item in found] == [group]
    arn = create(sagemaker, group)
    with pytest.raises(ClientError, match=r"ConflictException.*still contains"):
        sagemaker.delete_model_package_group(ModelPackageGroupName=group)
    sagemaker.delete_model_package(ModelPackageName=arn)
    sagemaker.delete_model_package_group(ModelPackageGroupName=group)
    with pytest.raises(ClientError, match=r"ValidationException.*does not exist"):
        sagemaker.describe_model_package_group(ModelPackageGroupName=group)


@pytest.mark.parametrize("name", ["with_underscore", "-dash", "x" * 64, "end-"])
def test_a_name_that_is_none_is_refused(sagemaker: Any, name: str) -> None:
    with pytest.raises(ClientError, match="modelPackageGroupName"):
        sagemaker.create_model_package_group(ModelPackageGroupName=name)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"Tags": [{"Key": "a", "Value": "b"}]}, "not supported for versioned"),
        ({"ClientToken": "x" * 37}, "clientToken"),
        ({"ModelApprovalStatus": "approved"}, "modelApprovalStatus"),
        ({"ModelPackageDescription": "x" * 1025}, "modelPackageDescription"),
        ({"ModelPackageGroupName": "nobodys"}, "does not exist"),
    ],
)
def test_a_version_that_the_service_would_refuse_is_refused(
    sagemaker: Any, group: str, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(ClientError, match=said):
        create(sagemaker, group, **changes)


@pytest.mark.parametrize("value", ["x" * 257, "[1,2]"])
def test_a_tag_that_the_service_would_refuse_is_refused(sagemaker: Any, group: str, value: str) -> None:
    arn = sagemaker.describe_model_package_group(ModelPackageGroupName=group)["ModelPackageGroupArn"]
    with pytest.raises(ClientError, match="tags"):
        sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "a", "Value": value}])
    assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == []


def test_what_is_not_there_is_said(sagemaker: Any, group: str) -> None:
    for call in ("describe_model_package", "delete_model_package"):
        with pytest.raises(ClientError, match=r"ValidationException.*does not exist"):
            getattr(sagemaker, call)(ModelPackageName=f"{group}/7")
