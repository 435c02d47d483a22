"""The documentation against what it documents: links, commands, keys, options, tables."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import click
import pandas as pd
import pytest
from pydantic import BaseModel

from mlops_assets.artifacts.metrics import METRICS
from mlops_assets.artifacts.values import LogicalType
from mlops_assets.cli import commands
from mlops_assets.declaration.estimators import ALLOWED_ESTIMATORS
from mlops_assets.declaration.loading import load
from mlops_assets.declaration.restrictions import _CHANGING, _OUTSIDE
from mlops_assets.declaration.schema import ModelDeclaration
from mlops_assets.declaration.sql import _HEADER, RESERVED_TABLES, read_sql

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("*.md")])
DECLARATION = (ROOT / "docs" / "declaration.md").read_text(encoding="utf-8")
CLI = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
# Options that every command has are documented once, at the top of the page.
_EVERYWHERE = ("--help", "--verbose")


# --- links ----------------------------------------------------------------------------------------------


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _links(page: Path) -> list[str]:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_file_and_a_heading_that_are_there(page: Path) -> None:
    for link in _links(page):
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), f"{page.name} links to {link}"
        assert not anchor or anchor in _anchors(target), f"{page.name} links to {link}"


def test_every_page_is_reached_from_the_readme() -> None:
    linked = {(ROOT / link.split("#")[0]).resolve() for link in _links(ROOT / "README.md")}
    reached = linked | {
        (page.parent / link.split("#")[0]).resolve()
        for page in linked
        if page.suffix == ".md" and page.exists()
        for link in _links(page)
    }
    assert not [page.name for page in (ROOT / "docs").glob("*.md") if page not in reached]


# --- commands -------------------------------------------------------------------------------------------


def _blocks(page: Path) -> Iterator[str]:
    yield from re.findall(r"^```\w*\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def _shown_commands() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        for block in _blocks(page):
            for line in block.splitlines():
                if re.match(r"(\$ )?mlops-assets\b", line):
                    yield page.name, line.removeprefix("$ ")


def _leaf(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that the words name, and what follows its name."""
    context = click.Context(commands)
    found = commands.get_command(context, words[0]) if words else None
    assert found is not None, f"there is no command {words[:1]}"
    words = words[1:]
    if isinstance(found, click.Group) and words and not words[0].startswith("-"):
        inner = found.get_command(context, words[0])
        assert inner is not None, f"{found.name} has no command {words[0]!r}"
        return inner, words[1:]
    return found, words


def test_the_pages_show_commands_at_all() -> None:
    assert {name for name, _ in _shown_commands()} >= {"README.md", "cli.md", "tutorial.md"}


@pytest.mark.parametrize(("page", "line"), sorted(set(_shown_commands())))
def test_every_command_shown_is_one_that_the_command_line_takes(page: str, line: str) -> None:
    words = shlex.split(line, comments=True)[1:]
    command, arguments = _leaf(words)
    # Values of a placeholder (VERSION) stand for what a reader types.
    typed = ["1" if word == "VERSION" else word for word in arguments]
    command.make_context(command.name, typed, obj=None)


def _sections(text: str) -> dict[str, str]:
    parts = re.split(r"^## (.+)$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def _options(command: click.Command) -> set[str]:
    names = {name for item in command.params if isinstance(item, click.Option) for name in item.opts}
    return names - set(_EVERYWHERE)


def test_the_page_of_the_command_line_has_every_command_argument_and_option_and_no_other() -> None:
    context = click.Context(commands)
    sections = {heading.split()[0]: (heading, body) for heading, body in _sections(CLI).items()}
    assert list(sections) == commands.list_commands(context)
    for name, (heading, body) in sections.items():
        command = commands.get_command(context, name)
        assert command is not None
        arguments = [item for item in command.params if isinstance(item, click.Argument)]
        assert heading.split()[1:] == [item.make_metavar(context) for item in arguments]
        inner = list(command.commands.values()) if isinstance(command, click.Group) else []
        known = _options(command).union(*(_options(item) for item in inner))
        documented = set(re.findall(r"^\| `(--[a-z-]+)", body, re.MULTILINE))
        assert documented == known, name
        for item in inner:
            assert f"`{name} {item.name}" in body
        assert f"mlops-assets {name}" in body, f"{name} has no example"


# --- the declaration ------------------------------------------------------------------------------------


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)


def _schema(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    yield model
    for info in model.model_fields.values():
        for inner in _models(info.annotation):
            yield from _schema(inner)


def _first_cells(text: str, header: str) -> set[str]:
    """The names in the first column of the tables whose first heading begins with `header`."""
    found: set[str] = set()
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        first, _, *rows = table.splitlines()
        if first.split("|")[1].strip().startswith(header):
            found |= {name for row in rows for name in re.findall(r"`([^`]+)`", row.split(" | ")[0])}
    return found


def test_the_reference_has_every_key_of_the_schema_and_no_other() -> None:
    keys = {
        info.alias or name for model in _schema(ModelDeclaration) for name, info in model.model_fields.items()
    }
    assert _first_cells(DECLARATION, "key") == keys


def test_each_section_of_the_reference_has_its_own_keys() -> None:
    sections = {heading.lower(): body for heading, body in _sections(DECLARATION).items()}
    for name, info in ModelDeclaration.model_fields.items():
        inner = list(_models(info.annotation))
        if not inner:
            continue
        keys = {item.alias or key for model in _schema(inner[0]) for key, item in model.model_fields.items()}
        assert _first_cells(sections[name], "key") == keys, name


def _default_of(row: str) -> str:
    return row.split(" | ")[2].strip()


def test_plain_defaults_are_the_schemas() -> None:
    rows = [row for row in DECLARATION.splitlines() if row.startswith("| `")]
    for model in _schema(ModelDeclaration):
        for name, info in model.model_fields.items():
            if isinstance(info.default, bool | int | float | str):
                shown = str(info.default).lower() if isinstance(info.default, bool) else f"{info.default}"
                documented = [_default_of(row) for row in rows if f"`{name}`" in row.split(" | ")[0]]
                matching = [text for text in documented if _same(shown, text)]
                assert matching, f"{model.__name__}.{name}: {shown} is not among {documented}"


def _same(value: str, documented: str) -> bool:
    """One of the values in backticks is `value`; `0` and `0.0` are the same."""

    def plain(text: str) -> str:
        try:
            return repr(float(text))
        except ValueError:
            return text

    return plain(value) in {plain(text) for text in re.findall(r"`([^`]+)`", documented)}


def test_the_reference_lists_metrics_estimators_types_and_header_entries() -> None:
    for name, info in METRICS.items():
        direction = "higher" if info.greater_is_better else "lower"
        assert f"| `{name}` | {', '.join(info.tasks)} | {direction} | {info.meaning}" in DECLARATION
    assert _first_cells(DECLARATION, "metric") == set(METRICS)
    listed = re.findall(r"^\| (regression|classification) \| (.+) \|$", DECLARATION, re.MULTILINE)
    shown = {task: {f"sklearn.{name}" for name in re.findall(r"`(\S+)`", names)} for task, names in listed}
    assert shown == {task: set(paths) for task, paths in ALLOWED_ESTIMATORS.items()}
    assert _first_cells(DECLARATION, "header") == set(_HEADER)
    for word in (*get_args(LogicalType), *RESERVED_TABLES):
        assert f"`{word}`" in DECLARATION


def test_the_functions_that_the_reference_calls_refused_are() -> None:
    rows = "".join(line for line in DECLARATION.splitlines() if "may not" in line or "`now()`" in line)
    named = set(re.findall(r"`([a-z_]+)(?:\(\))?`", rows))
    assert named
    assert named <= {*_CHANGING, *_OUTSIDE}


def test_the_smallest_declaration_of_the_reference_loads(tmp_path: Path) -> None:
    (example,) = (text for text in _blocks(ROOT / "docs" / "declaration.md") if text.startswith("type:"))
    (tmp_path / "defs.yaml").write_text(example, encoding="utf-8")
    assert load(tmp_path).name == "homes"


def test_the_training_program_of_the_reference_trains_as_the_runtime_calls_it() -> None:
    page = ROOT / "docs" / "declaration.md"
    (program,) = (text for text in _blocks(page) if text.startswith("def train("))
    space: dict[str, Any] = {}
    exec(program, space)
    rows = pd.DataFrame({"rooms": [1.0, 2.0, 3.0, 4.0], "price": [10.0, 20.0, 30.0, 40.0]})
    model = space["train"](rows, rows, {"n_estimators": 5})
    assert model.n_estimators == 5
    assert list(model.feature_names_in_) == ["rooms"]


def test_the_header_of_the_reference_is_one_that_is_read(tmp_path: Path) -> None:
    (example,) = (
        text for text in _blocks(ROOT / "docs" / "declaration.md") if text.startswith("-- materialized")
    )
    (tmp_path / "latest.sql").write_text(example, encoding="utf-8")
    file = read_sql(tmp_path / "latest.sql")
    assert (file.materialization, file.unique_key) == ("incremental", ("listing_id",))


def test_the_changelog_names_the_version_of_the_package() -> None:
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version is not None
    assert f"## {version[1]}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
