"""Declared names: whatever a file calls its columns, SQL can call them too."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_assets.starting.naming import LONGEST, declared_names, did_you_mean, snake_case


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("YEAR_BUILT", "year_built"),
        ("squareFeet", "square_feet"),
        ("HTTPStatus", "http_status"),
        ("Größe (m²)", "grosse_m2"),
        ('say "hi"', "say_hi"),
        ("2nd floor", "c_2nd_floor"),
        ("  Price, USD ", "price_usd"),
        ("été", "ete"),
    ],
)
def test_odd_names_become_snake_case(source: str, name: str) -> None:
    assert snake_case(source) == name


def test_reserved_words_and_copies_are_told_apart() -> None:
    sources = ["order", "Order", "price", "Price", "price_2", "価格", "select"]
    assert declared_names(sources) == [
        "order_",
        "order_2",
        "price",
        "price_3",
        "price_2",
        "column_6",
        "select_",
    ]


@given(st.lists(st.text(max_size=90), max_size=12))
def test_declared_names_are_unique_short_and_safe_in_sql(sources: list[str]) -> None:
    names = declared_names(sources)
    assert len(set(names)) == len(names) == len(sources)
    assert all(re.fullmatch(rf"[a-z][a-z0-9_]{{0,{LONGEST - 1}}}", name) for name in names)


@given(st.lists(st.text(alphabet="abcAB _1", max_size=4), max_size=8))
def test_a_name_that_is_fit_already_is_kept(sources: list[str]) -> None:
    for source, name in zip(sources, declared_names(sources), strict=True):
        if (
            sources.count(source) == 1
            and re.fullmatch(r"[a-z]+(_?[a-z0-9]+)*", source)
            and source not in ("as", "by")
        ):
            assert name == source or snake_case(source) != source


def test_a_near_miss_is_named() -> None:
    assert did_you_mean("pirce", ["price", "rooms"]) == "Did you mean price?"
    assert did_you_mean("zzz", ["price", "rooms"]) == "There are: price, rooms."
