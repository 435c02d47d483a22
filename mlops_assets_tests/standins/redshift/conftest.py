"""Fixtures of the stand-in's own tests."""

from mlops_assets_tests.standins.redshift.fixtures import s3, s3_address, shared_standin, standin

__all__ = ["s3", "s3_address", "shared_standin", "standin"]
