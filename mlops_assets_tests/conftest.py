"""Fixtures of the stand-ins, for every test that asks for them; nothing of theirs is imported before."""

from mlops_assets_tests.standins.aws.fixtures import aws, aws_server
from mlops_assets_tests.standins.gcp.fixtures import gcp, gcp_server

__all__ = ["aws", "aws_server", "gcp", "gcp_server"]
