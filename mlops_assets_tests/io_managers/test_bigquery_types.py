"""What BigQuery holds otherwise than DuckDB: names, numerics, zones, literals; and how rows go there."""

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import dagster as dg
import pandas as pd
import pyarrow as pa
import pytest

from mlops_assets.errors import DataError
from mlops_assets.platforms.ports import Platform
from mlops_assets_tests.io_managers.conftest import Materialise
from mlops_assets_tests.standins.gcp.fixtures import Gcp

pytestmark = pytest.mark.parametrize("platform", ["gcp"], indirect=True)
MOMENT = datetime(2026, 3, 29, 1, 30, 0, 123_456, timezone(timedelta(hours=5, minutes=30)))
ROWS = pa.table(
    {
        'Odd Name; "quoted"': ["first", "second", "third"],
        "id": pa.array([2**53 + 1, None, -(2**63)]),
        "small": pa.array([-128, None, 127], pa.int8()),
        "share": pa.array([0.5, None, -1.25], pa.float32()),
        "flag": pa.array([True, False, None]),
        "text": pa.array(["Ünï'\"çode\\\n", None, "x" * 100_000]),
        "category": pa.array(["a", None, "a"]).dictionary_encode(),
        "at": pa.array([datetime(2026, 1, 1, 12, 30, 15, 250_000), None, datetime(1969, 12, 31)]),
        "zoned": pa.array([MOMENT, None, MOMENT], pa.timestamp("us", "Asia/Kolkata")),
        "day": pa.array([date(2026, 1, 1), None, date(1900, 2, 28)]),
        "paid": pa.array(
            [Decimal("12345678901234567890123456789.123456789"), None, Decimal("-0.000000001")],
            pa.decimal128(38, 9),
        ),
        "nothing": pa.nulls(3),
    }
)


def test_every_type_comes_back_by_a_load_and_an_extract_and_a_table_without_rows_keeps_them(
    materialise: Materialise, gcp: Gcp
) -> None:
    table, seen = [ROWS], []

    @dg.asset(io_manager_key="tables")
    def upstream() -> pa.Table:
        return table[0]

    @dg.asset
    def as_arrow(upstream: pa.Table) -> None:
        seen.append(upstream)

    @dg.asset
    def as_pandas(upstream: pd.DataFrame) -> None:
        seen.append(upstream.sort_values("id", na_position="last"))

    jobs = gcp.server.bigquery.jobs
    before = len(jobs.all())
    materialise([upstream, as_arrow])
    kinds = [job.kind for job in jobs.all()[: len(jobs.all()) - before]]
    assert (kinds.count("load"), kinds.count("extract")) == (1, 1)
    found = seen[0].sort_by([('Odd Name; "quoted"', "ascending")])
    wanted = ROWS.set_column(
        ROWS.schema.get_field_index("zoned"), "zoned", ROWS["zoned"].cast(pa.timestamp("us", "UTC"))
    )
    assert found.to_pylist() == wanted.to_pylist()
    assert found["zoned"][0].as_py() == MOMENT.astimezone(UTC)
    materialise([upstream, as_pandas], selection=[as_pandas])
    types = [str(seen[1][name].dtype) for name in ("id", "small", "flag")]
    assert types == ["Int64", "Int64", "boolean"]
    assert seen[1]["id"].tolist() == [-(2**63), 2**53 + 1, pd.NA]
    table[0] = ROWS.slice(0, 0)
    materialise([upstream, as_arrow])
    assert (seen[2].num_rows, seen[2].schema.types) == (0, found.schema.types)


def test_partitions_load_one_by_one_and_together_whatever_their_keys(materialise: Materialise) -> None:
    keys = ["so'uth", 'a\\b"c', "Ünï/b.csv"]
    definition = dg.StaticPartitionsDefinition(keys)
    seen: list[Any] = []

    @dg.asset(io_manager_key="tables", partitions_def=definition)
    def upstream(context: dg.AssetExecutionContext) -> pa.Table:
        return pa.table({"key": [context.partition_key]})

    @dg.asset(partitions_def=definition)
    def each(upstream: pa.Table) -> None:
        seen.extend(upstream.to_pylist())

    @dg.asset
    def together(upstream: pa.Table) -> None:
        seen.extend(sorted(row["key"] for row in upstream.to_pylist()))

    for key in keys:
        materialise([upstream, each], partition_key=key)
    assert seen == [{"key": key} for key in keys]
    materialise([upstream, together], selection=[together])
    assert seen[3:] == sorted(keys)


def test_types_and_values_that_no_column_holds_are_refused_by_name(
    materialise: Materialise, platform: Platform
) -> None:
    column = [pa.array([1])]

    @dg.asset(io_manager_key="tables")
    def upstream() -> pa.Table:
        return pa.table({"odd": column[0]})

    materialise([upstream])
    for column[0] in (
        pa.array([b"x"]),
        pa.array([2**63], pa.uint64()),
        pa.array([Decimal("1e30")], pa.decimal128(38, 3)),
    ):
        with pytest.raises(DataError, match=r"'odd'.*BigQuery does not"):
            materialise([upstream])
    assert platform.warehouse.query("SELECT * FROM assets.upstream") == [{"odd": 1}]
