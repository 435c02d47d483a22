"""ARRAY and STRUCT in the BigQuery stand-in, seen by Google's client: nothing of it is changed."""

import io
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from google.api_core.exceptions import BadRequest, ServerError
from google.cloud import bigquery
from google.cloud.bigquery import ExtractJobConfig, LoadJobConfig, ParquetOptions, SchemaField, Table

from mlops_assets_tests.standins.gcp.fixtures import Gcp

LINES = SchemaField(
    "lines",
    "RECORD",
    "REPEATED",
    fields=[SchemaField("price", "NUMERIC"), SchemaField("codes", "INTEGER", "REPEATED")],
)
TABLE = pa.table(
    {
        "tags": pa.array([["a", "b"], [], None]),
        "lines": pa.array(
            [[{"price": Decimal("1.5"), "codes": [1]}, {"price": None, "codes": None}], [], None],
            pa.list_(pa.struct([("price", pa.decimal128(38, 9)), ("codes", pa.list_(pa.int64()))])),
        ),
        "point": pa.array(
            [{"at": datetime(2026, 1, 2, tzinfo=UTC), "x": None}, None, {"at": None, "x": 0.5}]
        ),
    }
)
KEPT = [
    (
        ["a", "b"],
        [{"price": Decimal("1.5"), "codes": [1]}, {"price": None, "codes": []}],
        {"at": datetime(2026, 1, 2, tzinfo=UTC), "x": None},
    ),
    ([], [], None),
    ([], [], {"at": None, "x": 0.5}),
]


@pytest.fixture
def client(gcp: Gcp) -> Any:
    made = bigquery.Client(location="europe-west4")
    made.create_dataset("m")
    return made


def rows(client: Any, sql: str) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in client.query(sql, job_retry=None).result()]


def load(client: Any, table: pa.Table, *, inferred: bool, **parquet: Any) -> Any:
    file = io.BytesIO()
    pq.write_table(table, file, **parquet)
    file.seek(0)
    options = ParquetOptions()
    options.enable_list_inference = inferred
    config = LoadJobConfig(source_format="PARQUET", parquet_options=options)
    client.load_table_from_file(file, f"{client.project}.m.t", job_config=config).result()
    return client.get_table("m.t")


def shown(fields: Any) -> list[tuple[Any, ...]]:
    return [
        (item.name, item.field_type, item.mode, *([shown(item.fields)] if item.fields else []))
        for item in fields
    ]


def test_nested_values_of_a_select_are_read_by_the_client(client: Any) -> None:
    sql = (
        "SELECT [STRUCT(1 AS a, ['x'] AS b), STRUCT(NULL, [])], "
        "STRUCT(NUMERIC '1.25' AS n, STRUCT(TRUE AS f) AS s), "
        "CAST(NULL AS STRUCT<`a` INT64>), CAST(NULL AS ARRAY<STRING>)"
    )
    inner = {"n": Decimal("1.25"), "s": {"f": True}}
    assert rows(client, sql) == [([{"a": 1, "b": ["x"]}, {"a": None, "b": []}], inner, None, [])]


def test_lists_of_parquet_are_repeated_where_they_are_inferred(client: Any) -> None:
    loaded = load(client, TABLE, inferred=True)
    assert shown(loaded.schema) == [
        ("tags", "STRING", "REPEATED"),
        ("lines", "RECORD", "REPEATED", [("price", "NUMERIC", "NULLABLE"), ("codes", "INTEGER", "REPEATED")]),
        ("point", "RECORD", "NULLABLE", [("at", "TIMESTAMP", "NULLABLE"), ("x", "FLOAT", "NULLABLE")]),
    ]
    assert rows(client, "SELECT * FROM m.t") == KEPT
    assert [tuple(row.values()) for row in client.list_rows("m.t")] == KEPT
    assert rows(client, "SELECT l.price FROM m.t, UNNEST(lines) AS l WHERE l.price > 1") == [
        (Decimal("1.5"),)
    ]
    assert rows(client, "SELECT COUNT(*) FROM m.t WHERE tags IS NULL OR point.x = 0.5") == [(1,)]


def test_lists_of_parquet_are_records_of_elements_where_they_are_not(client: Any) -> None:
    loaded = load(client, TABLE.select(["tags"]).slice(0, 1), inferred=False)
    element = [("element", "STRING", "NULLABLE")]
    assert shown(loaded.schema) == [("tags", "RECORD", "NULLABLE", [("list", "RECORD", "REPEATED", element)])]
    assert rows(client, "SELECT * FROM m.t") == [({"list": [{"element": "a"}, {"element": "b"}]},)]


def test_a_repeated_field_is_empty_where_lists_are_not_inferred(client: Any) -> None:
    client.create_table(Table("mlops-project.m.t", schema=[SchemaField("tags", "STRING", "REPEATED")]))
    file = io.BytesIO()
    pq.write_table(TABLE.select(["tags"]), file)
    file.seek(0)
    schema = client.get_table("m.t").schema
    config = LoadJobConfig(source_format="PARQUET", schema=schema)
    client.load_table_from_file(file, "mlops-project.m.t", job_config=config).result()
    assert rows(client, "SELECT * FROM m.t") == [([],)] * 3


def test_a_list_with_elements_of_another_name_is_not_served(client: Any) -> None:
    with pytest.raises(ServerError, match="not one of `element`"):
        load(client, TABLE, inferred=True, use_compliant_nested_type=False)


def test_an_extract_holds_nested_columns_in_parquet_and_none_in_csv(gcp: Gcp, client: Any) -> None:
    load(client, TABLE, inferred=True)
    config = ExtractJobConfig(destination_format="PARQUET")
    client.extract_table("m.t", f"gs://{gcp.bucket}/out/*.parquet", job_config=config).result()
    (blob,) = gcp.server.storage_client().list_blobs(gcp.bucket, prefix="out/")
    read = pq.read_table(io.BytesIO(blob.download_as_bytes())).to_pylist()
    found = [tuple(row.values()) for row in read]
    assert len(found) == len(KEPT)
    assert all(row in found for row in KEPT)
    with pytest.raises(BadRequest, match=r"nested schema\. Field: tags"):
        client.extract_table("m.t", f"gs://{gcp.bucket}/out/t.csv").result()


def test_a_table_is_made_of_nested_fields_by_the_api_and_by_sql_and_grows(client: Any) -> None:
    made = client.create_table(Table("mlops-project.m.api", schema=[LINES]))
    client.query("CREATE TABLE m.sql (lines ARRAY<STRUCT<price NUMERIC, codes ARRAY<INT64>>>)").result()
    assert made.schema == client.get_table("m.sql").schema == [LINES]
    made.schema = [*made.schema, SchemaField("s", "RECORD", fields=[SchemaField("a b", "STRING")])]
    assert shown(client.update_table(made, ["schema"]).schema)[1] == (
        *("s", "RECORD", "NULLABLE"),
        [("a b", "STRING", "NULLABLE")],
    )
    made.schema = [SchemaField("lines", "RECORD", "REPEATED", fields=[SchemaField("price", "STRING")])]
    with pytest.raises(BadRequest, match="s is missing"):
        client.update_table(made, ["schema"])
    sql = "INSERT INTO m.sql (lines) VALUES ([STRUCT(NUMERIC '0.000000001' AS price, [1] AS codes)]), (NULL)"
    client.query(sql).result()
    found = sorted(rows(client, "SELECT lines FROM m.sql"), key=str)
    assert found == [([],), ([{"price": Decimal("0.000000001"), "codes": [1]}],)]
    assert client.insert_rows_json("mlops-project.m.sql", [{"lines": [{"price": 2, "codes": []}]}]) == []
    assert rows(client, "SELECT COUNT(*) FROM m.sql, UNNEST(lines)") == [(2,)]


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("SELECT [[1]]", "nested arrays are not supported"),
        ("CREATE TABLE m.t (a ARRAY<ARRAY<INT64>>)", "Arrays of arrays"),
        ("SELECT [1, NULL] AS a", "null element; error in writing field a"),
        ("CREATE TABLE m.t AS SELECT [1, NULL] AS a", "null element; error in writing field a"),
        ("CREATE TABLE m.t AS SELECT STRUCT([STRUCT(1 AS x), NULL] AS b) AS a", "error in writing field b"),
    ],
)
def test_what_no_array_holds_is_refused(client: Any, sql: str, words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        rows(client, sql)


def test_bytes_of_nested_columns_are_those_of_their_fields(client: Any) -> None:
    client.query("CREATE TABLE m.t AS SELECT [STRUCT(1 AS a, TRUE AS b)] AS s, 'x' AS t").result()
    dry = bigquery.QueryJobConfig(dry_run=True)
    assert client.query("SELECT s FROM m.t", dry).total_bytes_processed == 9
