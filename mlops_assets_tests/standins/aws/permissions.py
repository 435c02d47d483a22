"""What each caller asked for, as IAM names it, and IAM's policies: what deploy/aws allows is held to it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

# Callers by access key. Containers act as SageMaker's role does; fixtures are nobody's.
ORCHESTRATOR, ROLE, REDSHIFT, FIXTURE = "testing", "role", "redshift", "fixture"
_KEY = re.compile(r"Credential=([^/]+)/")
# Names that requests are signed with -> names in policies, where they differ.
_NAMES = {"monitoring": "cloudwatch"}


@dataclass(frozen=True)
class Asked:
    """A call that somebody made: who, IAM's action, and of S3 the `bucket/key`."""

    caller: str
    action: str
    resource: str = ""


def asked(environ: Mapping[str, Any], service: str, operation: str) -> Asked:
    """The call of a request."""
    key = _KEY.search(environ.get("HTTP_AUTHORIZATION", "") or environ.get("QUERY_STRING", ""))
    caller = key[1] if key else "anonymous"
    path = environ["PATH_INFO"].strip("/")
    if service == "s3":
        query = parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True)
        # The keys of a deletion of many are in its body.
        resource = "" if "delete" in query else path
        return Asked(caller, f"s3:{_s3(environ['REQUEST_METHOD'], path, query)}", resource)
    if service == "sagemaker" and path.endswith("/invocations"):
        operation = "InvokeEndpoint"
    return Asked(caller, f"{_NAMES.get(service, service)}:{operation}")


def _s3(method: str, path: str, query: Mapping[str, Sequence[str]]) -> str:
    """IAM's action of a REST call; without a key it is about the bucket."""
    of_object = "/" in path
    if "delete" in query:
        return "DeleteObject"
    if not of_object:
        if "location" in query:
            return "GetBucketLocation"
        return {"GET": "ListBucket", "HEAD": "ListBucket", "PUT": "CreateBucket"}.get(method, method)
    if "uploadId" in query and method == "DELETE":
        return "AbortMultipartUpload"
    return {"GET": "GetObject", "HEAD": "GetObject", "DELETE": "DeleteObject"}.get(method, "PutObject")


@dataclass(frozen=True)
class Policy:
    """A policy's statements, all of which allow."""

    statements: Sequence[Mapping[str, Any]]

    @classmethod
    def read(cls, path: Path, **names: str) -> Policy:
        """A file of deploy/aws, its placeholders `${NAME}` filled in.

        Raises:
            KeyError: for a placeholder without a value.
        """
        text = re.sub(r"\$\{(\w+)\}", lambda found: names[found[1]], path.read_text())
        document = json.loads(text)
        assert document["Version"] == "2012-10-17"
        assert all(item["Effect"] == "Allow" for item in document["Statement"])
        return cls(document["Statement"])

    @property
    def actions(self) -> set[str]:
        """Everything that is allowed."""
        return {action for item in self.statements for action in _listed(item["Action"])}

    def allows(self, call: Asked) -> bool:
        """Whether a statement allows the call; of S3's alone the resource is known, and looked at."""
        return any(
            call.action in _listed(item["Action"])
            and (not call.resource or any(_covers(arn, call) for arn in _listed(item["Resource"])))
            for item in self.statements
        )


def _covers(arn: str, call: Asked) -> bool:
    return fnmatchcase(f"arn:aws:s3:::{call.resource}", arn)


def _listed(value: str | Sequence[str]) -> list[str]:
    return [value] if isinstance(value, str) else list(value)
