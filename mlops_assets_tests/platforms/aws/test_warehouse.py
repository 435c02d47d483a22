"""The Redshift warehouse over the driver and over the Data API: one contract, and ways to authenticate."""

from __future__ import annotations

import json
from collections.abc import Iterator

import boto3
import pyarrow.parquet as pq
import pytest

from mlops_assets.errors import DataError, SettingsError
from mlops_assets.platforms.ports import Platform, TableBuild
from mlops_assets_tests.platforms.aws.conftest import Make
from mlops_assets_tests.platforms.aws.plain_store import PlainStore
from mlops_assets_tests.platforms.contracts.warehouse import WarehouseContract
from mlops_assets_tests.standins.redshift import RedshiftStandIn, unloading
from mlops_assets_tests.standins.redshift.data_api import serving


class TestRedshiftWarehouse(WarehouseContract):
    figures = frozenset({"queries", "query_seconds", "bytes_returned"})

    @pytest.fixture
    def platform(self, make: Make) -> Platform:
        return make()


class TestRedshiftWarehouseOverTheDataApi(WarehouseContract):
    figures = frozenset({"queries", "query_seconds", "bytes_returned"})

    @pytest.fixture
    def platform(self, make: Make, standin: RedshiftStandIn) -> Iterator[Platform]:
        with serving(standin):
            yield make(transport="data_api", cluster="analytics", password=None)


def test_a_secret_of_secrets_manager_lets_us_in(make: Make, standin: RedshiftStandIn) -> None:
    fields = {"username": standin.user, "password": standin.password}
    secrets = boto3.client("secretsmanager")
    made = secrets.create_secret(Name=f"redshift/{standin.database}", SecretString=json.dumps(fields))
    platform = make(user=None, password=None, secret_arn=made["ARN"])
    assert platform.warehouse.query("SELECT current_user AS u") == [{"u": standin.user}]


def test_iam_lends_a_password(make: Make, standin: RedshiftStandIn) -> None:
    boto3.client("redshift").create_cluster(
        ClusterIdentifier=standin.database.replace("_", "-"),
        NodeType="ra3.large",
        MasterUsername="awsuser",
        MasterUserPassword="Unused-Password-1",
        DBName=standin.database,
    )
    with serving(standin):
        platform = make(password=None, cluster=standin.database.replace("_", "-"))
        assert platform.warehouse.query("SELECT 1 AS a") == [{"a": 1}]


def test_what_aws_does_not_give_is_said_without_a_secret(make: Make) -> None:
    with pytest.raises(SettingsError, match="no credentials") as caught:
        make(user=None, password=None, secret_arn="redshift/none").warehouse.query("SELECT 1 AS a")
    assert caught.value.mend
    with pytest.raises(SettingsError, match="no way to authenticate"):
        make(user=None, password=None).warehouse.query("SELECT 1 AS a")


def test_a_cursor_and_an_unload_read_the_same(make: Make, standin: RedshiftStandIn) -> None:
    select = "SELECT i AS a, i / 8 AS b, CASE WHEN i % 3 > 0 THEN 'x' END AS c FROM m.n ORDER BY a"
    make().warehouse.build(TableBuild("m.n", "SELECT i FROM range(45000) AS r(i)"))
    standin.seen.clear()
    by_cursor = make(unload_above=50_000).warehouse.read(select).read_all()
    assert not any(sql.startswith("UNLOAD") for sql in standin.seen)
    by_unload = make(unload_above=10_000).warehouse.read(select).read_all()
    assert any(sql.startswith("UNLOAD") for sql in standin.seen)
    assert by_cursor.num_rows == 45_000
    assert by_cursor.equals(by_unload.cast(by_cursor.schema))


def test_a_limit_in_an_export_keeps_its_order(platform: Platform) -> None:
    uri = platform.store.root.join("out/data.parquet")
    assert platform.warehouse.export("SELECT i AS a FROM range(9) AS r(i) ORDER BY a DESC LIMIT 3", uri) == 3
    assert pq.read_table(platform.store.local(uri)).to_pydict() == {"a": [8, 7, 6]}
    assert platform.warehouse.export("SELECT i AS a FROM range(9) AS r(i) WHERE i > 99", uri) == 0
    assert pq.read_table(platform.store.local(uri)).schema.names == ["a"]


def test_what_no_single_file_holds_is_refused_and_nothing_is_left(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unloading, "_LARGEST", unloading._SMALLEST)
    select = "SELECT i AS a, md5(CAST(i AS TEXT)) AS b FROM range(400000) AS r(i)"
    with pytest.raises(DataError, match="400,000 rows are more than") as caught:
        platform.warehouse.export(select, platform.store.root.join("out/data.parquet"))
    assert caught.value.mend
    assert isinstance(platform.store, PlainStore)
    assert platform.store.listed() == []
