"""What every platform's warehouse does: one suite, run by each platform's tests.

A platform's test class inherits `WarehouseContract` and gives the fixture `platform`.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlops_assets.artifacts import Column
from mlops_assets.declaration.schema import SplitSpec
from mlops_assets.errors import DataError
from mlops_assets.pipeline.splits import ORDER, SPLIT, Splitter
from mlops_assets.platforms.costs import counting
from mlops_assets.platforms.ports import LedgerEntry, LoadRequest, LoadResult, Platform, TableBuild, Warehouse

COLUMNS = {"id": "int", "price": "float", "sold": "bool", "city": "string", "at": "timestamp", "day": "date"}
HEADER = "id,price,sold,city,at,day\n"
GOOD = "1,1.5,true,Köln,2026-01-02T03:04:05Z,2026-01-02\n"
_versions = itertools.count(1)


def request(platform: Platform, data: bytes | str, key: str = "a.csv", **fields: Any) -> LoadRequest:
    """Let `data` arrive under `key`; a request to load it."""
    uri = platform.store.root.join("landing/homes", key)
    platform.store.write(uri, data.encode() if isinstance(data, str) else data)
    version = str(next(_versions))
    made = LoadRequest(
        relation="homes.arrivals",
        quarantine="homes.arrivals_quarantine",
        ledger="homes.arrivals_ledger",
        uri=uri,
        key=key,
        version=version,
        content=platform.store.digest(uri),
        format="csv",
        columns=COLUMNS,
    )
    return replace(made, **fields)


def load(platform: Platform, data: bytes | str, key: str = "a.csv", **fields: Any) -> LoadResult:
    """Let `data` arrive and load it."""
    return platform.warehouse.load(request(platform, data, key, **fields))


def rows(
    warehouse: Warehouse, columns: str = "*", relation: str = "homes.arrivals", order: str = "1"
) -> list[tuple[Any, ...]]:
    """Rows of a relation."""
    return [
        tuple(row.values()) for row in warehouse.query(f"SELECT {columns} FROM {relation} ORDER BY {order}")
    ]


def rejected(warehouse: Warehouse) -> list[tuple[Any, ...]]:
    """(object, line, reason, raw) in quarantine."""
    return rows(warehouse, "_object, _line, reason, raw", "homes.arrivals_quarantine", "1, 2")


def reader(*batches: Mapping[str, list[Any]]) -> pa.RecordBatchReader:
    """A stream of batches that can be read once."""
    made = [pa.record_batch(dict(batch)) for batch in batches]

    def stream() -> Iterator[pa.RecordBatch]:
        yield from made

    return pa.RecordBatchReader.from_batches(made[0].schema, stream())


class WarehouseContract:
    """Behaviour of `Warehouse`, seen through the port alone.

    Attributes:
        figures: the costs that this warehouse tells.
    """

    figures: frozenset[str]

    @pytest.fixture
    def platform(self) -> Platform:
        raise NotImplementedError

    @pytest.fixture
    def warehouse(self, platform: Platform) -> Warehouse:
        return platform.warehouse

    # --- loading

    def test_a_file_becomes_typed_rows_that_know_where_they_came_from(self, platform: Platform) -> None:
        assert load(platform, HEADER + GOOD) == LoadResult(1, 1, 0, {})
        found = rows(platform.warehouse, 'id, price, sold, city, "at", day, _object, _row')
        expected = (1, 1.5, True, "Köln", datetime(2026, 1, 2, 3, 4, 5), date(2026, 1, 2), "a.csv", 1)
        assert found == [expected]
        columns = platform.warehouse.columns("homes.arrivals")
        assert columns is not None
        assert {column.name: column.type for column in columns} == {
            **COLUMNS,
            "_object": "string",
            "_row": "int",
            "_loaded_at": "timestamp",
        }

    def test_a_bad_row_goes_to_quarantine_with_line_reason_and_text(self, platform: Platform) -> None:
        bad = "2,cheap,no,Bonn,2026-01-02,2026-01-02\n3,1\n"
        result = load(platform, HEADER + GOOD + "\n" + bad + GOOD)
        assert result == LoadResult(4, 2, 2, {"2 field(s) instead of 6": 1, "price: not a float": 1})
        assert rejected(platform.warehouse) == [
            ("a.csv", 4, "price: not a float", "2,cheap,no,Bonn,2026-01-02,2026-01-02"),
            ("a.csv", 5, "2 field(s) instead of 6", "3,1"),
        ]
        assert rows(platform.warehouse, "_row") == [(1,), (4,)]

    @pytest.mark.parametrize(
        ("kind", "accepted", "refused"),
        [
            (
                "int",
                {"3": 3, " 3 ": 3, "3.0": 3, "-0": 0, "+7": 7, "9223372036854775807": 2**63 - 1, "": None},
                ["3.5", "1e3", "0x1F", "1_000", "1,5", "nan", "9223372036854775808", "٣", "three"],
            ),
            (
                "float",
                {"1.5": 1.5, "1e3": 1000.0, "-.5": -0.5, " 2 ": 2.0, "": None},
                ["nan", "NaN", "inf", "-Infinity", "1e999", "1_000", "0x1p3", "1,5", "x"],
            ),
            (
                "bool",
                {
                    "true": True,
                    "T": True,
                    "YES": True,
                    "1": True,
                    "False": False,
                    "n": False,
                    "0": False,
                    "": None,
                },
                ["2", "oui", "truee"],
            ),
            (
                "timestamp",
                {
                    "2026-01-02": datetime(2026, 1, 2),
                    "2026-01-02 03:04": datetime(2026, 1, 2, 3, 4),
                    "2026-01-02T03:04:05.123456": datetime(2026, 1, 2, 3, 4, 5, 123456),
                    "2026-01-02T00:00:00+02:00": datetime(2026, 1, 1, 22),
                    "2026-03-29T02:30:00": datetime(2026, 3, 29, 2, 30),
                },
                [
                    "2026-02-30",
                    "epoch",
                    "infinity",
                    "02/01/2026",
                    "2026-1-2",
                    "20260102",
                    "10000-01-01",
                    "2026-01-02T25:00",
                ],
            ),
            (
                "date",
                {"2026-01-02": date(2026, 1, 2), "2026-01-02T00:00:00": date(2026, 1, 2), "": None},
                ["2026-01-02 10:00", "2026-02-30", "infinity", "1/2/2026"],
            ),
            ("string", {" x ": " x ", "nan": "nan", "": None}, []),
        ],
    )
    def test_values_are_parsed_by_rule_or_quarantined(
        self, platform: Platform, kind: str, accepted: dict[str, Any], refused: list[str]
    ) -> None:
        values = [*accepted, *refused]
        text = "n,v\n" + "".join(f'{number},"{value}"\n' for number, value in enumerate(values))
        result = load(platform, text, columns={"n": "int", "v": kind})
        assert (result.rows_in, result.loaded, result.quarantined) == (
            len(values),
            len(accepted),
            len(refused),
        )
        assert [value for _, value in rows(platform.warehouse, "n, v")] == list(accepted.values())
        lines = [line for _, line, *_ in rejected(platform.warehouse)]
        assert lines == [2 + values.index(value) for value in refused]

    def test_columns_are_found_by_name_in_any_order_and_others_ignored(self, platform: Platform) -> None:
        text = 'Odd "Name",extra,b\n1,x,2\n'.replace('Odd "Name"', '"Odd ""Name"""')
        load(platform, text, columns={"a": "int", "b": "int"}, sources={"a": 'Odd "Name"'})
        assert rows(platform.warehouse, "a, b") == [(1, 2)]

    def test_conditions_send_rows_to_quarantine_with_their_reason(self, platform: Platform) -> None:
        conditions = {"price below 2": '"price" >= 2', "city is missing": '"city" IS NOT NULL'}
        text = HEADER + GOOD + "2,2,1,,2026-01-01,2026-01-01\n3,3,1,x,2026-01-01,2026-01-01\n4,,1,x,,\n"
        result = load(platform, text, conditions=conditions)
        assert result.reasons == {"price below 2": 2, "city is missing": 1}
        assert rows(platform.warehouse, "id") == [(3,)]

    def test_declared_null_values_are_missing(self, platform: Platform) -> None:
        load(
            platform,
            "v,s\n-999,NA\nNA,-999\n7, NA \n",
            columns={"v": "int", "s": "string"},
            null_values=("NA", "-999"),
        )
        assert rows(platform.warehouse, "v, s", order="_row") == [(None, None), (None, None), (7, " NA ")]

    @pytest.mark.parametrize(
        ("data", "words"),
        [
            (b"", "empty"),
            (b"\xef\xbb\xbf\n\n", "empty|names none"),
            (b"1,2\n3,4\n", "no header"),
            (b"id\n1\n", "no column 'v'"),
            (b"id,v,v\n1,2,3\n", "more than once"),
            ("id,v\n1,2\n".encode("utf-16"), "UTF-16"),
            (b"id,v\r1,2\r", "carriage return"),
            (b'id,"v\n1,2\n', "header cannot be read"),
            (b"\xff,id,v\n1,2,3\n", "not UTF-8"),
        ],
    )
    def test_a_file_that_cannot_be_what_was_declared_changes_nothing(
        self, platform: Platform, data: bytes, words: str
    ) -> None:
        columns = {"id": "int", "v": "int"}
        load(platform, "id,v\n1,2\n", columns=columns)
        with pytest.raises(DataError, match=words) as caught:
            load(platform, data, columns=columns)
        assert caught.value.mend
        assert "a.csv" in str(caught.value)
        assert rows(platform.warehouse, "id, v") == [(1, 2)]

    def test_a_header_alone_is_a_file_of_no_rows(self, platform: Platform) -> None:
        assert load(platform, HEADER) == LoadResult(0, 0, 0, {})
        assert load(platform, HEADER.rstrip(), "b.csv") == LoadResult(0, 0, 0, {})

    def test_other_delimiters_line_ends_and_a_byte_order_mark_are_read(self, platform: Platform) -> None:
        text = '\ufeffa;b\r\n1;"x;y"\r\n2;"two\r\nlines"\r\n'
        load(platform, text, columns={"a": "int", "b": "string"}, delimiter=";")
        assert rows(platform.warehouse, "a, b") == [(1, "x;y"), (2, "two\r\nlines")]

    def test_the_same_object_twice_leaves_its_rows_once(self, platform: Platform) -> None:
        text = HEADER + GOOD + "x,,,,,\n"
        assert load(platform, text) == load(platform, text)
        assert len(rows(platform.warehouse)) == 1
        assert len(rejected(platform.warehouse)) == 1
        assert len(platform.warehouse.loaded("homes.arrivals_ledger")) == 1

    def test_a_changed_object_leaves_exactly_its_latest_rows(self, platform: Platform) -> None:
        load(platform, HEADER + GOOD * 3 + "x,,,,,\n")
        load(platform, HEADER + GOOD, "b.csv")
        load(platform, HEADER + GOOD.replace("Köln", "Bonn"))
        assert rows(platform.warehouse, "_object, city") == [("a.csv", "Bonn"), ("b.csv", "Köln")]
        assert rejected(platform.warehouse) == []

    def test_json_lines_follow_the_same_rules(self, platform: Platform) -> None:
        lines = [
            json.dumps({"id": 1, "a/b~c": "x"}),
            json.dumps({"id": "2.0", "a/b~c": None}),
            "[1]",
            '{"id": 1.5}',
            "{broken",
            "",
            json.dumps({"a/b~c": "é"}),
        ]
        columns, sources = {"id": "int", "s": "string"}, {"s": "a/b~c"}
        result = load(platform, "\n".join(lines), columns=columns, sources=sources, format="json")
        assert result == LoadResult(6, 3, 3, {"id: not an int": 1, "not a JSON object": 2})
        assert rows(platform.warehouse, "id, s, _row", order="_row") == [
            (1, "x", 1),
            (2, None, 2),
            (None, "é", 6),
        ]
        assert [line for _, line, *_ in rejected(platform.warehouse)] == [3, 4, 5]
        with pytest.raises(DataError, match="JSON array"):
            load(platform, "[\n{}\n]", columns=columns, format="json")

    def test_parquet_follows_the_same_rules(self, platform: Platform) -> None:
        table = pa.table(
            {
                "f": [1.5, float("nan"), None, float("inf")],
                "i": ["1", "2.0", "x", "4"],
                "t": pa.array([datetime(2026, 1, 1)] * 4, pa.timestamp("ns", "UTC")),
            }
        )
        out = io.BytesIO()
        pq.write_table(table, out)
        columns = {"f": "float", "i": "int", "t": "timestamp"}
        result = load(platform, out.getvalue(), columns=columns, format="parquet")
        assert result == LoadResult(4, 1, 3, {"f: not a float": 2, "i: not an int": 1})
        assert rows(platform.warehouse, "f, i, t") == [(1.5, 1, datetime(2026, 1, 1))]
        assert [line for _, line, *_ in rejected(platform.warehouse)] == [2, 3, 4]
        assert json.loads(rejected(platform.warehouse)[1][3])["i"] == "x"
        with pytest.raises(DataError, match="no column 'g'"):
            load(platform, out.getvalue(), columns={"g": "float"}, format="parquet")
        with pytest.raises(DataError, match="Parquet"):
            load(platform, out.getvalue()[:-9], columns=columns, format="parquet")

    def test_a_column_declared_later_is_added_and_a_wider_type_taken(self, platform: Platform) -> None:
        load(platform, "a\n1\n", columns={"a": "int"})
        load(platform, "a,b\n1.5,x\n", "b.csv", columns={"a": "float", "b": "string"})
        assert rows(platform.warehouse, "a, b") == [(1.0, None), (1.5, "x")]
        with pytest.raises(DataError, match="'a'"):
            load(platform, "a\n1\n", "c.csv", columns={"a": "bool"})

    def test_names_need_no_care(self, platform: Platform) -> None:
        odd = 'drop"; --'
        name = {"relation": f"{odd}.x y", "quarantine": f"{odd}.select", "ledger": f"{odd}.'"}
        result = load(platform, '"a b",""""\n1,2\n', "it's.csv", columns={"a b": "int", '"': "int"}, **name)
        assert result.loaded == 1
        assert list(platform.warehouse.loaded(name["ledger"])) == ["it's.csv"]
        assert platform.warehouse.columns(name["relation"]) is not None
        platform.warehouse.drop(name["relation"])
        assert platform.warehouse.columns(name["relation"]) is None

    # --- the ledger

    def test_the_ledger_knows_each_object_and_its_counts(self, platform: Platform) -> None:
        first = request(platform, HEADER + GOOD + "x,,,,,\n")
        platform.warehouse.load(first)
        load(platform, HEADER, "b.csv")
        ledger = platform.warehouse.loaded(first.ledger)
        assert ledger["a.csv"] == LedgerEntry(first.version, first.content, 2, 1, 1)
        assert set(ledger) == {"a.csv", "b.csv"}
        assert set(platform.warehouse.loaded(first.ledger, ["b.csv", "none"])) == {"b.csv"}
        assert platform.warehouse.loaded(first.ledger, []) == {}
        assert platform.warehouse.loaded("homes.not_there") == {}

    def test_the_state_depends_on_what_was_loaded_not_on_when(self, platform: Platform) -> None:
        texts = {"a.csv": HEADER + GOOD, "b.csv": HEADER}
        for key, text in texts.items():
            load(platform, text, key)
            load(platform, text, key, ledger="homes.other", relation="homes.r", quarantine="homes.q")
        first = platform.warehouse.state("homes.arrivals_ledger")
        load(platform, texts["a.csv"], "a.csv")
        assert platform.warehouse.state("homes.arrivals_ledger") == first
        load(platform, texts["b.csv"] + GOOD, "b.csv")
        assert platform.warehouse.state("homes.arrivals_ledger") != first
        assert platform.warehouse.state("homes.other") == first
        assert platform.warehouse.state("homes.none") not in (first, "")

    # --- tables

    def test_a_table_is_built_replaced_and_described(self, warehouse: Warehouse) -> None:
        ref = warehouse.build(TableBuild("m.t", "SELECT 1 AS a, 'x' AS b"))
        assert (ref.relation, ref.version, ref.rows) == ("m.t", "", 1)
        assert ref.columns == (Column(name="a", type="int"), Column(name="b", type="string"))
        again = warehouse.build(TableBuild("m.t", "SELECT a + 1 AS c FROM m.t UNION ALL SELECT 5"))
        assert again.rows == 2
        assert rows(warehouse, "c", "m.t") == [(2,), (5,)]

    def test_a_failed_build_leaves_the_old_relation(self, warehouse: Warehouse) -> None:
        warehouse.build(TableBuild("m.t", "SELECT 1 AS a"))
        with pytest.raises(DataError):
            warehouse.build(TableBuild("m.t", "SELECT error('no') AS a FROM m.t"))
        with pytest.raises(DataError):
            warehouse.build(TableBuild("m.t", "SELECT missing FROM m.t"))
        assert rows(warehouse, "a", "m.t") == [(1,)]

    def test_a_view_follows_its_tables_and_can_change_places_with_a_table(self, warehouse: Warehouse) -> None:
        warehouse.build(TableBuild("m.t", "SELECT 1 AS a"))
        view = warehouse.build(TableBuild("m.v", "SELECT a + 1 AS b FROM m.t", "view"))
        assert view.rows is None
        assert view.columns == (Column(name="b", type="int"),)
        warehouse.build(TableBuild("m.t", "SELECT 5 AS a"))
        assert rows(warehouse, "b", "m.v") == [(6,)]
        warehouse.build(TableBuild("m.v", "SELECT 7 AS b", "table"))
        assert rows(warehouse, "b", "m.v") == [(7,)]
        warehouse.build(TableBuild("m.v", "SELECT 8 AS b", "view"))
        warehouse.build(TableBuild("m.v", "SELECT 9 AS b", "incremental", ("b",)))
        assert rows(warehouse, "b", "m.v") == [(9,)]

    def test_a_materialized_view_keeps_its_rows_until_it_is_built_again(self, warehouse: Warehouse) -> None:
        view = TableBuild("m.v", "SELECT sum(a) AS s FROM m.t", "materialized_view")
        warehouse.build(TableBuild("m.t", "SELECT 1 AS a", "incremental", ("a",)))
        ref = warehouse.build(view)
        assert (ref.rows, [column.name for column in ref.columns]) == (1, ["s"])
        warehouse.build(TableBuild("m.t", "SELECT 5 AS a", "incremental", ("a",)))
        assert rows(warehouse, "s", "m.v") == [(1,)]
        warehouse.build(view)
        assert rows(warehouse, "s", "m.v") == [(6,)]
        warehouse.build(TableBuild("m.t", "SELECT 7 AS a"))
        warehouse.build(view)
        assert rows(warehouse, "s", "m.v") == [(7,)]
        warehouse.build(TableBuild("m.v", "SELECT 9 AS s"))
        assert rows(warehouse, "s", "m.v") == [(9,)]
        warehouse.build(view)
        warehouse.drop("m.v")
        assert warehouse.columns("m.v") is None

    def test_an_incremental_table_replaces_rows_of_equal_key_and_widens(self, warehouse: Warehouse) -> None:
        def build(select: str) -> int | None:
            return warehouse.build(TableBuild("m.t", select, "incremental", ("k", "part"))).rows

        assert build("SELECT * FROM (VALUES (1, 'a', 1), (1, 'a', 2), (NULL, 'b', 3)) AS r(k, part, v)") == 3
        assert (
            build("SELECT * FROM (VALUES (1, 'a', 9.5, 'new'), (NULL, 'b', 4, 'new')) AS r(k, part, v, w)")
            == 2
        )
        assert build("SELECT 2 AS k, 'a' AS part, 7 AS v") == 3
        assert rows(warehouse, "k, part, v, w", "m.t", "v") == [
            (None, "b", 4, "new"),
            (2, "a", 7, None),
            (1, "a", 9.5, "new"),
        ]

    def test_nothing_but_the_relation_is_left_behind(self, warehouse: Warehouse) -> None:
        for kind in ("table", "incremental", "incremental"):
            warehouse.build(TableBuild("m.t", "SELECT 1 AS a", kind, ("a",)))
        warehouse.write("m.u", reader({"a": [1]}), unique_key=("a",))
        warehouse.write("m.u", reader({"a": [1]}), unique_key=("a",))
        tables = warehouse.query(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = 'm' ORDER BY 1"
        )
        assert [row["table_name"] for row in tables] == ["t", "u"]

    def test_a_temporary_table_is_computed_once_and_goes_with_its_block(
        self, platform: Platform, warehouse: Warehouse
    ) -> None:
        warehouse.build(TableBuild("m.t", "SELECT i AS a FROM range(1000) AS r(i)"))
        uri = platform.store.root.join("exports", "few", "data.parquet")
        with warehouse.temporary("m.few", "SELECT a, random() AS b FROM m.t WHERE a < 10") as few:
            joined = (
                f"SELECT t.a, b FROM m.t AS t JOIN {few.relation} AS f ON t.a = f.a WHERE t.a >= ? ORDER BY a"
            )
            first = few.query(joined, [7])
            assert [row["a"] for row in first] == [7, 8, 9]
            assert few.query(joined, [7]) == first
            assert few.export(f"SELECT a, b FROM {few.relation} WHERE a >= 7 ORDER BY a", uri) == 3
        assert pq.read_table(platform.store.local(uri)).to_pylist() == first
        assert warehouse.columns("m.few") is None

    def test_a_temporary_table_goes_however_its_block_ends(self, warehouse: Warehouse) -> None:
        with pytest.raises(DataError, match="nothing"), warehouse.temporary("m.few", "SELECT 1 AS a") as few:
            few.query(f"SELECT nothing FROM {few.relation}")
        with pytest.raises(DataError, match="nothing"), warehouse.temporary("m.few", "SELECT nothing"):
            pass
        with pytest.raises(ZeroDivisionError), warehouse.temporary("m.few", "SELECT 1 AS a"):
            _ = 1 / 0
        with warehouse.temporary("m.few", "SELECT 2 AS a") as few:
            assert few.query(f"SELECT a FROM {few.relation}") == [{"a": 2}]
        assert warehouse.columns("m.few") is None

    # --- splits

    def test_the_same_rows_fall_into_the_same_splits_on_every_platform(self, warehouse: Warehouse) -> None:
        floats = [
            0.0,
            -0.0,
            1.0,
            0.1 + 0.2,
            -1234.5678,
            1 / 3,
            1e-7,
            -2.5e-12,
            123456789.123456,
            1e15,
            3e22,
            1e300,
        ]
        count = 300
        table = pa.table(
            {
                "id": range(count),
                "f": [None if at % 41 == 0 else floats[at % 12] * (1 + at // 12) for at in range(count)],
                "s": [("Ünï", "a|b", "", None, "x")[at % 5] for at in range(count)],
                "b": [(True, False, None)[at % 3] for at in range(count)],
                "at": [datetime(2026, 1, 1, 12, 30, at % 60, 250_000 * (at % 4)) for at in range(count)],
                "day": [date(1969 + at % 90, 2, 28) for at in range(count)],
                "y": [1.5] * count,
            }
        )
        warehouse.write("m.t", table.to_reader())
        columns = warehouse.columns("m.t")
        assert columns is not None
        digests = []
        for split in (SplitSpec(by="hash"), SplitSpec(by="hash", key="f")):
            splitter = Splitter("m.t", columns, split, "y")
            warehouse.build(TableBuild("m.assigned", splitter.assigned()))
            found = rows(warehouse, "id, _mlops_split, _mlops_order", "m.assigned")
            assert len({name for _, name, _ in found}) == 3
            (entities,) = warehouse.query(splitter.straddling("m.assigned"))
            assert entities == {"entities": len({place for *_, place in found}), "straddling": 0}
            kept = ", ".join(f'"{column.name}"' for column in columns)
            moved = f"CASE WHEN id % 2 = 0 THEN 'test' ELSE 'train' END AS {SPLIT}"
            warehouse.build(TableBuild("m.moved", f"SELECT {kept}, {ORDER}, {moved} FROM m.assigned"))
            (entities,) = warehouse.query(splitter.straddling("m.moved"))
            both = [{id_ % 2 for id_, _, at in found if at == place} for place in {at for *_, at in found}]
            assert entities == {"entities": len(both), "straddling": sum(len(one) == 2 for one in both)}
            digests.append(hashlib.sha256(json.dumps(found).encode()).hexdigest()[:16])
        assert digests == ["c84bcf350bcf175c", "ba8cbc0ec1b0080e"]

    # --- reading and writing

    def test_parameters_are_values_never_sql(self, warehouse: Warehouse) -> None:
        hostile = "'; DROP TABLE x; --"
        assert warehouse.query("SELECT ? AS a, ? AS b", [hostile, 3]) == [{"a": hostile, "b": 3}]

    def test_an_export_is_in_order_and_its_bytes_depend_on_the_rows_alone(
        self, platform: Platform, warehouse: Warehouse
    ) -> None:
        rows = "SELECT i AS a, i % 7 AS b FROM range(300000) AS r(i)"
        select = "SELECT a, b FROM m.t WHERE b < 7 ORDER BY b, a DESC"
        uris = [platform.store.root.join("exports", name, "data.parquet") for name in ("one", "two")]
        # What else lies in the table, such as a missing value, is no part of the rows that are exported.
        for uri, build in zip(uris, (rows, f"{rows} UNION ALL SELECT NULL, 7"), strict=True):
            warehouse.build(TableBuild("m.t", build))
            assert warehouse.export(select, uri) == 300_000
        table = pq.read_table(platform.store.local(uris[0]))
        assert table.column("b").to_pylist() == sorted(i % 7 for i in range(300_000))
        assert table.column("a")[0].as_py() == 299_999 - 299_999 % 7
        assert platform.store.digest(uris[0]) == platform.store.digest(uris[1])

    def test_rows_are_read_in_batches_and_written_back(self, warehouse: Warehouse) -> None:
        warehouse.build(TableBuild("m.t", "SELECT i AS a, 'x' || i AS b FROM range(400000) AS r(i)"))
        batches = warehouse.read("SELECT a, b FROM m.t ORDER BY a")
        assert batches.schema.names == ["a", "b"]
        sizes, total = [], 0
        for batch in batches:
            sizes.append(batch.num_rows)
            total += sum(batch.column("a").to_pylist())
        assert len(sizes) > 1
        assert (sum(sizes), total) == (400_000, 400_000 * 399_999 // 2)
        ref = warehouse.write("m.copy", warehouse.read("SELECT a, b FROM m.t"))
        assert ref.rows == 400_000

    def test_writing_replaces_and_upserts_with_the_last_of_equal_keys(self, warehouse: Warehouse) -> None:
        warehouse.write("m.t", reader({"k": [1, 1], "v": ["a", "b"]}))
        assert rows(warehouse, "k, v", "m.t", "v") == [(1, "a"), (1, "b")]
        warehouse.write("m.t", reader({"k": [1, 2], "v": ["c", "d"]}))
        assert rows(warehouse, "k, v", "m.t") == [(1, "c"), (2, "d")]
        batches = reader(
            {"k": [2, 3], "v": ["e", "f"], "w": [1, 1]}, {"k": [3, 2], "v": ["g", "h"], "w": [2, 2]}
        )
        assert warehouse.write("m.t", batches, unique_key=("k",)).rows == 3
        assert rows(warehouse, "k, v, w", "m.t") == [(1, "c", None), (2, "h", 2), (3, "g", 2)]
        with pytest.raises(DataError, match="'missing'"):
            warehouse.write("m.t", reader({"k": [1]}), unique_key=("missing",))

    @pytest.mark.parametrize("value", [2, 2.5, "text"])
    def test_a_single_row_is_upserted_whatever_its_last_column(
        self, warehouse: Warehouse, value: object
    ) -> None:
        for _ in range(2):
            assert warehouse.write("m.t", reader({"k": [None], "v": [value]}), unique_key=("k",)).rows == 1
        assert rows(warehouse, "v", "m.t") == [(value,)]

    def test_a_stream_that_breaks_leaves_the_old_relation(self, warehouse: Warehouse) -> None:
        warehouse.write("m.t", reader({"k": [1]}))
        first = pa.record_batch({"k": [2]})

        def breaking() -> Iterator[pa.RecordBatch]:
            yield first
            raise OSError("the source went away")

        with pytest.raises(DataError, match="source went away"):
            warehouse.write("m.t", pa.RecordBatchReader.from_batches(first.schema, breaking()))
        assert rows(warehouse, "k", "m.t") == [(1,)]

    def test_what_does_not_exist_has_no_columns_and_drops_silently(self, warehouse: Warehouse) -> None:
        assert warehouse.columns("m.none") is None
        warehouse.drop("m.none")
        with pytest.raises(DataError, match="relation"):
            warehouse.columns("three.part.name")

    # --- costs

    def test_what_is_asked_for_an_asset_is_counted_for_it_alone(self, warehouse: Warehouse) -> None:
        warehouse.build(TableBuild("m.other", "SELECT 1 AS a"))
        with counting("m/t", "run-1") as account:
            warehouse.build(TableBuild("m.t", "SELECT a, a + 1 AS b FROM m.other"))
            assert warehouse.query("SELECT b FROM m.t") == [{"b": 2}]
            with pytest.raises(DataError):
                warehouse.query("SELECT * FROM nowhere.at_all")
        told = warehouse.costs(account)
        assert told["queries"] >= 3
        assert 0 < told["query_seconds"] < 60
        assert set(told) == self.figures
        assert all(told[name] > 0 for name in self.figures)
        warehouse.query("SELECT 1 AS a")  # for nobody
        assert warehouse.costs(account) == told

    # --- mistakes

    def test_wrong_sql_says_what_is_wrong(self, warehouse: Warehouse) -> None:
        with pytest.raises(DataError, match="nowhere"):
            warehouse.query("SELECT * FROM nowhere.at_all")
        with pytest.raises(DataError, match="nowhere"):
            warehouse.read("SELECT * FROM nowhere.at_all")
