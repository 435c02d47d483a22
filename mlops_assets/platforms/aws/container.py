"""A job's container on SageMaker, `python -m mlops_assets.platforms.aws.container`: Dagster Pipes over S3.

The image needs this package with its `aws` extra.
"""

from __future__ import annotations

import sys

from dagster_pipes import PipesS3ContextLoader, PipesS3MessageWriter

from mlops_assets.pipes.relay import relayed
from mlops_assets.runtime import container


def main() -> int:
    """Run the requested program; its exit status."""
    with relayed(_sides) as environment:
        return container.run(environment)


def _sides() -> tuple[PipesS3ContextLoader, PipesS3MessageWriter]:
    import boto3

    s3 = boto3.client("s3")
    return PipesS3ContextLoader(s3), PipesS3MessageWriter(s3, interval=0)


if __name__ == "__main__":
    sys.exit(main())
