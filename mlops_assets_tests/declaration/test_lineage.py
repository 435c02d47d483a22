"""Columns resolved and traced; the canonical SQL against DuckDB itself."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from mlops_assets.declaration.lineage import Catalog, resolve
from mlops_assets.declaration.loaded import SqlTable
from mlops_assets.declaration.source import mistakes_of
from mlops_assets.declaration.sql import read_sql
from mlops_assets.errors import DeclarationError

COLUMNS = ("id", "listed_at", "region", "size", "price")


def table(folder: Path, text: str, *, name: str = "features", catalog: Catalog | None = None) -> SqlTable:
    path = folder / f"{name}.sql"
    path.write_text(text, encoding="utf-8")
    return resolve(read_sql(path), catalog or Catalog("homes", COLUMNS))


def mistakes(folder: Path, text: str) -> list[DeclarationError]:
    with pytest.raises(DeclarationError) as caught:
        table(folder, text)
    return list(mistakes_of(caught.value))


def test_lineage_and_copies_of_a_plain_select(tmp_path: Path) -> None:
    made = table(
        tmp_path, "SELECT id, size AS area, price / nullif(size, 0) AS per_area, 1 AS one FROM arrivals"
    )
    assert made.lineage == {
        "id": (("arrivals", "id"),),
        "area": (("arrivals", "size"),),
        "per_area": (("arrivals", "price"), ("arrivals", "size")),
        "one": (),
    }
    assert made.passthrough == {"id": ("arrivals", "id"), "area": ("arrivals", "size")}
    assert made.dependencies == ("arrivals",)


def test_lineage_goes_through_ctes_subqueries_and_unions(tmp_path: Path) -> None:
    made = table(
        tmp_path,
        """
        WITH both_ends AS (
            SELECT id, size AS value FROM arrivals WHERE region = 'n'
            UNION ALL
            SELECT id, price FROM arrivals WHERE region = 's'
        ), renamed AS (SELECT id AS key, region AS place FROM arrivals)
        SELECT r.key, r.place, b.value, (SELECT max(a.listed_at) FROM arrivals AS a WHERE a.id = r.key) AS new
        FROM renamed AS r JOIN (SELECT id AS i, value FROM both_ends) AS b ON b.i = r.key
        """,
    )
    assert made.lineage["value"] == (("arrivals", "price"), ("arrivals", "size"))
    assert made.lineage["new"] == (("arrivals", "listed_at"),)
    assert made.passthrough == {"key": ("arrivals", "id"), "place": ("arrivals", "region")}


def test_a_later_table_knows_the_columns_of_an_earlier_one(tmp_path: Path) -> None:
    catalog = Catalog("homes", COLUMNS)
    table(tmp_path, "SELECT id, size * 2 AS twice FROM arrivals", name="first", catalog=catalog)
    made = table(tmp_path, "SELECT * FROM first", name="second", catalog=catalog)
    assert made.lineage == {"id": (("first", "id"),), "twice": (("first", "twice"),)}
    assert made.dependencies == ("first",)


def test_a_star_is_written_out_and_leaves_the_loaders_columns_out(tmp_path: Path) -> None:
    made = table(tmp_path, "SELECT * FROM arrivals")
    assert tuple(made.lineage) == COLUMNS
    assert "*" not in made.select
    assert "_object" in table(tmp_path, "SELECT id, _object FROM arrivals").lineage


def test_comments_layout_and_case_change_nothing(tmp_path: Path) -> None:
    one = table(tmp_path, "SELECT id, price FROM arrivals WHERE price > 1")
    two = table(
        tmp_path,
        "-- description: anew\n/* long */ select ID, -- the key\n  Price\nfrom Arrivals where price>1\n",
    )
    assert one.select == two.select
    assert one.lineage == two.lineage


def test_another_condition_changes_the_canonical_sql(tmp_path: Path) -> None:
    one = table(tmp_path, "SELECT id FROM arrivals WHERE price > 1")
    assert one.select != table(tmp_path, "SELECT id FROM arrivals WHERE price > 2").select


@pytest.mark.parametrize(
    ("text", "line", "what", "mend"),
    [
        ("SELECT id,\n  prize\nFROM arrivals", 2, "prize", "'price'"),
        ("SELECT a.id,\n  a.prize\nFROM arrivals AS a", 2, "prize", "'price'"),
        ("SELECT id FROM arrivals\nWHERE b.id = 1", 2, "'b'", "arrivals"),
        ("SELECT id FROM arrivals\nORDER BY pric", 2, "pric", "'price'"),
        (
            "SELECT id FROM arrivals AS a\nWHERE EXISTS (SELECT 1 FROM arrivals AS b\nWHERE b.id = a.idd)",
            3,
            "idd",
            "'id'",
        ),
        ("WITH x AS (\nSELECT q.id FROM arrivals)\nSELECT x.id FROM x, arrivals AS q", 2, "'q'", "arrivals"),
        ("SELECT\n  size\nFROM arrivals AS a JOIN arrivals AS b ON a.id = b.id", 2, "size", "a.size"),
        ("SELECT id,\n  count(*)\nFROM arrivals GROUP BY id", 2, "no name", "AS"),
        ("SELECT id, size AS id FROM arrivals", 1, "'id'", "AS"),
        ('SELECT id AS "Odd name" FROM arrivals', 1, "odd name", "lower-case"),
        ("SELECT id FROM arrivals UNION ALL SELECT id, size FROM arrivals", 1, "1 and 2", "same columns"),
        ("SELECT * FROM range(3)", 1, "*", "Name the columns"),
        ("SELECT id,\narrivals FROM arrivals", 2, "whole row", "columns"),
        ("-- materialized: incremental\n-- unique_key: idd\nSELECT id FROM arrivals", 2, "idd", "'id'"),
    ],
)
def test_a_wrong_column_names_file_line_and_mend(
    tmp_path: Path, text: str, line: int, what: str, mend: str
) -> None:
    (error,) = mistakes(tmp_path, text)
    assert what in error.what
    assert mend in (error.mend or "")
    assert error.where == f"{tmp_path / 'features.sql'}:{line}"


def test_several_wrong_columns_are_listed_at_once(tmp_path: Path) -> None:
    found = mistakes(tmp_path, "SELECT nix,\n  nope\nFROM arrivals\nWHERE nada > 1")
    assert [error.where for error in found] == [f"{tmp_path / 'features.sql'}:{line}" for line in (1, 2, 4)]


@pytest.mark.parametrize(
    "text",
    [
        "SELECT * FROM arrivals",
        "SELECT * EXCLUDE (price) REPLACE (size * 2 AS size) FROM arrivals",
        "SELECT * FROM arrivals QUALIFY row_number() OVER (PARTITION BY region ORDER BY id) = 1",
        "SELECT size AS s, s + 1 AS t FROM arrivals WHERE s > 20",
        "SELECT region, count(*) AS n, avg(price) AS m FROM arrivals GROUP BY 1 HAVING n > 1 ORDER BY m",
        "SELECT region, sum(price) FILTER (WHERE size > 30) AS big FROM arrivals GROUP BY ALL",
        "FROM arrivals SELECT id, CASE WHEN size > 30 THEN 'big' ELSE 'small' END AS kind",
        "SELECT a.id, b.price FROM arrivals a LEFT JOIN arrivals b USING (id)",
        "SELECT id FROM arrivals a ANTI JOIN (SELECT id FROM arrivals WHERE size > 30) b USING (id)",
        "SELECT * FROM arrivals a SEMI JOIN (SELECT id AS i FROM arrivals WHERE size > 30) b ON a.id = b.i",
        "SELECT id, (SELECT max(b.price) FROM arrivals b WHERE b.region = a.region) AS top FROM arrivals a",
        "WITH RECURSIVE t AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM t WHERE n < 3) SELECT n FROM t",
        "SELECT date_diff('day', listed_at, TIMESTAMP '2026-03-01') AS d, year(listed_at) AS y FROM arrivals",
        "SELECT region FROM arrivals UNION SELECT upper(region) FROM arrivals",
        "SELECT DISTINCT ON (region) region, id FROM arrivals ORDER BY region, id",
        "SELECT list_transform([1, 2], lambda v: v + id) AS l FROM arrivals",
        "SELECT t.v, id FROM arrivals, unnest([1, 2]) AS t(v)",
        "SELECT a.id, b.size FROM arrivals a ASOF JOIN arrivals b ON a.listed_at >= b.listed_at",
        "SELECT avg(id) OVER w AS m FROM arrivals WINDOW w AS (ORDER BY id ROWS 1 PRECEDING)",
        "SELECT id, price // 2 AS half, price % 7 AS rest, region LIKE 'n%' AS north FROM arrivals",
        "SELECT size::INT AS s, region ~ '^n.*' AS m, strftime(listed_at, '%Y') AS y FROM arrivals",
    ],
)
def test_the_canonical_sql_gives_what_duckdb_makes_of_the_original(tmp_path: Path, text: str) -> None:
    with duckdb.connect() as connection:
        connection.execute("CREATE SCHEMA homes")
        connection.execute(
            """CREATE TABLE homes.arrivals AS
            SELECT i AS id, TIMESTAMP '2026-01-01' + INTERVAL (i) DAY AS listed_at,
                   CASE WHEN i % 3 = 0 THEN 'north' ELSE 'south' END AS region,
                   i * 10.0 AS size, i * i * 1.5 AS price,
                   'a.csv' AS _object, i AS _row, TIMESTAMP '2026-02-01' AS _loaded_at
            FROM range(1, 7) t(i)"""
        )
        made = table(tmp_path, text)
        ours = connection.execute(f"SELECT * FROM ({made.select})")
        names = [column[0] for column in ours.description or ()]
        rows = sorted(map(repr, ours.fetchall()))
        connection.execute("USE homes")
        theirs = connection.execute(f"SELECT {', '.join(names)} FROM ({text})")
        assert names == list(made.lineage)
        assert rows == sorted(map(repr, theirs.fetchall()))
        assert rows
