"""SageMaker's Python SDK (the package `sagemaker`, v3): what we trained and registered as its objects.

The SDK is not ours to depend on: install it beside this package (extra `aws`). It is imported when one of
these functions is called, which takes seconds, and its telemetry is turned off before.

>>> from mlops_assets.platforms.aws import sdk  # doctest: +SKIP
>>> sdk.model_package(platform, platform.registry.champion("housing")).model_approval_status
'Approved'
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_assets.artifacts import Candidate, ModelVersion
from mlops_assets.errors import SettingsError
from mlops_assets.platforms.aws.registry import SageMakerRegistry
from mlops_assets.platforms.aws.settings import current_aws_settings

if TYPE_CHECKING:
    from sagemaker.core.resources import ModelPackage, ModelPackageGroup
    from sagemaker.core.shapes import ContainerDefinition

    from mlops_assets.platforms.ports import Platform

# Files that the SDK merges its defaults from; the second one's values win, and ours is the only one in it.
_OVERRIDES = ("SAGEMAKER_ADMIN_CONFIG_OVERRIDE", "SAGEMAKER_USER_CONFIG_OVERRIDE")
_OPTED_OUT = "SchemaVersion: '1.0'\nSageMaker:\n  PythonSDK:\n    Modules:\n      TelemetryOptOut: true\n"


def without_telemetry(folder: Path) -> None:
    """Let the SDK of this process, and of those it starts, report nothing to its makers.

    It has no other switch than a file of defaults: one is written to `folder` and named by the first of
    SAGEMAKER_ADMIN_CONFIG_OVERRIDE and SAGEMAKER_USER_CONFIG_OVERRIDE that is not set. Where both are, the
    files that they name decide.
    """
    path = folder / "sagemaker.yaml"
    for name in _OVERRIDES:
        if os.environ.get(name) == str(path):
            return
        if not os.environ.get(name):
            folder.mkdir(parents=True, exist_ok=True)
            path.write_text(_OPTED_OUT, encoding="utf-8")
            os.environ[name] = str(path)
            return


def model_package(platform: Platform, version: ModelVersion) -> ModelPackage:
    """The SDK's ModelPackage of a registered version, as SageMaker has it now."""
    resources = _sdk(platform)
    arn = _registry(platform).package_arn(version.model, version.version)
    return _found(resources.ModelPackage.get(arn, region=current_aws_settings().region))


def model_package_group(platform: Platform, model: str) -> ModelPackageGroup:
    """The SDK's ModelPackageGroup of a model that has a version."""
    resources = _sdk(platform)
    group = _registry(platform).group(model)
    return _found(resources.ModelPackageGroup.get(group, region=current_aws_settings().region))


def container_definition(platform: Platform, model: Candidate | ModelVersion) -> ContainerDefinition:
    """What the SDK's `Model.create` takes: a version by its package, a candidate by its image and files.

    SageMaker makes no model of a package that is not approved; of a candidate it does, whatever the gates
    say: it is for experiments, and no way into the registry or to the endpoint.
    """
    _sdk(platform)
    from sagemaker.core.shapes import ContainerDefinition, ModelDataSource, S3ModelDataSource

    if isinstance(model, ModelVersion):
        return ContainerDefinition(
            model_package_name=_registry(platform).package_arn(model.model, model.version)
        )
    files = S3ModelDataSource(s3_uri=f"{model.uri}/", s3_data_type="S3Prefix", compression_type="None")
    return ContainerDefinition(
        image=current_aws_settings().needed("image"), model_data_source=ModelDataSource(s3_data_source=files)
    )


def _sdk(platform: Platform) -> Any:
    """The SDK's resources, imported with its telemetry off.

    Raises:
        SettingsError: where it is not installed.
    """
    without_telemetry(platform.settings.root / "cache")
    try:
        from sagemaker.core import resources
    except ImportError as error:
        raise SettingsError(
            f"SageMaker's SDK cannot be imported ({error}).",
            where="the package sagemaker",
            mend='Run: pip install "sagemaker>=3".',
        ) from error
    return resources


def _registry(platform: Platform) -> SageMakerRegistry:
    registry = platform.registry
    if not isinstance(registry, SageMakerRegistry):
        raise SettingsError(
            "Only the platform 'aws' has model packages.",
            where="MLOPS_PLATFORM",
            mend="Set MLOPS_PLATFORM=aws.",
        )
    return registry


def _found(resource: Any) -> Any:
    """The resource that `get` read; it has no case in which it returns None, though it is typed so."""
    assert resource is not None
    return resource
