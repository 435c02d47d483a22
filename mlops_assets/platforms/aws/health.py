"""What the AWS platform looks at for `mlops-assets doctor`: caller, region, role, image, quotas."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from mlops_assets.errors import SettingsError
from mlops_assets.platforms.aws.client import client, code_of, speaking
from mlops_assets.platforms.aws.settings import AwsSettings, current_aws_settings
from mlops_assets.platforms.health import Checks, Finding, bucket, registry, transfer, warehouse

if TYPE_CHECKING:
    from mlops_assets.platforms.ports import Platform

_SAGEMAKER = "sagemaker.amazonaws.com"


def checks(platform: Platform) -> Checks:
    """Looks at everything that a run needs; what it writes it removes.

    Raises:
        SettingsError: where MLOPS_AWS_… is wrong or missing.
    """
    settings = current_aws_settings()
    return {
        "credentials": partial(_credentials, settings),
        "region": partial(_region, settings),
        "bucket": partial(bucket, platform),
        "role": partial(_role, settings),
        "image": partial(_image, settings),
        "warehouse": partial(warehouse, platform),
        "transfer": partial(transfer, platform),
        "registry": partial(registry, platform),
        "quotas": partial(_quotas, settings),
    }


def _credentials(settings: AwsSettings) -> Finding:
    with speaking("credentials", SettingsError):
        caller = client("sts", settings.region).get_caller_identity()
    return Finding("credentials", f"{caller['Arn']}")


def _region(settings: AwsSettings) -> Finding:
    """The region that every service is called in, and whether the bucket lies there."""
    region = str(client("s3", settings.region).meta.region_name)
    with speaking(settings.root.bucket):
        answer = client("s3", settings.region).get_bucket_location(Bucket=settings.root.bucket)
    at = answer.get("LocationConstraint") or "us-east-1"
    if at != region:
        return Finding(
            "region",
            f"{region}, but the bucket lies in {at}",
            "Set MLOPS_AWS_REGION to the bucket's region, or take a bucket there: jobs and COPY read across "
            "regions slowly, at a price, or not at all.",
        )
    return Finding("region", f"{region}, where the bucket lies")


def _role(settings: AwsSettings) -> Finding:
    """SageMaker may take the role; without the right to read roles this is not known."""
    from botocore.exceptions import ClientError

    arn = settings.needed("role_arn")
    try:
        role = client("iam", settings.region).get_role(RoleName=arn.rpartition("/")[2])["Role"]
    except ClientError as error:
        if code_of(error) == "NoSuchEntity":
            return Finding("role", f"there is no {arn}", "Create it as docs/aws.md says, or correct the ARN.")
        return Finding("role", f"{arn}; not looked at: iam:GetRole is answered {code_of(error)}")
    trusted = {
        service
        for statement in role["AssumeRolePolicyDocument"].get("Statement", [])
        for service in _listed(statement.get("Principal", {}).get("Service", []))
    }
    if _SAGEMAKER not in trusted:
        return Finding("role", f"SageMaker may not take {arn}", "Give it the trust policy of deploy/aws.")
    return Finding("role", f"{arn}, which SageMaker may take")


def _listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def _image(settings: AwsSettings) -> Finding:
    return Finding("image", settings.needed("image"))


def _quotas(settings: AwsSettings) -> Finding:
    """Quotas of the instance types that are set; they are told by an API that not everybody may call."""
    from botocore.exceptions import BotoCoreError, ClientError

    wanted = {f"{kind} for {use} usage": name for name, (kind, use) in _instances(settings).items()}
    found: dict[str, float] = {}
    try:
        pages = client("service-quotas", settings.region).get_paginator("list_service_quotas")
        for page in pages.paginate(ServiceCode="sagemaker"):
            found |= {item["QuotaName"]: item["Value"] for item in page["Quotas"]}
    except (ClientError, BotoCoreError) as error:
        reason = code_of(error) if isinstance(error, ClientError) else type(error).__name__
        return Finding("quotas", f"not told: servicequotas:ListServiceQuotas is answered {reason}")
    return _judged({name: found.get(name) for name in wanted}, wanted)


def _judged(values: Mapping[str, float | None], variables: Mapping[str, str]) -> Finding:
    none = [name for name, value in values.items() if value == 0]
    told = ", ".join(f"{value:g} {name}" for name, value in values.items() if value is not None)
    if none:
        names = " and ".join(none)
        return Finding(
            "quotas",
            f"no {names}",
            f"Ask for it (console: Service Quotas, SageMaker), or change MLOPS_AWS_{variables[none[0]]}.",
        )
    return Finding("quotas", told or "not told for the instance types that are set")


def _instances(settings: AwsSettings) -> dict[str, tuple[str, str]]:
    training = "spot training job" if settings.spot else "training job"
    return {
        "TRAINING_INSTANCE": (settings.training_instance, training),
        "PROCESSING_INSTANCE": (settings.processing_instance, "processing job"),
    }
