"""`mlops-assets init`: from a file to a declaration that runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlops_assets.cli.state import State, verbose_option

if TYPE_CHECKING:
    from mlops_assets.starting import ColumnWarning


@click.command()
@click.argument("name")
@click.option(
    "--data", required=True, type=click.Path(path_type=Path), help="CSV or Parquet file to start from."
)
@click.option("--target", required=True, help="Column to predict.")
@click.option(
    "--task", type=click.Choice(["regression", "classification"]), help="Default: seen from the target."
)
@click.option("--time", "time", help="Column to split by: the oldest rows train, the newest test.")
@click.option("--key", help="Column that names an entity; all its rows stay in one split.")
@click.option("--force", is_flag=True, help="Write over a declaration that is there.")
@verbose_option
@click.pass_obj
def init(
    state: State,
    *,
    name: str,
    data: Path,
    target: str,
    task: str | None,
    time: str | None,
    key: str | None,
    force: bool,
) -> int:
    """Look at a file and write the declaration of model NAME: columns, checks, split, estimator, gates.

    Warns of columns that give the target away, identifiers, copies and classes too small to split. The file
    is put where the model's data arrives, so that `mlops-assets run NAME` works at once.

    \b
    Example:
      mlops-assets init penguins --data penguins.csv --target species
      mlops-assets init sales --data sales.parquet --target revenue --time sold_at --key customer_id
    """
    from mlops_assets.platforms.binding import build_platform
    from mlops_assets.starting import look, warn, write

    settings = state.settings()
    profile = look(data)
    chosen: dict[str, object] = {"task": task, "time": time, "key": key}
    notes = warn(profile, target, task)  # type: ignore[arg-type]
    path = write(settings.defs, name, profile, target, force=force, notes=notes, **chosen)  # type: ignore[arg-type]
    store = build_platform(settings).store
    landed = store.upload(data, store.root.join("landing", name, data.name))
    _show(notes)
    click.echo(f"Looked at {data}: {profile.rows:,} rows, {len(profile.columns)} columns.")
    click.echo(f"Wrote      {path}")
    click.echo(f"           {next((path.parent / 'sql').glob('*.sql'))}")
    click.echo(f"Data in    {landed.uri}")
    click.echo(f"Next:      mlops-assets run {name}")
    return 0


def _show(notes: list[ColumnWarning]) -> None:
    for note in notes:
        out = " (left out of the features)" if note.excludes else ""
        click.echo(f"Warning: {note.column}: {note.message}{out}", err=True)
