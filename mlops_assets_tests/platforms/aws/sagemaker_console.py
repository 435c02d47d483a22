"""What a person does to a model's versions in SageMaker, with the service's own client."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mlops_assets.platforms.aws.registry import SageMakerRegistry
from mlops_assets.platforms.ports import Platform
from mlops_assets_tests.standins.aws.fixtures import Aws


@dataclass(frozen=True)
class Console:
    """The service's view of the model `homes` on one platform."""

    aws: Aws
    platform: Platform

    @property
    def client(self) -> Any:
        """SageMaker's client, which nobody of ours made."""
        return self.aws.server.client("sagemaker")

    @property
    def group(self) -> str:
        """The group's name, as the platform tells people."""
        assert isinstance(self.platform.registry, SageMakerRegistry)
        return self.platform.registry.console("homes").split()[-1]

    def arn(self, version: int) -> str:
        """A version's ARN."""
        listed = self.client.list_model_packages(ModelPackageGroupName=self.group, MaxResults=100)
        found = {item["ModelPackageVersion"]: item for item in listed["ModelPackageSummaryList"]}
        return found[version]["ModelPackageArn"]

    def shown(self, version: int) -> dict[str, Any]:
        """What DescribeModelPackage answers."""
        return self.client.describe_model_package(ModelPackageName=self.arn(version))

    def status(self, version: int) -> tuple[str, str]:
        """The approval status and what stands beside it."""
        shown = self.shown(version)
        return shown["ModelApprovalStatus"], shown["ApprovalDescription"]

    def decide(self, version: int, status: str, reason: str = "seen") -> None:
        """Set the approval status, as the console's button does."""
        self.client.update_model_package(
            ModelPackageArn=self.arn(version), ModelApprovalStatus=status, ApprovalDescription=reason
        )

    def edit(self, version: int, **metadata: str) -> None:
        """Set customer metadata of the registry; `state="approved"` edits `mlops.state`."""
        entries = {f"mlops.{key}": value for key, value in metadata.items()}
        self.client.update_model_package(
            ModelPackageArn=self.arn(version), CustomerMetadataProperties=entries
        )

    def tag(self, version: int) -> None:
        """Move the champion's tag."""
        arn = self.client.describe_model_package_group(ModelPackageGroupName=self.group)
        self.client.add_tags(
            ResourceArn=arn["ModelPackageGroupArn"],
            Tags=[{"Key": "mlops-assets/champion", "Value": str(version)}],
        )

    def tags(self) -> dict[str, str]:
        """The group's tags."""
        arn = self.client.describe_model_package_group(ModelPackageGroupName=self.group)
        listed = self.client.list_tags(ResourceArn=arn["ModelPackageGroupArn"])
        return {tag["Key"]: tag["Value"] for tag in listed["Tags"]}

    def delete(self, version: int) -> None:
        """Delete a version."""
        self.client.delete_model_package(ModelPackageName=self.arn(version))
