"""SageMaker's front door: which operations are served, by which area, and tags of every resource.

A new area is a class of operations like `JobOperations`, added to the bases of `SageMakerOperations`, with
its state set by `server`. What moto itself does well enough is named in `_BY_MOTO`.
"""

from __future__ import annotations

from typing import Any, ClassVar

import moto.sagemaker.urls
from moto.core.common_types import TYPE_RESPONSE
from moto.core.responses import ActionResult, BaseResponse, EmptyResult
from moto.core.utils import camelcase_to_underscores
from moto.sagemaker.responses import SageMakerResponse

from mlops_assets_tests.standins.aws.endpoint_operations import EndpointOperations
from mlops_assets_tests.standins.aws.jobs import JobOperations
from mlops_assets_tests.standins.aws.registry import RegistryOperations
from mlops_assets_tests.standins.aws.registry_limits import check_tags

# Operations of moto that are served as they are.
_BY_MOTO: frozenset[str] = frozenset()


class TagOperations(BaseResponse):
    """AddTags, ListTags, DeleteTags by ARN."""

    tags: ClassVar[dict[str, dict[str, str]]] = {}

    def keep_tags(self, arn: str, tags: list[dict[str, str]]) -> None:
        """Set tags of a resource."""
        self.tags.setdefault(arn, {}).update({tag["Key"]: tag["Value"] for tag in tags})

    def add_tags(self) -> ActionResult:
        """AddTags."""
        check_tags(self.params["Tags"])
        self.keep_tags(self.params["ResourceArn"], self.params["Tags"])
        return self.list_tags()

    def list_tags(self) -> ActionResult:
        """ListTags."""
        tags = self.tags.get(self.params["ResourceArn"], {})
        return ActionResult({"Tags": [{"Key": key, "Value": value} for key, value in tags.items()]})

    def delete_tags(self) -> ActionResult:
        """DeleteTags."""
        for key in self.params["TagKeys"]:
            self.tags.get(self.params["ResourceArn"], {}).pop(key, None)
        return EmptyResult()


class SageMakerOperations(
    TagOperations, JobOperations, RegistryOperations, EndpointOperations, SageMakerResponse
):
    """Every served operation; any other is an error that names it."""

    def call_action(self) -> TYPE_RESPONSE:
        """Serve what an area defines; moto's own methods only where they are named."""
        operation = self._get_action()
        method = camelcase_to_underscores(operation)
        if method in _BY_MOTO or _defined_here(method):
            return super().call_action()
        raise NotImplementedError(operation)


def _defined_here(method: str) -> bool:
    ours: list[Any] = [
        area for area in SageMakerOperations.__mro__ if area.__module__.startswith(__package__ or "-")
    ]
    return any(method in vars(area) for area in ours)


def install() -> None:
    """Let moto's server answer SageMaker's requests with `SageMakerOperations`."""
    TagOperations.tags.clear()
    moto.sagemaker.urls.url_paths["{0}/$"] = SageMakerOperations.dispatch
