"""Clients that we did not write: the driver's own helpers, and awswrangler's Redshift functions."""

from __future__ import annotations

import warnings
from typing import Any

import awswrangler as wr
import pandas as pd
import pytest
import redshift_connector

from mlops_assets_tests.standins.redshift import RedshiftStandIn
from mlops_assets_tests.standins.redshift.fixtures import BUCKET, ROLE

FRAME = pd.DataFrame(
    {
        "id": [1, 2, 3],
        "name": ["a", "b'c", None],
        "v": [1.5, None, 2.5],
        "ts": pd.to_datetime(["2024-01-01", "2024-01-02", "2024-01-03"]),
        "g": ["x", "y", "x"],
        "ok": [True, False, True],
    }
)


@pytest.fixture
def connection(standin: RedshiftStandIn) -> Any:
    made = standin.connect(sslmode="verify-full")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield made
    made.close()


@pytest.mark.parametrize(
    ("style", "sql", "arguments"),
    [
        ("format", "SELECT %s::int, %s", (1, "x")),
        ("qmark", "SELECT ?::int, ?", (1, "x")),
        ("numeric", "SELECT :1::int, :2", (1, "x")),
        ("named", "SELECT :a::int, :b", {"a": 1, "b": "x"}),
        ("pyformat", "SELECT %(a)s::int, %(b)s", {"a": 1, "b": "x"}),
    ],
)
def test_the_driver_binds_parameters_in_every_style(
    connection: Any, style: str, sql: str, arguments: Any
) -> None:
    cursor = connection.cursor()
    cursor.paramstyle = style
    assert [list(row) for row in cursor.execute(sql, arguments).fetchall()] == [[1, "x"]]


def test_the_driver_reads_the_catalogue_and_frames(connection: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("CREATE TABLE w (a int, b varchar(20))")
    cursor.write_dataframe(pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}), "w")
    assert cursor.execute("SELECT * FROM w ORDER BY a").fetch_dataframe().values.tolist() == [
        [1, "x"],
        [2, "y"],
    ]
    cursor.executemany("INSERT INTO w VALUES (%s, %s)", [(3, "z"), (4, None)])
    assert cursor.execute("SELECT count(*) FROM w").fetchall() == ([4],)


def test_a_cursor_in_the_service_streams(connection: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("CREATE TABLE w AS SELECT 1 AS a UNION ALL SELECT 2 UNION ALL SELECT 3")
    cursor.execute("DECLARE c CURSOR FOR SELECT a FROM w ORDER BY a")
    found = [cursor.execute("FETCH FORWARD 2 FROM c").fetchall() for _ in range(3)]
    assert [[row[0] for row in part] for part in found] == [[1, 2], [3], []]


def test_a_wrong_password_database_or_name_is_refused(standin: RedshiftStandIn) -> None:
    with pytest.raises(redshift_connector.Error, match="authentication failed"):
        standin.connect(password="wrong")
    with pytest.raises(redshift_connector.Error, match="does not exist"):
        standin.connect(database="nowhere")
    with pytest.raises(redshift_connector.Error, match=r"(?i)certificate|hostname"):
        standin.connect(host="127.0.0.1", sslmode="verify-full")


@pytest.mark.parametrize("mode", ["append", "overwrite", "upsert"])
def test_awswrangler_copies(connection: Any, standin: RedshiftStandIn, mode: Any) -> None:
    path = f"s3://{BUCKET}/wrangler/{standin.database}/"
    options: dict[str, Any] = {"primary_keys": ["id"]} if mode != "append" else {}
    for frame in (FRAME, FRAME.assign(id=[3, 4, 5])):
        wr.redshift.copy(
            df=frame, path=path, con=connection, table="t", schema="public", iam_role=ROLE, mode=mode,
            diststyle="KEY", distkey="id", sortstyle="COMPOUND", sortkey=["id"], **options,
        )  # fmt: skip
    found = wr.redshift.read_sql_query("SELECT * FROM public.t ORDER BY id", con=connection)
    expected = {"append": [1, 2, 3, 3, 4, 5], "overwrite": [3, 4, 5], "upsert": [1, 2, 3, 4, 5]}
    assert found["id"].tolist() == expected[mode]
    assert found.dtypes["ts"].kind == "M"


def test_awswrangler_unloads_and_copies_files(connection: Any, standin: RedshiftStandIn) -> None:
    place = f"s3://{BUCKET}/wrangler-unload/{standin.database}"
    wr.redshift.to_sql(df=FRAME, con=connection, table="t", schema="public")
    found = wr.redshift.unload(
        sql="SELECT * FROM public.t WHERE g = 'x'",
        path=f"{place}/a/",
        con=connection,
        iam_role=ROLE,
        keep_files=True,
    )
    assert sorted(found["id"]) == [1, 3]
    wr.redshift.unload_to_files(
        sql="SELECT * FROM public.t", path=f"{place}/b/", con=connection, iam_role=ROLE, partition_cols=["g"],
        manifest=True, max_file_size=10.0,
    )  # fmt: skip
    assert (
        wr.s3.read_parquet(f"{place}/b/", dataset=True, path_suffix=".parquet")["g"].tolist().count("x") == 2
    )
    wr.redshift.copy_from_files(
        path=f"{place}/a/", con=connection, table="u", schema="public", iam_role=ROLE, mode="append"
    )
    assert wr.redshift.read_sql_table("u", con=connection, schema="public").shape == (2, 6)
