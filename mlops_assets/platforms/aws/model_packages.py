"""SageMaker's model package groups as the registry needs them: one group per model of one deployment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mlops_assets.artifacts.digest import digest_of
from mlops_assets.errors import StorageError
from mlops_assets.pipes.sagemaker_jobs import readable
from mlops_assets.pipes.sagemaker_limits import LONGEST_NAME, tags_of
from mlops_assets.platforms.aws.client import client, code_of, speaking

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

    from mlops_assets.artifacts import Candidate, Evaluation
    from mlops_assets.platforms.aws.settings import AwsSettings

_PAGE = 100
_GROUP, _PACKAGE = ":model-package-group/", ":model-package/"


class ModelPackages:
    """Groups and versions by model name and version number.

    Two deployments (roots) in one account have groups of their own: a group's name ends with a digest of the
    root and the model.
    """

    def __init__(self, aws: AwsSettings) -> None:
        self._root = str(aws.root)
        self._sagemaker = client("sagemaker", aws.region)
        self._arns: dict[str, str] = {}

    def group(self, model: str) -> str:
        """The name of the model's group."""
        digest = digest_of([self._root, model])[:8]
        return f"{readable(model, LONGEST_NAME - len(digest) - 1)}-{digest}"

    def ensure_group(self, model: str) -> None:
        """Make the model's group where it is not there."""
        with self._speaking(model), _unless("already exists"):
            self._sagemaker.create_model_package_group(
                ModelPackageGroupName=self.group(model),
                ModelPackageGroupDescription=f"Versions of {model}, kept by mlops_assets below {self._root}.",
                Tags=tags_of({"mlops-assets/model": model}),
            )

    def arn(self, model: str, version: int) -> str | None:
        """A version's ARN, whether it is there or not; None where the model has no group."""
        group = self._group_arn(model)
        return group and f"{group.replace(_GROUP, _PACKAGE, 1)}/{version}"

    def create(self, model: str, token: str, request: Mapping[str, Any]) -> int:
        """The number of a new version; the same token again gives the same version."""
        with self._speaking(model):
            made = self._sagemaker.create_model_package(
                ModelPackageGroupName=self.group(model), ClientToken=token, **request
            )
        return int(made["ModelPackageArn"].rpartition("/")[2])

    def describe(self, model: str, version: int) -> dict[str, Any] | None:
        """What the service knows of a version, or None where there is none."""
        arn = self.arn(model, version)
        if arn is None:
            return None
        with self._speaking(model), _unless("does not exist"):
            return self._sagemaker.describe_model_package(ModelPackageName=arn)
        return None

    def summaries(self, model: str) -> Iterator[dict[str, Any]]:
        """Every version in short, newest first; a page of 100 costs one call."""
        if self._group_arn(model) is None:
            return
        pages = self._sagemaker.get_paginator("list_model_packages").paginate(
            ModelPackageGroupName=self.group(model),
            SortBy="CreationTime",
            SortOrder="Descending",
            PaginationConfig={"PageSize": _PAGE},
        )
        with self._speaking(model):
            for page in pages:
                yield from page["ModelPackageSummaryList"]

    def update(self, model: str, version: int, **changes: Any) -> None:
        """Change a version in one call: all of `changes` or nothing."""
        with self._speaking(model):
            self._sagemaker.update_model_package(ModelPackageArn=self.arn(model, version), **changes)

    def tags(self, model: str) -> dict[str, str]:
        """The tags of the model's group; none where there is no group."""
        arn = self._group_arn(model)
        if arn is None:
            return {}
        pages = self._sagemaker.get_paginator("list_tags").paginate(ResourceArn=arn)
        with self._speaking(model):
            return {tag["Key"]: tag["Value"] for page in pages for tag in page["Tags"]}

    def tag(self, model: str, tags: Mapping[str, str]) -> None:
        """Set tags of the model's group, in one call."""
        with self._speaking(model):
            self._sagemaker.add_tags(
                ResourceArn=self._group_arn(model),
                Tags=tags_of(tags),
            )

    def _group_arn(self, model: str) -> str | None:
        if model not in self._arns:
            with self._speaking(model), _unless("does not exist"):
                found = self._sagemaker.describe_model_package_group(ModelPackageGroupName=self.group(model))
                self._arns[model] = found["ModelPackageGroupArn"]
        return self._arns.get(model)

    @contextmanager
    def _speaking(self, model: str) -> Iterator[None]:
        with speaking(f"model package group {self.group(model)}", StorageError):
            yield


@contextmanager
def _unless(said: str) -> Iterator[None]:
    """End the body quietly where the service refuses for the reason `said`; it has no code for it."""
    from botocore.exceptions import ClientError

    try:
        yield
    except ClientError as error:
        if not _says(error, said):
            raise


def _says(error: ClientError, said: str) -> bool:
    message = error.response.get("Error", {}).get("Message", "")
    return code_of(error) == "ValidationException" and said in message


def package_request(aws: AwsSettings, candidate: Candidate, evaluation: Evaluation) -> dict[str, Any]:
    """Parameters of CreateModelPackage that come from the candidate and its evaluation alone.

    Nothing of the decision is in them: a client token stands for the same parameters each time.
    """
    from mlops_assets.runtime.serve import DIGEST_VARIABLE
    from mlops_assets.runtime.wire import CSV, JSON

    model = {"S3Uri": f"{candidate.uri}/", "S3DataType": "S3Prefix", "CompressionType": "None"}
    container = {
        "Image": aws.needed("image"),
        "ModelDataSource": {"S3DataSource": model},
        # Whoever deploys the package by hand: its server refuses files that are not the candidate's.
        "Environment": {DIGEST_VARIABLE: candidate.digest},
    }
    commit = {"MetadataProperties": {"CommitId": candidate.git_commit}} if candidate.git_commit else {}
    return {
        "ModelPackageDescription": f"{candidate.estimator}, trained on dataset "
        f"{candidate.dataset_version[:12]}; candidate {candidate.digest}.",
        "ModelApprovalStatus": "PendingManualApproval",
        "InferenceSpecification": {
            "Containers": [container],
            "SupportedContentTypes": [JSON, CSV],
            "SupportedResponseMIMETypes": [JSON, CSV],
        },
        "ModelMetrics": {
            "ModelQuality": {"Statistics": _report(evaluation, "evaluation.json", JSON)},
            "Explainability": {"Report": _report(evaluation, "model_card.md", "text/markdown")},
        },
        **commit,
    }


def _report(evaluation: Evaluation, name: str, kind: str) -> dict[str, str]:
    return {"ContentType": kind, "S3Uri": str(evaluation.uri.join(name))}
