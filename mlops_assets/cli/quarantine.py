"""`mlops-assets quarantine`: rows that arrived and could not be used, with line, reason and raw text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlops_assets.cli.state import State, json_option, verbose_option

if TYPE_CHECKING:
    from mlops_assets.pipeline.names import Names
    from mlops_assets.platforms.ports import Warehouse

_SHOWN = 20
_WIDTH = 100


@click.command()
@click.argument("name")
@click.option("--object", "key", help="Only rows of this object: its key below the landing prefix.")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    help=f"Rows to show, by object and line. Default: {_SHOWN}; with --out: all.",
)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="CSV file to write the rows to.")
@json_option("model, quarantined, reasons, rows and out as one object")
@verbose_option
@click.pass_obj
def quarantine(
    state: State, *, name: str, key: str | None, limit: int | None, out: Path | None, as_json: bool
) -> int:
    """Show the rows of model NAME that arrived and could not be used: how many for which reason, and which.

    Correct them in the file, let it arrive again under the same name, and run: its rows are replaced.

    \b
    Example:
      mlops-assets quarantine housing
      mlops-assets quarantine housing --object 2026-01-05.csv --out bad_rows.csv
    """
    from mlops_assets.cli.models import declared
    from mlops_assets.cli.words import print_json
    from mlops_assets.pipeline.names import Names
    from mlops_assets.pipeline.quarantine import Quarantine

    if out is not None and out.suffix.lower() != ".csv":
        raise click.BadParameter(f"{str(out)!r} does not end in .csv.", param_hint="'--out'")
    names, warehouse = Names(declared(state.settings(), name).name), state.platform().warehouse
    _known(warehouse, names, key)
    held = Quarantine(warehouse, names, key)
    reasons = held.reasons()
    written = held.write(out, limit) if out is not None else 0
    rows = held.rows(limit or _SHOWN) if out is None else []
    total = sum(item["rows"] for item in reasons)
    if as_json:
        found = {"model": name, "quarantined": total, "reasons": reasons, "rows": rows}
        print_json({**found, "out": str(out) if out is not None else None})
    else:
        _show(name, reasons, rows, total)
        if out is not None:
            click.echo(f"{written:,} rows written: {out}")
    return 0


def _known(warehouse: Warehouse, names: Names, key: str | None) -> None:
    """Raise UsageError where no object `key` was loaded."""
    if key is None or warehouse.loaded(names.ledger, [key]):
        return
    from mlops_assets.starting.naming import did_you_mean

    loaded = sorted(warehouse.loaded(names.ledger))[:2_000]  # comparing takes a millisecond for each
    raise click.UsageError(f"No object {key!r} was loaded. {did_you_mean(key, loaded) if loaded else ''}")


def _show(name: str, reasons: list[dict[str, Any]], rows: list[dict[str, Any]], total: int) -> None:
    from mlops_assets.cli.words import print_table, visible

    if not total:
        click.echo(f"No row of {name} is in quarantine.")
        return
    counted = [(item["reason"], f"{item['rows']:,}", f"{item['objects']:,}") for item in reasons]
    many = "row" if total == 1 else "rows"
    print_table(f"{name}: {total:,} {many} in quarantine", ("reason", "rows", "files"), counted)
    if rows:
        cells = [
            (item["object"], item["line"], item["reason"], visible(item["raw"], _WIDTH)) for item in rows
        ]
        print_table("", ("file", "line", "reason", "raw"), cells)
    if rows and len(rows) < total:
        left = total - len(rows)
        click.echo(f"And {left:,} more: --limit N shows more of them, --out FILE.csv writes all.")
