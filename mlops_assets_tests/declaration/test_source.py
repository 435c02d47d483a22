"""Positions in YAML, what YAML may not hold, and mends for misspelt keys."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_assets.declaration.source import mistakes_of, parse_source
from mlops_assets.errors import DeclarationError
from mlops_assets_tests.declaration.small import TEXT, changed, line_with, mistake, write

HERE = Path("models/defs.yaml")


def refused(text: str) -> DeclarationError:
    with pytest.raises(DeclarationError) as caught:
        parse_source(text, HERE)
    return caught.value


def test_every_key_has_its_line() -> None:
    source = parse_source("a: 1\nb:\n  - c: 2\n  - {d: 3,\n     e: 4}\n", HERE)
    assert source.data == {"a": 1, "b": [{"c": 2}, {"d": 3, "e": 4}]}
    assert source.at(("a",)) == f"{HERE}:1"
    assert source.at(("b", 0, "c")) == f"{HERE}:3"
    assert source.at(("b", 1, "e")) == f"{HERE}:5"


def test_a_place_that_is_not_in_the_file_falls_back_to_what_is_around_it() -> None:
    source = parse_source("a:\n  b: 1\n", HERE)
    assert source.at(("a", "missing")) == f"{HERE}:1"
    assert source.at(("a", "[key]", "b")) == f"{HERE}:2"


@pytest.mark.parametrize(
    "tag", ["!!python/object/apply:os.system ['true']", "!custom 1", "!!binary YQ==", "!!set {a}"]
)
def test_tags_are_refused(tag: str) -> None:
    error = refused(f"a: 1\nb: {tag}\n")
    assert error.where == f"{HERE}:2"
    assert "tag" in error.what
    assert error.mend


def test_a_tag_runs_no_code(tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    refused(f"a: !!python/object/apply:os.mkdir ['{witness}']\n")
    assert not witness.exists()


def test_aliases_are_refused_before_they_can_grow() -> None:
    bomb = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 60))
    assert "Aliases" in str(refused(bomb))


def test_an_alias_of_itself_is_refused() -> None:
    assert "Aliases" in str(refused("a: &a [*a]\n"))


def test_merge_keys_are_refused() -> None:
    assert refused("a: 1\n<<: {b: 2}\n").where == f"{HERE}:2"


def test_a_key_given_twice_names_both_lines() -> None:
    error = refused("a:\n  b: 1\n  c: 2\n  b: 3\n")
    assert error.where == f"{HERE}:4"
    assert "'b'" in error.what
    assert "line 2" in error.what


def test_several_documents_are_refused() -> None:
    assert str(refused("a: 1\n---\nb: 2\n")).startswith(f"{HERE}")


def test_broken_yaml_names_its_line() -> None:
    assert refused("a: 1\nb: [1, 2\nc: 3\n").where == f"{HERE}:3"


def test_deep_nesting_is_refused() -> None:
    assert refused("a: " + "[" * 200 + "]" * 200).mend


def test_dates_stay_text() -> None:
    assert parse_source("a: 2026-01-01\n", HERE).data == {"a": "2026-01-01"}


@given(st.text(max_size=200))
def test_any_text_gives_data_or_a_declaration_error(text: str) -> None:
    try:
        parse_source(text, HERE)
    except DeclarationError as error:
        assert str(HERE) in str(error)


def test_a_misspelt_key_names_file_line_and_the_right_key(tmp_path: Path) -> None:
    text = changed("    target: price", "    targte: price")
    error = mistake(write(tmp_path, text))
    lines = [str(item) for item in mistakes_of(error)]
    place = f"{tmp_path / 'defs.yaml'}:{line_with(text, 'targte')}"
    assert any(line.startswith(place) and "Did you mean 'target'?" in line for line in lines)


def test_a_misspelt_key_inside_a_list_is_compared_with_the_keys_of_its_section(tmp_path: Path) -> None:
    text = changed("{metric: r2, min: 0.5}", "{metric: r2, min: 0.5, severty: warn}")
    error = mistake(write(tmp_path, text))
    assert error.where == f"{tmp_path / 'defs.yaml'}:{line_with(text, 'severty')}"
    assert error.mend == "Did you mean 'severity'?"


def test_a_misspelt_value_gets_its_mend(tmp_path: Path) -> None:
    error = mistake(write(tmp_path, changed("task: regression", "task: regresion")))
    assert error.mend == "Did you mean 'regression'?"


def test_a_missing_key_names_the_section_and_the_key(tmp_path: Path) -> None:
    text = changed("    prefix: landing/homes/\n", "")
    error = mistake(write(tmp_path, text))
    assert error.where == f"{tmp_path / 'defs.yaml'}:{line_with(text, '  arrivals:')}"
    assert "prefix" in (error.mend or "")


def test_a_misspelt_column_in_a_check_gets_its_mend(tmp_path: Path) -> None:
    text = changed("{column: price, min: 0}", "{column: prize, min: 0}")
    error = mistake(write(tmp_path, text))
    assert error.where == f"{tmp_path / 'defs.yaml'}:{line_with(text, 'prize')}"
    assert error.mend == "Did you mean 'price'?"


def test_every_mistake_is_listed_at_once(tmp_path: Path) -> None:
    text = TEXT.replace("task: regression", "task: guessing").replace("metric: r2", "metric: r3")
    text = text.replace("    checks:", "    cheques:")
    error = mistake(write(tmp_path, text))
    single = mistakes_of(error)
    wheres = {f"{tmp_path / 'defs.yaml'}:{line_with(text, part)}" for part in ("guessing", "r3", "cheques")}
    assert {item.where for item in single} == wheres
    assert all(item.mend for item in single)
    assert all(where in str(error) for where in wheres)


def test_a_prefix_that_leads_out_of_the_store_is_a_mistake_with_its_line(tmp_path: Path) -> None:
    text = changed("landing/homes/", "landing/../../etc")
    error = mistake(write(tmp_path, text))
    assert error.where == f"{tmp_path / 'defs.yaml'}:{line_with(text, 'prefix')}"
    assert error.mend
