"""One set of AWS services per worker, a prefix and a database of its own per test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mlops_assets_tests.end_to_end.cloud import Services, running


@pytest.fixture(scope="session")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """AWS and Redshift, as `make cloud-aws` starts them."""
    with running(tmp_path_factory.mktemp("cloud")) as found:
        yield found


@pytest.fixture
def exported(services: Services) -> dict[str, str]:
    """The settings to export."""
    return services.own()
