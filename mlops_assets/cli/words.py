"""Output: tables for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A table on standard output; every cell is shown as it is, never as markup."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(
        show_header=any(columns), title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False
    )
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    # A pipe has no width: what is meant for a program must not be cut for a terminal.
    plain = Console(highlight=False)
    (plain if plain.is_terminal else Console(highlight=False, width=160)).print(table)


def print_json(value: Any) -> None:
    """One JSON value on standard output; numbers that JSON has no word for become null."""
    from mlops_assets.artifacts.digest import finite_or_none

    def plain(item: Any) -> Any:
        if isinstance(item, dict):
            return {str(key): plain(inner) for key, inner in item.items()}
        if isinstance(item, list | tuple):
            return [plain(inner) for inner in item]
        return finite_or_none(item) if isinstance(item, float) else item

    click.echo(json.dumps(plain(value), indent=2, ensure_ascii=False, default=str))


def visible(text: str | None, width: int) -> str:
    """`text` on one line of at most `width` characters; what a terminal would obey is spelt out.

    >>> visible("1,\\x1b[31mred\\n", 40), visible("a" * 9, 4)
    ('1,\\\\x1b[31mred\\\\n', 'aaa…')
    """
    parts = (letter if letter.isprintable() else repr(letter)[1:-1] for letter in (text or "")[: width + 1])
    shown = "".join(parts)
    return shown if len(shown) <= width else f"{shown[: width - 1]}…"


def metrics(values: Mapping[str, float | None], most: int | None = None) -> str:
    """Metrics in one line, the ones people ask for first; `most` of them, all by default."""
    from mlops_assets.artifacts.metrics import in_order, shown

    return ", ".join(f"{name} {shown(values[name], absent='—')}" for name in in_order(values)[:most])
