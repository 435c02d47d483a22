"""The BigQuery stand-in, seen by the clients that people use: nothing of theirs is changed."""

from __future__ import annotations

import io
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from google.api_core.exceptions import BadRequest, Conflict, NotFound, ServerError
from google.cloud import bigquery
from google.cloud.bigquery import (
    ArrayQueryParameter,
    LoadJobConfig,
    QueryJobConfig,
    ScalarQueryParameter,
    SchemaField,
    Table,
)

from mlops_assets_tests.standins.gcp.fixtures import Gcp

LOCATION = "europe-west4"


@pytest.fixture
def client(gcp: Gcp) -> Any:
    made = bigquery.Client(location=LOCATION)
    made.create_dataset("m")
    return made


def rows(client: Any, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
    found = client.query(sql, QueryJobConfig(query_parameters=list(parameters))).result()
    return [tuple(row.values()) for row in found]


def test_values_of_every_type_come_back(client: Any) -> None:
    sql = (
        "SELECT 1, 1.5, TRUE, 'ä', DATE '2026-01-02', DATETIME '2026-01-02 03:04:05.000006', "
        "TIMESTAMP '2026-01-02 03:04:05+00', NUMERIC '1.25', NULL, [1, 2], CAST('nan' AS FLOAT64)"
    )
    ((*values, nan),) = rows(client, sql)
    moment = datetime(2026, 1, 2, 3, 4, 5)
    assert values == [
        *(1, 1.5, True, "ä", date(2026, 1, 2), moment.replace(microsecond=6), moment.replace(tzinfo=UTC)),
        *(Decimal("1.25"), None, [1, 2]),
    ]
    assert nan != nan


def test_parameters_by_name_and_by_place(client: Any) -> None:
    named = (ScalarQueryParameter("a", "STRING", "';--"), ArrayQueryParameter("b", "INT64", [1, 3]))
    assert rows(client, "SELECT @a, 3 IN UNNEST(@b), 2 IN UNNEST(@b)", *named) == [("';--", True, False)]
    placed = (ScalarQueryParameter(None, "INT64", 1), ScalarQueryParameter(None, "FLOAT64", 2.5))
    assert rows(client, "SELECT ?, ?", *placed) == [(1, 2.5)]


def test_results_come_in_pages(client: Any) -> None:
    job = client.query("SELECT i FROM UNNEST(GENERATE_ARRAY(1, 25)) AS i ORDER BY i")
    pages = [list(page) for page in job.result(page_size=10).pages]
    assert [len(page) for page in pages] == [10, 10, 5]
    assert [row[0] for page in pages for row in page] == list(range(1, 26))


def test_a_job_has_one_name_once(client: Any) -> None:
    client.query("SELECT 1", job_id="once", job_retry=None).result()
    with pytest.raises(Conflict, match="Already Exists: Job"):
        client.query("SELECT 2", job_id="once", job_retry=None)
    assert [tuple(row) for row in client.get_job("once").result()] == [(1,)]
    with pytest.raises(NotFound, match="Job"):
        client.get_job("never")
    client.query("SELECT error('no')", job_id="failed", job_retry=None)
    assert client.get_job("failed").error_result["reason"] == "invalidQuery"


@pytest.mark.parametrize(
    ("sql", "error", "words"),
    [
        ("SELECT 1 FROM nowhere.t", NotFound, "Not found: Dataset mlops-project:nowhere"),
        ("SELECT 1 FROM m.nowhere", NotFound, "Not found: Table mlops-project:m.nowhere"),
        ("SELECT 1 FROM nowhere", BadRequest, "must be qualified with a dataset"),
        ("SELECT missing FROM m.t", BadRequest, "missing"),
        ("SELECT (", BadRequest, "Syntax error"),
        ("CREATE TABLE m.t AS SELECT 1 AS a", Conflict, "Already Exists: Table"),
        ("CREATE OR REPLACE VIEW m.t AS SELECT 1 AS a", BadRequest, "currently a TABLE"),
        (
            "CREATE OR REPLACE TABLE m.t PARTITION BY d AS SELECT DATE '2026-01-01' AS d",
            BadRequest,
            "different partitioning spec",
        ),
        ("ASSERT (SELECT count(*) FROM m.t) = 7 AS 'seven'", BadRequest, "Assertion failed"),
        (
            "BEGIN TRANSACTION; CREATE TABLE m.u AS SELECT 1 AS a; COMMIT TRANSACTION",
            BadRequest,
            "transaction",
        ),
        ("SELECT FARM_FINGERPRINT('a')", ServerError, "FARM_FINGERPRINT is not served"),
        ("DECLARE x INT64 DEFAULT 1; SELECT x", ServerError, "DECLARE is not served"),
        ("SELECT * FROM `region-europe-west4`.INFORMATION_SCHEMA.JOBS", ServerError, "JOBS is not served"),
    ],
)
def test_what_is_wrong_or_not_served_is_named(
    client: Any, sql: str, error: type[Exception], words: str
) -> None:
    client.query("CREATE TABLE m.t AS SELECT 1 AS a").result()
    with pytest.raises(error, match=words):
        client.query(sql, job_retry=None).result(job_retry=None)
    assert rows(client, "SELECT * FROM m.t") == [(1,)]


def test_a_transaction_happens_whole_or_not(client: Any) -> None:
    client.query("CREATE TABLE m.t AS SELECT 1 AS a").result()
    change = "DELETE FROM m.t WHERE TRUE; INSERT INTO m.t (a) VALUES (2), (3)"
    failing = f"BEGIN TRANSACTION; {change}; ASSERT FALSE AS 'no'; COMMIT TRANSACTION"
    with pytest.raises(BadRequest, match="Assertion failed"):
        client.query(failing).result()
    assert rows(client, "SELECT * FROM m.t") == [(1,)]
    script = f"BEGIN TRANSACTION; {change}; COMMIT TRANSACTION; SELECT 'x;y', sum(a) FROM m.t"
    assert rows(client, script) == [("x;y", 5)]


def test_another_location_does_not_see_a_dataset(client: Any) -> None:
    client.query("CREATE TABLE m.t AS SELECT 1 AS a").result()
    with pytest.raises(NotFound, match="in location US"):
        client.query("SELECT * FROM m.t", location="US").result()


def test_a_dry_run_counts_bytes_and_a_limit_holds(client: Any) -> None:
    client.query(
        "CREATE TABLE m.t AS SELECT i AS a, 'x' AS b FROM UNNEST(GENERATE_ARRAY(1, 100)) AS i"
    ).result()
    client.query("CREATE VIEW m.v AS SELECT a FROM m.t").result()
    dry = QueryJobConfig(dry_run=True)
    processed = [
        client.query(sql, dry).total_bytes_processed
        for sql in ("SELECT a FROM m.t", "SELECT * FROM m.t", "SELECT sum(a) FROM m.v", "SELECT 1")
    ]
    assert processed == [800, 2_400, 800, 0]
    # The client does not know this reason.
    with pytest.raises(ServerError, match="exceeded limit for bytes billed"):
        client.query("SELECT a FROM m.t", QueryJobConfig(maximum_bytes_billed=1)).result()


def test_write_dispositions_of_loads_and_copies(gcp: Gcp, client: Any) -> None:
    bucket = gcp.server.storage_client().bucket(gcp.bucket)
    for number in (1, 2):
        bucket.blob(f"in/{number}.csv").upload_from_string(f"a,b\n{number},x\n")
    schema = [SchemaField("a", "INT64"), SchemaField("b", "STRING")]

    def load(uri: str, disposition: str) -> Any:
        config = LoadJobConfig(
            source_format="CSV", skip_leading_rows=1, schema=schema, write_disposition=disposition
        )
        return client.load_table_from_uri(f"gs://{gcp.bucket}/{uri}", "m.t", job_config=config).result()

    assert load("in/*.csv", "WRITE_EMPTY").output_rows == 2
    with pytest.raises(Conflict):
        load("in/1.csv", "WRITE_EMPTY")
    load("in/1.csv", "WRITE_APPEND")
    assert rows(client, "SELECT a FROM m.t ORDER BY 1") == [(1,), (1,), (2,)]
    load("in/2.csv", "WRITE_TRUNCATE")
    assert rows(client, "SELECT a FROM m.t") == [(2,)]
    with pytest.raises(NotFound):
        load("in/none*.csv", "WRITE_APPEND")
    client.copy_table("m.t", "m.copied").result()
    assert [tuple(row) for row in client.list_rows("m.copied")] == [(2, "x")]


def test_an_extract_has_every_row_in_no_order(gcp: Gcp, client: Any) -> None:
    import io

    import pyarrow.parquet as pq

    numbers = "SELECT i AS a FROM UNNEST(GENERATE_ARRAY(1, 200000)) AS i"
    client.query(f"CREATE TABLE m.t AS {numbers}").result()
    config = bigquery.ExtractJobConfig(destination_format="PARQUET")
    client.extract_table("m.t", f"gs://{gcp.bucket}/out/*.parquet", job_config=config).result()
    blobs = list(gcp.server.storage_client().list_blobs(gcp.bucket, prefix="out/"))
    assert len(blobs) == 2
    found = [
        value
        for blob in blobs
        for value in pq.read_table(io.BytesIO(blob.download_as_bytes()))["a"].to_pylist()
    ]
    assert found != sorted(found)
    assert sorted(found) == list(range(1, 200_001))


def test_a_schema_grows_and_does_not_shrink(client: Any) -> None:
    table = client.create_table(Table("mlops-project.m.t", schema=[SchemaField("a", "INT64")]))
    table.schema = [*table.schema, SchemaField("b", "STRING")]
    assert [field.name for field in client.update_table(table, ["schema"]).schema] == ["a", "b"]
    table.schema = [SchemaField("a", "INT64")]
    with pytest.raises(BadRequest, match="b is missing"):
        client.update_table(table, ["schema"])
    with pytest.raises(Conflict):
        client.create_table(Table("mlops-project.m.t"))
    assert client.create_table(Table("mlops-project.m.t"), exists_ok=True).num_rows == 0


def test_a_view_follows_its_table(client: Any) -> None:
    client.query("CREATE TABLE m.t AS SELECT 1 AS a").result()
    client.query("CREATE VIEW m.v AS SELECT * FROM m.t").result()
    client.query("CREATE OR REPLACE TABLE m.t AS SELECT 'x' AS b, 2 AS c").result()
    assert rows(client, "SELECT * FROM m.v") == [("x", 2)]


def test_dagster_gcp(gcp: Gcp, client: Any) -> None:
    from dagster_gcp import BigQueryResource

    with BigQueryResource(project="mlops-project", location=LOCATION).get_client() as made:
        made.query("CREATE TABLE m.t AS SELECT 7 AS a").result()
        assert [tuple(row) for row in made.query_and_wait("SELECT a FROM m.t")] == [(7,)]


def test_the_io_manager_of_dagster_gcp_pandas(gcp: Gcp, client: Any) -> None:
    import dagster as dg
    import pandas as pd
    from dagster_gcp_pandas import BigQueryPandasIOManager

    frame = pd.DataFrame({"a": [1, 2, None], "b": ["x", "y", "z"], "day": ["2026-01-01"] * 3})

    @dg.asset(key=["own", "rows"])
    def rows():
        return frame

    @dg.asset(ins={"rows": dg.AssetIn(key=["own", "rows"])})
    def read(rows) -> None:
        pd.testing.assert_frame_equal(rows.sort_values("b", ignore_index=True), frame)

    # Without annotations, which Dagster could not resolve in here, both are frames of pandas by default.
    manager = BigQueryPandasIOManager(project=client.project, location=LOCATION)
    for _ in range(2):  # the second time in place of the first
        assert dg.materialize([rows, read], resources={"io_manager": manager}).success


def test_rows_of_a_file_and_rows_one_by_one(client: Any) -> None:
    table = f"{client.project}.m.t"
    config = LoadJobConfig(source_format="CSV", skip_leading_rows=1, schema=[SchemaField("a", "INT64")])
    with pytest.raises(NotFound):
        client.insert_rows_json(table, [{"a": 1}])
    client.load_table_from_file(io.BytesIO(b"a\n1\n2\n"), table, job_config=config).result()
    assert client.insert_rows_json(table, [{"a": 3}, {"a": None}]) == []
    (error,) = client.insert_rows_json(table, [{"a": 4}, {"b": 5}])
    assert (error["index"], error["errors"][0]["location"]) == (1, "b")
    assert rows(client, "SELECT count(*), sum(a) FROM m.t") == [(4, 6)]
