"""What Redshift holds otherwise than DuckDB: decimals, zones, the longest text; and how rows go there."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import dagster as dg
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from mlops_assets.errors import DataError
from mlops_assets.platforms.ports import Platform
from mlops_assets_tests.io_managers.conftest import Materialise
from mlops_assets_tests.standins.redshift import RedshiftStandIn

pytestmark = pytest.mark.parametrize("platform", ["aws"], indirect=True)
LONGEST = 65_535


def back(materialise: Materialise, table: pa.Table, kind: Any = pa.Table) -> Any:
    """The table, stored by an asset and loaded by another one that is annotated with `kind`."""
    seen: list[Any] = []

    @dg.asset(io_manager_key="tables")
    def upstream() -> pa.Table:
        return table

    @dg.asset
    def downstream(upstream: kind) -> None:  # type: ignore[valid-type]
        seen.append(upstream)

    assert materialise([upstream, downstream]).success
    return seen[0]


def test_decimals_keep_every_digit(materialise: Materialise) -> None:
    values = [Decimal("12345678901234567890123456789012345.678"), Decimal("-0.001"), None]
    found = back(materialise, pa.table({"d": pa.array(values, pa.decimal128(38, 3))}))
    assert found.schema.field("d").type == pa.decimal128(38, 3)
    assert found["d"].to_pylist() == values


def test_moments_with_a_zone_come_back_as_the_same_moments(materialise: Materialise) -> None:
    moment = datetime(2026, 3, 29, 1, 30, 0, 123_456, timezone(timedelta(hours=5, minutes=30)))
    column = pa.array([moment, None], pa.timestamp("us", "Asia/Kolkata"))
    found = back(materialise, pa.table({"at": column}), pl.DataFrame)
    assert found["at"].to_list() == [moment.astimezone(UTC), None]
    assert found.schema["at"] == pl.Datetime("us", "UTC")


def test_small_types_come_back_as_their_values(materialise: Materialise) -> None:
    table = pa.table(
        {
            "i8": pa.array([-128, None], pa.int8()),
            "f32": pa.array([0.5, None], pa.float32()),
            "category": pa.array(["x", None]).dictionary_encode(),
            "nothing": pa.nulls(2),
        }
    )
    found = back(materialise, table, pd.DataFrame)
    assert found["i8"].tolist() == [-128, pd.NA]
    assert found["f32"].iloc[0] == 0.5
    assert [found["category"].iloc[0], found["nothing"].isna().all()] == ["x", True]


def test_the_longest_text_is_stored_whole_and_a_longer_one_refused(
    materialise: Materialise, platform: Platform
) -> None:
    texts = ["ü" * (LONGEST // 2) + "x", "y"]
    assert len(texts[0].encode()) == LONGEST
    assert sorted(back(materialise, pa.table({"s": texts}))["s"].to_pylist()) == sorted(texts)
    with pytest.raises(DataError, match="65,536 bytes"):
        back(materialise, pa.table({"s": [texts[0] + "x"]}))
    assert platform.warehouse.query("SELECT count(*) AS n FROM assets.upstream") == [{"n": 2}]


@pytest.mark.parametrize("column", [pa.array([[1]]), pa.array([{"a": 1}]), pa.array([b"x"])])
def test_a_type_that_no_column_holds_is_refused_by_name(materialise: Materialise, column: pa.Array) -> None:
    with pytest.raises(DataError, match=r"'odd'.*does not hold"):
        back(materialise, pa.table({"odd": column}))


def test_rows_go_by_copy_whatever_their_number_and_never_by_insert(
    materialise: Materialise, standin: RedshiftStandIn
) -> None:
    standin.seen.clear()
    assert back(materialise, pa.table({"a": range(60_000)})).num_rows == 60_000
    words = [sql.split()[0].upper() for sql in standin.seen]
    assert (words.count("COPY"), words.count("UNLOAD"), words.count("INSERT")) == (1, 1, 0)


def test_a_small_table_is_loaded_by_one_statement(materialise: Materialise, standin: RedshiftStandIn) -> None:
    back(materialise, pa.table({"a": range(1_000)}))
    standin.seen.clear()
    assert back(materialise, pa.table({"a": range(1_000)})).num_rows == 1_000
    after = [sql for sql in standin.seen if sql.startswith("SELECT") and "LIMIT 2001" in sql]
    assert len(after) == 1
    assert not any(sql.startswith(("DECLARE", "UNLOAD")) for sql in standin.seen)
