"""Splits depend on the rows alone, keep entities whole, hold their shares, and exist in every dialect."""

from __future__ import annotations

import hashlib
import random
from collections import Counter, defaultdict
from datetime import datetime, timedelta
from typing import Any

import duckdb
import pytest
import sqlglot
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_assets.artifacts import Column
from mlops_assets.declaration.schema import SplitSpec
from mlops_assets.pipeline.splits import SPLITS, Splitter

COLUMNS = (
    Column(name="id", type="int"),
    Column(name="at", type="timestamp"),
    Column(name="size of it", type="float"),
    Column(name="price", type="float"),
)
BY_KEY, BY_ROW = SplitSpec(by="hash", key="id"), SplitSpec(by="hash")
BY_TIME, BY_TIME_AND_KEY = SplitSpec(by="time", column="at"), SplitSpec(by="time", column="at", key="id")
EVERY = [BY_KEY, BY_ROW, BY_TIME, BY_TIME_AND_KEY]
START = datetime(2026, 1, 1)
Row = tuple[Any, ...]


def warehouse(rows: list[Row]) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute("CREATE SCHEMA m")
    connection.execute('CREATE TABLE m.t (id BIGINT, "at" TIMESTAMP, "size of it" DOUBLE, price DOUBLE)')
    if rows:
        connection.executemany("INSERT INTO m.t VALUES (?, ?, ?, ?)", rows)
    return connection


def splitter(split: SplitSpec) -> Splitter:
    return Splitter("m.t", COLUMNS, split, "price")


def split_of(rows: list[Row], split: SplitSpec) -> dict[str, list[Row]]:
    """Split name -> its rows, in the order that they are exported in."""
    connection, made = warehouse(rows), splitter(split)
    connection.execute(f"CREATE TABLE m.assigned AS {made.assigned()}")
    ((entities, straddling),) = connection.execute(made.straddling("m.assigned")).fetchall()
    assert straddling == 0, f"{straddling} of {entities}"
    return {name: connection.execute(made.rows("m.assigned", name)).fetchall() for name in SPLITS}


def counted(rows: list[Row], split: SplitSpec) -> Row:
    """(total, without target, without time)."""
    connection, made = warehouse(rows), splitter(split)
    connection.execute(f"CREATE TABLE m.assigned AS {made.assigned()}")
    return connection.execute(made.left_out("m.assigned")).fetchall()[0]


def rows_strategy(*, target: Any = None) -> st.SearchStrategy[list[Row]]:
    moment = st.integers(0, 12).map(lambda day: START + timedelta(days=day))
    number = st.one_of(st.none(), st.floats(-5, 5, allow_nan=False).map(lambda x: round(x, 1) + 0.0))
    row = st.tuples(
        st.one_of(st.none(), st.integers(0, 15)), st.one_of(st.none(), moment), number, target or number
    )
    return st.lists(row, max_size=60)


@settings(max_examples=25, deadline=None)
@given(rows=rows_strategy(), seed=st.integers(0, 1000), split=st.sampled_from(EVERY))
def test_the_order_of_loading_changes_neither_a_split_nor_its_order(rows, seed, split):
    shuffled = random.Random(seed).sample(rows, len(rows))
    assert split_of(rows, split) == split_of(shuffled, split)


@settings(max_examples=25, deadline=None)
@given(rows=rows_strategy(), split=st.sampled_from(EVERY))
def test_every_row_with_a_target_is_in_exactly_one_split(rows, split):
    kept = [row for row in rows if row[3] is not None and (split.by == "hash" or row[1] is not None)]
    assert Counter(row for part in split_of(rows, split).values() for row in part) == Counter(kept)


@settings(max_examples=25, deadline=None)
@given(rows=rows_strategy(), split=st.sampled_from(EVERY))
def test_no_entity_is_in_two_splits(rows, split):
    places: dict[Any, set[str]] = defaultdict(set)
    for name, part in split_of(rows, split).items():
        for row in part:
            known = split.key is not None and row[0] is not None
            entity = ("key", row[0]) if known else ("time", row[1]) if split is BY_TIME else ("row", row)
            places[entity].add(name)
    assert all(len(names) == 1 for names in places.values())


def test_a_row_without_a_target_says_nothing_of_its_entitys_time():
    rows = [*many(10), (0, START + timedelta(days=9), 1.0, None), (1, None, 1.0, 1.0)]
    assert split_of(rows, BY_TIME_AND_KEY) == split_of(many(10), BY_TIME_AND_KEY)
    assert counted(rows, BY_TIME_AND_KEY) == (12, 1, 1)


@settings(max_examples=25, deadline=None)
@given(rows=rows_strategy(), split=st.sampled_from([BY_TIME, BY_TIME_AND_KEY]))
def test_by_time_nothing_in_train_is_younger_than_anything_that_decides_a_later_split(rows, split):
    parts = split_of(rows, split)
    last: dict[Any, Any] = {}
    for row in (row for part in parts.values() for row in part):
        if split.key and row[0] is not None:
            last[row[0]] = max(last.get(row[0], row[1]), row[1])
    decided = {name: [last.get(row[0], row[1]) for row in part] for name, part in parts.items()}
    for earlier, later in (("train", "validation"), ("validation", "test"), ("train", "test")):
        if decided[earlier] and decided[later]:
            assert max(decided[earlier]) < min(decided[later])


def many(count: int, *, per_key: int = 1) -> list[Row]:
    return [(n // per_key, START + timedelta(minutes=n), n / 7, float(n)) for n in range(count)]


@pytest.mark.parametrize("split", EVERY)
def test_shares_are_held(split):
    parts = split_of(many(5_000), split)
    for name, share in (("train", 0.6), ("validation", 0.2), ("test", 0.2)):
        assert len(parts[name]) / 5_000 == pytest.approx(share, abs=0 if split.by == "time" else 0.03)


def test_shares_by_time_are_exact_where_floats_are_not():
    split = SplitSpec(by="time", column="at", train=0.1, validation=0.2, test=0.7)
    assert [len(part) for part in split_of(many(10), split).values()] == [1, 2, 7]


def test_the_documented_formula_says_where_a_key_goes():
    parts = split_of(many(300), BY_KEY)
    for name, part in parts.items():
        for row in part:
            place = int(hashlib.md5(f"42:{row[0]}".encode()).hexdigest()[:8], 16) / 16**8
            assert name == ("train" if place < 0.6 else "validation" if place < 0.8 else "test")


def test_another_seed_is_another_split():
    other = SplitSpec(by="hash", key="id", seed=43)
    assert split_of(many(300), BY_KEY)["test"] != split_of(many(300), other)["test"]


def test_more_rows_move_no_entity():
    before, after = split_of(many(300), BY_KEY), split_of(many(600), BY_KEY)
    assert all(set(before[name]) <= set(after[name]) for name in SPLITS)


def test_a_share_that_leaves_almost_nothing_is_still_in_order():
    split = SplitSpec(by="hash", key="id", train=0.5, validation=0.5 - 1e-12, test=1e-12)
    assert {name: len(part) > 0 for name, part in split_of(many(300), split).items()} == {
        "train": True,
        "validation": True,
        "test": False,
    }


def test_a_target_that_is_no_number_is_no_target():
    rows = [(n, START, 1.0, value) for n, value in enumerate([1.0, None, float("nan"), float("inf")])]
    parts = split_of(rows, BY_KEY)
    assert [row[3] for part in parts.values() for row in part] == [1.0]
    assert counted(rows, BY_KEY) == (4, 3, 0)


def test_rows_without_a_time_are_counted_apart_from_rows_without_a_target():
    rows = [(1, START, 1.0, 1.0), (2, None, 1.0, 1.0), (3, None, 1.0, None), (4, START, 1.0, None)]
    assert counted(rows, BY_TIME) == (4, 2, 1)


@pytest.mark.parametrize("split", EVERY)
def test_straddling_entities_are_seen(split):
    connection = warehouse([])
    connection.execute(
        "CREATE TABLE m.assigned AS SELECT * FROM (VALUES (1, 'a', 'a', 'train'), (1, 'a', 'a', 'test'), "
        "(2, 'b', 'b', 'test'), (NULL, 'c', 'c', 'test'), (5, 'd', 'd', NULL)) "
        "AS v(id, _mlops_entity, _mlops_order, _mlops_split)"
    )
    assert connection.execute(splitter(split).straddling("m.assigned")).fetchall() == [(3, 1)]


@pytest.mark.parametrize("split", EVERY)
@pytest.mark.parametrize("dialect", ["redshift", "bigquery"])
def test_the_sql_has_a_form_in_every_warehouse(split, dialect):
    made = splitter(split)
    for sql in (made.assigned(), made.left_out("m.a"), made.rows("m.a", "train"), made.straddling("m.a")):
        (text,) = sqlglot.transpile(
            sql, read="duckdb", write=dialect, unsupported_level=sqlglot.ErrorLevel.RAISE
        )
        sqlglot.parse_one(text, read=dialect)


@settings(max_examples=25, deadline=None)
@given(rows=rows_strategy(), split=st.sampled_from([split for split in EVERY if split.by == "hash"]))
def test_where_every_entity_has_one_row_the_short_order_is_the_full_one(rows, split):
    once = list({row[0] if split.key and row[0] is not None else row: row for row in rows}.values())
    connection, made = warehouse(once), splitter(split)
    connection.execute(f"CREATE TABLE m.assigned AS {made.assigned()}")
    for name in SPLITS:
        short, full = (made.rows("m.assigned", name, every_entity_once=flag) for flag in (True, False))
        assert connection.execute(short).fetchall() == connection.execute(full).fetchall()
