"""Declared checks become SQL conditions that rows meet or do not, and that no value can break out of."""

from __future__ import annotations

import duckdb
import pytest

from mlops_assets.declaration.schema import Arrivals
from mlops_assets.errors import DeclarationError
from mlops_assets.pipeline.conditions import conditions

TYPES = {"int": "BIGINT", "float": "DOUBLE", "string": "VARCHAR", "bool": "BOOLEAN"}


def refused(type_: str, value: object, **check: object) -> list[str]:
    """Reasons for which `value` in a column `a "b` of `type_` is refused."""
    declared = {"prefix": "p", "columns": {'a "b': type_}, "checks": [{"column": 'a "b', **check}]}
    rules = conditions(Arrivals.model_validate(declared))
    row = f'SELECT CAST(? AS {TYPES[type_]}) AS "a ""b"'
    connection = duckdb.connect()
    return [
        reason.removeprefix('a "b: ')
        for reason, condition in rules.items()
        if connection.execute(f"SELECT ({condition}) IS NOT TRUE FROM ({row})", [value]).fetchall()[0][0]
    ]


@pytest.mark.parametrize(
    ("type_", "value", "check", "reasons"),
    [
        ("float", -0.5, {"min": 0}, ["below 0"]),
        ("float", 0.0, {"min": 0}, []),
        ("float", 11.0, {"min": 0, "max": 10}, ["above 10"]),
        ("float", float("nan"), {"min": 0}, ["not a finite number"]),
        ("float", float("inf"), {"min": 0}, ["not a finite number"]),
        ("float", None, {"min": 0, "max": 1}, []),
        ("int", 2**53 + 1, {"min": 2**53}, []),
        ("int", None, {"not_null": True}, ["missing"]),
        ("int", 3, {"one_of": [1, 2]}, ["not one of 1, 2"]),
        ("bool", False, {"one_of": [True]}, ["not one of True"]),
        ("string", "x'); DROP TABLE t; --", {"one_of": ["x'); DROP TABLE t; --"]}, []),
        ("string", "a'b\\", {"one_of": ["a'b\\"]}, []),
        ("string", "5", {"one_of": [5]}, []),
        ("string", "ab1", {"matches": "[a-z]+"}, ["does not match [a-z]+"]),
        ("string", "ab", {"matches": "x|ab"}, []),
        ("string", "abx", {"matches": "x|ab"}, ["does not match x|ab"]),
        ("string", "it's", {"matches": "it's"}, []),
        ("string", None, {"matches": "a", "one_of": ["a"]}, []),
    ],
)
def test_a_row_is_refused_for_exactly_the_checks_it_does_not_meet(type_, value, check, reasons):
    assert refused(type_, value, **check) == reasons


@pytest.mark.parametrize("type_", ["string", "bool", "timestamp", "date"])
def test_a_bound_on_what_is_not_a_number_is_a_mistake_of_the_declaration(type_):
    declared = {"prefix": "p", "columns": {"a": type_}, "checks": [{"column": "a", "min": 0}]}
    with pytest.raises(DeclarationError, match="bounds 'a', which is"):
        conditions(Arrivals.model_validate(declared))


def test_a_bound_that_is_no_number_is_a_mistake_of_the_declaration():
    declared = {"prefix": "p", "columns": {"a": "float"}, "checks": [{"column": "a", "max": float("inf")}]}
    with pytest.raises(DeclarationError, match="not a finite number"):
        conditions(Arrivals.model_validate(declared))


def test_two_checks_with_the_same_reason_both_hold():
    long = "x" * 80
    checks = [{"column": "a", "one_of": [long + "1", "b"]}, {"column": "a", "one_of": [long + "2", "b"]}]
    declared = {"prefix": "p", "columns": {"a": "string"}, "checks": checks}
    ((reason, condition),) = conditions(Arrivals.model_validate(declared)).items()
    assert len(reason) <= 60
    judged = (
        duckdb.connect().execute(f"SELECT a, {condition} FROM (VALUES ('{long}1'), ('b')) AS v(a)").fetchall()
    )
    assert [verdict for _, verdict in judged] == [False, True]
