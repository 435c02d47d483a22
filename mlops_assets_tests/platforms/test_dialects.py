"""DuckDB's dialect written in another warehouse's words."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_assets.errors import DataError
from mlops_assets.platforms.dialect_bigquery import decoded, encoded
from mlops_assets.platforms.sql import transpile


@pytest.mark.parametrize(
    ("select", "written"),
    [
        (
            "SELECT count(*) FILTER (WHERE a > 1) FROM t",
            'SELECT COUNT(CASE WHEN "a" > 1 THEN 1 END) FROM "t"',
        ),
        (
            "SELECT count(DISTINCT d) FILTER (WHERE c) FROM t",
            'SELECT COUNT(DISTINCT CASE WHEN "c" THEN "d" END) FROM "t"',
        ),
        ("SELECT avg(x) FROM t", 'SELECT AVG(CAST("x" AS DOUBLE PRECISION)) FROM "t"'),
        ("SELECT substring(a, 1, 8) FROM t", 'SELECT SUBSTRING("a", 1, 8) FROM "t"'),
        ("SELECT '\\' || a FROM t", 'SELECT \'\\\\\' || "a" FROM "t"'),
        (
            "SELECT a IS DISTINCT FROM b FROM t",
            'SELECT NOT (COALESCE("a" = "b", FALSE) OR ("a" IS NULL AND "b" IS NULL)) FROM "t"',
        ),
        (
            "SELECT a FROM t QUALIFY row_number() OVER (PARTITION BY a ORDER BY b) = 1",
            'SELECT "a" FROM (SELECT "a", ROW_NUMBER() OVER (PARTITION BY "a" ORDER BY "b") AS "_w" '
            'FROM "t") AS "_t" WHERE "_w" = 1',
        ),
    ],
)
def test_redshift_says_it_in_its_own_way(select: str, written: str) -> None:
    assert transpile(select, "redshift") == written


def test_parameters_are_numbered_as_they_are_written() -> None:
    select = "WITH a AS (SELECT x FROM t WHERE k IN (?, ?)) SELECT ? AS z, '?' AS \"?\" FROM a WHERE x = ?"
    written = transpile(select, "redshift")
    assert [written.index(f":p{number}") for number in (1, 2, 3, 4)] == sorted(
        written.index(f":p{number}") for number in (1, 2, 3, 4)
    )
    assert "'?' AS \"?\"" in written


@pytest.mark.parametrize(
    ("select", "words"),
    [
        ("SELECT sum(a) OVER (ORDER BY b) FROM t", "without ROWS"),
        ("SELECT list(a) FROM t", "list of values"),
        ("SELECT * FROM t QUALIFY row_number() OVER (ORDER BY a) = 1", r"SELECT \* with QUALIFY"),
        ("SELECT * FROM range(n) AS r(i)", "bounds"),
        ("SELECT 1; SELECT 2", "2 statements"),
        ("SELECT (", "cannot be written in redshift"),
    ],
)
def test_what_redshift_cannot_say_is_refused_with_the_mend(select: str, words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        transpile(select, "redshift")
    assert caught.value.mend


@pytest.mark.parametrize(
    ("select", "written"),
    [
        ("SELECT a || b FROM t", "SELECT CAST(`a` AS STRING) || CAST(`b` AS STRING) FROM `t`"),
        (
            "SELECT r.i FROM range(3, 9) AS r(i)",
            "SELECT `r`.`i` FROM (SELECT `i` FROM UNNEST(GENERATE_ARRAY(3, (9) - 1)) AS `i`) AS `r`",
        ),
        ("SELECT strlen(a) FROM t", "SELECT BYTE_LENGTH(`a`) FROM `t`"),
        ("SELECT md5(a) FROM t WHERE x = ?", "SELECT TO_HEX(MD5(`a`)) FROM `t` WHERE `x` = @p1"),
        ('SELECT "a b" AS "1`" FROM "x-y"."t"', "SELECT `a_x20_b` AS `_x31__x60_` FROM `x_x2d_y`.`t`"),
        ("SELECT CAST(a AS TIMESTAMP) FROM t", "SELECT CAST(`a` AS DATETIME) FROM `t`"),
        ("SELECT a IS DISTINCT FROM b FROM t", "SELECT `a` IS DISTINCT FROM `b` FROM `t`"),
    ],
)
def test_bigquery_says_it_in_its_own_way(select: str, written: str) -> None:
    assert transpile(select, "bigquery") == written


@pytest.mark.parametrize("function", ["median(a)", "quantile_cont(a, 0.5)"])
def test_what_bigquery_cannot_say_is_refused_with_the_mend(function: str) -> None:
    with pytest.raises(DataError, match="cannot be written for this warehouse") as caught:
        transpile(f"SELECT {function} FROM t", "bigquery")
    assert caught.value.mend


@given(st.text(min_size=1, max_size=20))
def test_every_name_has_one_of_bigquerys_and_comes_back(name: str) -> None:
    assert re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", encoded(name))
    assert decoded(encoded(name)) == name


def test_duckdb_is_left_as_it_is() -> None:
    assert transpile("SELECT ?  AS a", "duckdb") == "SELECT ?  AS a"
