"""Redshift's own statements, sent by the unmodified driver: accepted, refused, failing as there."""

from __future__ import annotations

import gzip
import io
import json
from datetime import date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import redshift_connector

from mlops_assets_tests.standins.redshift import RedshiftStandIn
from mlops_assets_tests.standins.redshift.fixtures import BUCKET, ROLE

AUTH = f"IAM_ROLE '{ROLE}'"


@pytest.fixture
def cursor(standin: RedshiftStandIn) -> Any:
    connection = standin.connect()
    yield connection.cursor()
    connection.close()


@pytest.fixture
def prefix(standin: RedshiftStandIn) -> str:
    """A prefix of the test's own."""
    return f"statements/{standin.database}"


def ask(cursor: Any, sql: str, *arguments: object) -> list[tuple[Any, ...]]:
    cursor.execute(sql, arguments or None)
    return [tuple(row) for row in cursor.fetchall()]


def refused(cursor: Any, sql: str) -> dict[str, str]:
    """The error's fields; the transaction is rolled back."""
    with pytest.raises(redshift_connector.ProgrammingError) as caught:
        cursor.execute(sql)
    cursor.execute("ROLLBACK")
    return caught.value.args[0]


def put_parquet(s3: Any, key: str, **columns: Any) -> None:
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out)
    s3.put_object(Bucket=BUCKET, Key=key, Body=out.getvalue())


def keys(s3: Any, prefix: str) -> list[str]:
    found = s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])
    return [item["Key"].removeprefix(prefix) for item in found]


def parquet(s3: Any, key: str) -> pa.Table:
    return pq.read_table(io.BytesIO(s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()))


# --- tables -----------------------------------------------------------------------------------------------


def test_attributes_of_tables_are_kept_and_survive_a_rename(cursor: Any) -> None:
    cursor.execute(
        "CREATE TABLE a (id BIGINT IDENTITY(1, 1) ENCODE az64, v VARCHAR(MAX) ENCODE zstd, "
        "t TIMESTAMP DEFAULT SYSDATE, PRIMARY KEY (id), UNIQUE (v)) "
        "DISTSTYLE KEY DISTKEY(v) COMPOUND SORTKEY(t, id)"
    )
    cursor.execute("ALTER TABLE a RENAME TO b")
    cursor.execute("CREATE TABLE c DISTSTYLE ALL INTERLEAVED SORTKEY(y) AS SELECT 1 AS x, 2 AS y")
    columns = 'trim("table"), diststyle, trim(sortkey1), sortkey_num'
    found = ask(cursor, f"SELECT {columns} FROM svv_table_info ORDER BY 1")
    assert found == [("b", "KEY(v)", "t", 2), ("c", "ALL", "y", 1)]
    found = ask(
        cursor, "SELECT \"column\", encoding, distkey, sortkey FROM pg_table_def WHERE tablename = 'b'"
    )
    assert sorted(found) == [("id", "az64", False, 2), ("t", "none", False, 1), ("v", "zstd", True, 0)]


def test_keys_must_be_columns(cursor: Any) -> None:
    assert "named in key" in refused(cursor, "CREATE TABLE a (x int) SORTKEY(y)")["M"]


def test_a_varchar_counts_bytes(cursor: Any) -> None:
    cursor.execute("CREATE TABLE v (a VARCHAR(3), b VARCHAR(3))")
    cursor.execute("INSERT INTO v VALUES ('abc', 'ab')")
    cursor.execute("COMMIT")
    assert refused(cursor, "INSERT INTO v VALUES ('äö', 'a')")["C"] == "22001"


@pytest.mark.parametrize(
    ("sql", "word"),
    [
        ("INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING", "ON CONFLICT"),
        ("CREATE INDEX i ON t (a)", "CREATE INDEX"),
        ("SELECT count(*) FILTER (WHERE a > 1) FROM t", "FILTER"),
        ("SELECT * FROM generate_series(1, 3)", "generate_series"),
        ("SELECT 1 IS NOT DISTINCT FROM 2", "DISTINCT FROM"),
        ("SELECT array_agg(a) FROM t", "array_agg"),
        ("SELECT a FROM t QUALIFY row_number() OVER (ORDER BY a) = 1", "QUALIFY"),
        ("ALTER TABLE t ALTER COLUMN a TYPE double precision", "VARCHAR"),
        ("COPY t FROM 's3://b/k' IAM_ROLE 'nobody' CSV", "IAM role"),
        ("COPY t FROM 's3://b/k' CSV", "authorization"),
        (f"COPY t FROM 's3://b/k' {AUTH} PARQUET MAXERROR 3", "maxerror"),
        (f"COPY t FROM 's3://b/k' {AUTH} PARQUET REGION 'x'", "REGION"),
        (f"UNLOAD ('SELECT 1 LIMIT 1') TO 's3://b/k' {AUTH} PARQUET", "Limit"),
        (f"UNLOAD ('SELECT 1') TO 's3://b/k' {AUTH} PARQUET MAXFILESIZE 1 MB", "MAXFILESIZE"),
        ("VACUUM t", "transaction block"),
        ("SELECT sum(a) OVER (ORDER BY a) FROM t", "frame clause"),
        ("SELECT CAST(a = 1 AS VARCHAR) FROM (SELECT 1 AS a) AS t", "boolean"),
    ],
)
def test_what_the_service_refuses_is_refused_by_name(cursor: Any, sql: str, word: str) -> None:
    cursor.execute("CREATE TABLE t (a int)")
    cursor.execute("COMMIT")
    assert word in refused(cursor, sql)["M"]


def test_truncate_commits(cursor: Any) -> None:
    cursor.execute("CREATE TABLE t AS SELECT 1 AS a")
    cursor.execute("TRUNCATE t")
    cursor.execute("ROLLBACK")
    assert ask(cursor, "SELECT count(*) FROM t") == [(0,)]


def test_expressions_are_those_of_redshift(cursor: Any) -> None:
    sql = (
        "SELECT nvl(NULL, 3), extract(year FROM TIMESTAMP '2024-02-03'), dateadd(day, 1, DATE '2024-01-01'), "
        "datediff(hour, TIMESTAMP '2024-01-01 00:59', TIMESTAMP '2024-01-01 01:01'), 'a\\\\b', "
        "round(2.345::float8, 2), len('abc'), CAST('x' AS VARCHAR(MAX))"
    )
    (found,) = ask(cursor, sql)
    assert found[:2] == (3, 2024)
    assert str(found[2]) == "2024-01-02 00:00:00"
    assert found[3:] == (1, "a\\b", 2.35, 3, "x")


def test_quoted_names_fold_unless_they_are_told_not_to(cursor: Any) -> None:
    cursor.execute('SELECT 1 AS "MiX"')
    assert cursor.description[0][0] == "mix"
    cursor.execute("SET enable_case_sensitive_identifier TO true")
    cursor.execute('SELECT 2 AS "MiX"')  # the driver would use the same text's plan again
    assert cursor.description[0][0] == "MiX"
    assert ask(cursor, "SHOW enable_case_sensitive_identifier") == [("true",)]


# --- views ------------------------------------------------------------------------------------------------


def test_a_late_binding_view_follows_its_table_and_comes_back_with_a_rollback(cursor: Any) -> None:
    cursor.execute("CREATE SCHEMA m")
    cursor.execute("CREATE VIEW m.v AS SELECT a + 1 AS b FROM m.t WITH NO SCHEMA BINDING")
    cursor.execute("CREATE VIEW m.w AS SELECT b * 2 AS c FROM m.v WITH NO SCHEMA BINDING")
    cursor.execute("COMMIT")
    assert "does not exist" in refused(cursor, "SELECT * FROM m.v")["M"]
    cursor.execute("CREATE TABLE m.t AS SELECT 1 AS a")
    assert ask(cursor, "SELECT * FROM m.w") == [(4,)]
    cursor.execute("COMMIT")
    cursor.execute("CREATE TABLE m.new AS SELECT 5 AS a, 6 AS more")
    cursor.execute("DROP TABLE m.t")
    cursor.execute("ALTER TABLE m.new RENAME TO t")
    assert ask(cursor, "SELECT * FROM m.w") == [(12,)]
    cursor.execute("ROLLBACK")
    assert ask(cursor, "SELECT * FROM m.w") == [(4,)]
    cursor.execute("DROP VIEW m.w")
    cursor.execute("DROP VIEW m.v")
    assert ask(cursor, "SELECT table_name FROM svv_tables WHERE table_schema = 'm'") == [("t",)]


def test_a_bound_view_keeps_its_table(cursor: Any) -> None:
    cursor.execute("CREATE TABLE t AS SELECT 1 AS a")
    cursor.execute("CREATE VIEW v AS SELECT a FROM t")
    cursor.execute("COMMIT")
    assert refused(cursor, "DROP TABLE t")["C"] == "2BP01"


def test_a_materialized_view_changes_when_it_is_refreshed(cursor: Any) -> None:
    cursor.execute("CREATE TABLE t AS SELECT 1 AS a")
    cursor.execute("CREATE MATERIALIZED VIEW v DISTSTYLE ALL AUTO REFRESH NO AS SELECT sum(a) AS s FROM t")
    cursor.execute("INSERT INTO t VALUES (2)")
    assert ask(cursor, "SELECT s FROM v") == [(1,)]
    cursor.execute("REFRESH MATERIALIZED VIEW v")
    assert ask(cursor, "SELECT s FROM v") == [(3,)]
    assert ask(cursor, "SELECT trim(name) FROM svv_mv_info") == [("v",)]


# --- COPY and UNLOAD --------------------------------------------------------------------------------------


def test_copy_reads_every_format_and_a_rollback_undoes_it(cursor: Any, s3: Any, prefix: str) -> None:
    cursor.execute("CREATE TABLE t (i bigint, g varchar(10), f double precision)")
    cursor.execute("COMMIT")
    put_parquet(s3, f"{prefix}/p/1.parquet", i=[1, None], g=["a", None], f=[1.5, None])
    s3.put_object(Bucket=BUCKET, Key=f"{prefix}/c/1.csv.gz", Body=gzip.compress(b'i,g,f\n2,"b ""c""",2\n'))
    s3.put_object(Bucket=BUCKET, Key=f"{prefix}/j/1.json", Body=b'{"i": 3, "f": 0.5}\n{"g": "x"}')
    s3.put_object(Bucket=BUCKET, Key=f"{prefix}/t/1.txt", Body=b"4|d|1\n")
    place = f"s3://{BUCKET}/{prefix}"
    cursor.execute(f"COPY t FROM '{place}/p/' {AUTH} FORMAT AS PARQUET")
    assert ask(cursor, "SELECT pg_last_copy_count()") == [(2,)]
    cursor.execute(f"COPY t FROM '{place}/c/' {AUTH} CSV GZIP IGNOREHEADER 1 COMPUPDATE OFF STATUPDATE OFF")
    cursor.execute(f"COPY t FROM '{place}/j/' {AUTH} FORMAT JSON 'auto'")
    cursor.execute(f"COPY public.t (i, g, f) FROM '{place}/t/' {AUTH}")
    found = ask(cursor, "SELECT i, g, f FROM t ORDER BY i, g")
    assert found == [
        *((1, "a", 1.5), (2, 'b "c"', 2.0), (3, None, 0.5), (4, "d", 1.0)),
        *((None, "x", None), (None, None, None)),
    ]
    cursor.execute("ROLLBACK")
    assert ask(cursor, "SELECT count(*) FROM t") == [(0,)]


def test_a_manifest_names_its_objects_and_their_sizes(cursor: Any, s3: Any, prefix: str) -> None:
    cursor.execute("CREATE TABLE t (i bigint)")
    cursor.execute("COMMIT")
    put_parquet(s3, f"{prefix}/1.parquet", i=[1, 2])
    url = f"s3://{BUCKET}/{prefix}/1.parquet"
    size = s3.head_object(Bucket=BUCKET, Key=f"{prefix}/1.parquet")["ContentLength"]

    def copy(*entries: dict[str, Any]) -> str:
        s3.put_object(Bucket=BUCKET, Key=f"{prefix}/m", Body=json.dumps({"entries": entries}).encode())
        return f"COPY t FROM 's3://{BUCKET}/{prefix}/m' {AUTH} FORMAT PARQUET MANIFEST"

    missing = f"s3://{BUCKET}/{prefix}/none"
    good = {"url": url, "mandatory": True, "meta": {"content_length": size}}
    cursor.execute(copy(good, {"url": missing, "meta": {"content_length": 1}}))
    assert ask(cursor, "SELECT count(*) FROM t") == [(2,)]
    assert "content_length" in refused(cursor, copy({"url": url}))["M"]
    assert "content_length" in refused(cursor, copy({**good, "meta": {"content_length": size + 1}}))["M"]
    assert "mandatory" in refused(cursor, copy({**good, "url": missing}))["M"]


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"x": ["a"], "y": [1]}, "incompatible"),
        ({"x": [1]}, "number of columns"),
        ({"x": [1], "y": [1.5]}, "'v'"),
    ],
)
def test_copy_is_strict_about_parquet(
    cursor: Any, s3: Any, prefix: str, columns: dict[str, list[Any]], words: str
) -> None:
    cursor.execute("CREATE TABLE t (i bigint, v varchar(3))")
    cursor.execute("COMMIT")
    put_parquet(s3, f"{prefix}/1.parquet", **columns)
    assert words in refused(cursor, f"COPY t FROM 's3://{BUCKET}/{prefix}/' {AUTH} PARQUET")["M"]


def test_a_record_that_does_not_load_fails_the_transaction_and_is_explained(
    cursor: Any, s3: Any, prefix: str
) -> None:
    cursor.execute("CREATE TABLE t (i int, v varchar(3))")
    cursor.execute("COMMIT")
    s3.put_object(Bucket=BUCKET, Key=f"{prefix}/1.csv", Body=b"1,a\nx,b\n")
    s3.put_object(Bucket=BUCKET, Key=f"{prefix}/long.csv", Body=b"1,abcd\n")
    with pytest.raises(redshift_connector.ProgrammingError, match="sys_load_error_detail"):
        cursor.execute(f"COPY t FROM 's3://{BUCKET}/{prefix}/1' {AUTH} CSV")
    with pytest.raises(redshift_connector.ProgrammingError, match="aborted"):
        cursor.execute("SELECT 1")
    cursor.execute("ROLLBACK")
    refused(cursor, f"COPY t FROM 's3://{BUCKET}/{prefix}/long' {AUTH} CSV")
    found = ask(
        cursor, "SELECT line_number, trim(colname), err_code, trim(filename) FROM stl_load_errors ORDER BY 3"
    )
    assert [row[:3] for row in found] == [(2, "i", 1200), (1, "v", 1204)]
    assert found[0][3] == f"s3://{BUCKET}/{prefix}/1.csv"


@pytest.mark.parametrize(
    ("source", "words"), [("s3://nowhere/x", "NoSuchBucket"), (f"s3://{BUCKET}/nothing/", "does not exist")]
)
def test_what_s3_says_is_handed_on(cursor: Any, source: str, words: str) -> None:
    cursor.execute("CREATE TABLE t (i int)")
    assert words in refused(cursor, f"COPY t FROM '{source}' {AUTH} CSV")["M"]


def test_unload_writes_in_order_or_in_slices_and_never_over_others(cursor: Any, s3: Any, prefix: str) -> None:
    cursor.execute("CREATE TABLE t AS SELECT 2 AS a, 'x' AS b UNION ALL SELECT 1, NULL")
    place = f"s3://{BUCKET}/{prefix}/u/"
    cursor.execute(
        f"UNLOAD ('SELECT a, b FROM t ORDER BY a') TO '{place}' {AUTH} PARQUET PARALLEL OFF MANIFEST"
    )
    assert ask(cursor, "SELECT pg_last_unload_count()") == [(2,)]
    assert keys(s3, f"{prefix}/u/") == ["000.parquet", "manifest"]
    assert parquet(s3, f"{prefix}/u/000.parquet").to_pylist() == [{"a": 1, "b": None}, {"a": 2, "b": "x"}]
    manifest = json.loads(s3.get_object(Bucket=BUCKET, Key=f"{prefix}/u/manifest")["Body"].read())
    (entry,) = manifest["entries"]
    assert entry["url"] == f"{place}000.parquet"
    assert entry["meta"]["content_length"] > 100
    cursor.execute("COMMIT")
    assert "not empty" in refused(cursor, f"UNLOAD ('SELECT 1') TO '{place}' {AUTH} PARQUET")["M"]
    cursor.execute(f"UNLOAD ('SELECT 1 AS a') TO '{place}' {AUTH} PARQUET ALLOWOVERWRITE")
    assert "0000_part_00.parquet" in keys(s3, f"{prefix}/u/")


@pytest.mark.parametrize("missing", [False, True], ids=["", "with NULL"])
def test_columns_of_one_width_come_and_go_as_they_are(
    cursor: Any, s3: Any, prefix: str, missing: bool
) -> None:
    """They pass in the engine's binary format: held against what the engine itself answers."""
    gap = [None] if missing else []
    columns = {
        "b": pa.array([True, False, *gap]),
        "s": pa.array([-(2**15), 2**15 - 1, *gap], pa.int16()),
        "i": pa.array([-(2**31), 2**31 - 1, *gap], pa.int32()),
        "l": pa.array([*gap, -(2**63), 2**63 - 1], pa.int64()),
        "r": pa.array([0.1, -1.5, *gap], pa.float32()),
        "f": pa.array([0.1, float("-inf"), *gap]),
        "d": pa.array([date(1, 1, 1), *gap, date(9999, 12, 31)]),
        "t": pa.array([datetime(1969, 12, 31, 23, 59, 59, 999999), datetime(9999, 12, 31), *gap]),
    }
    kinds = "b bool, s smallint, i int, l bigint, r real, f double precision, d date, t timestamp"
    cursor.execute(f"CREATE TABLE t ({kinds})")
    put_parquet(s3, f"{prefix}/in/1.parquet", **columns)
    cursor.execute(f"COPY t FROM 's3://{BUCKET}/{prefix}/in/' {AUTH} PARQUET")
    stored = pa.table(columns)
    answered = ask(cursor, "SELECT b, s, i, l, r::double precision, f, d, t FROM t")
    assert answered == [tuple(row.values()) for row in stored.to_pylist()]
    cursor.execute(f"UNLOAD ('SELECT * FROM t') TO 's3://{BUCKET}/{prefix}/out/' {AUTH} PARQUET PARALLEL OFF")
    assert parquet(s3, f"{prefix}/out/000.parquet").equals(stored)


def test_unload_partitions_and_speaks_csv(cursor: Any, s3: Any, prefix: str) -> None:
    place = f"s3://{BUCKET}/{prefix}"
    cursor.execute("CREATE TABLE t AS SELECT 1 AS a, 'x' AS g UNION ALL SELECT 2, NULL")
    cursor.execute(f"UNLOAD ('SELECT * FROM t') TO '{place}/p/' {AUTH} PARQUET PARTITION BY (g)")
    assert sorted(keys(s3, f"{prefix}/p/")) == [
        "g=__HIVE_DEFAULT_PARTITION__/0000_part_00.parquet",
        "g=x/0000_part_00.parquet",
    ]
    assert parquet(s3, f"{prefix}/p/g=x/0000_part_00.parquet").to_pydict() == {"a": [1]}
    cursor.execute(
        f"UNLOAD ($$SELECT a, 'it''s' AS w FROM t ORDER BY a$$) TO '{place}/c/' {AUTH} "
        "CSV HEADER GZIP PARALLEL OFF"
    )
    body = s3.get_object(Bucket=BUCKET, Key=f"{prefix}/c/000.gz")["Body"].read()
    assert gzip.decompress(body).decode().replace('"', "") == "a,w\n1,it's\n2,it's\n"


def test_every_type_comes_back_from_parquet_as_it_went(cursor: Any, s3: Any, prefix: str) -> None:
    import datetime as dt
    from decimal import Decimal

    cursor.execute(
        "CREATE TABLE t (i bigint, v varchar(200), d decimal(12, 2), ts timestamp, da date, "
        "b boolean, r real)"
    )
    table = pa.table(
        {
            "i": [1, -(2**63), None],
            "v": ['a,b"c\n\\N \\. \t', "", "ünïcødé 漢字"],
            "d": pa.array([Decimal("1.10"), None, Decimal("9999999999.99")], pa.decimal128(12, 2)),
            "ts": pa.array(
                [dt.datetime(2024, 1, 1, 1, 2, 3, 456789), None, dt.datetime(1, 1, 1)], pa.timestamp("us")
            ),
            "da": pa.array([dt.date(2024, 2, 29), None, dt.date(9999, 12, 31)]),
            "b": [True, False, None],
            "r": pa.array([1.5, None, float("inf")], pa.float32()),
        }
    )
    out = io.BytesIO()
    pq.write_table(table, out)
    s3.put_object(Bucket=BUCKET, Key=f"{prefix}/in/1.parquet", Body=out.getvalue())
    cursor.execute(f"COPY t FROM 's3://{BUCKET}/{prefix}/in/' {AUTH} PARQUET")
    assert [list(row) for row in ask(cursor, "SELECT * FROM t")] == [
        list(row.values()) for row in table.to_pylist()
    ]
    cursor.execute(f"UNLOAD ('SELECT * FROM t') TO 's3://{BUCKET}/{prefix}/out/' {AUTH} PARQUET PARALLEL OFF")
    assert parquet(s3, f"{prefix}/out/000.parquet").to_pylist() == table.to_pylist()


# --- history ----------------------------------------------------------------------------------------------


def test_the_history_knows_each_statement_by_its_query_group(cursor: Any) -> None:
    cursor.execute("SET query_group TO 'ours'")
    cursor.execute("CREATE TABLE t AS SELECT 1 AS a")
    ask(cursor, "SELECT a FROM t")
    found = ask(
        cursor,
        "SELECT query_type, status, elapsed_time > 0, returned_bytes > 0 FROM sys_query_history "
        "WHERE query_label = 'ours' AND query_type IN ('CREATE', 'SELECT') ORDER BY query_id",
    )
    assert [tuple(str(part).strip() for part in row) for row in found] == [
        ("CREATE", "success", "True", "False"),
        ("SELECT", "success", "True", "True"),
    ]
