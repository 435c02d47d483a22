"""`mlops-assets demo`: the housing model on sample data, and where to look next."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlops_assets.artifacts.uri import ArtifactUri
from mlops_assets.cli.state import State, verbose_option

if TYPE_CHECKING:
    from mlops_assets.cli.report import Report
    from mlops_assets.declaration.loaded import LoadedDeclaration
    from mlops_assets.platforms.ports import Platform

_MODEL = "housing"
_DAYS, _ROWS = 7, 1_500


@click.command()
@click.option("--keep-serving", is_flag=True, help="Leave the model server running.")
@verbose_option
@click.pass_obj
def demo(state: State, keep_serving: bool) -> int:
    """Put a week of sample listings where they arrive, and run the housing model on them.

    The files hold late rows, updates, a duplicate and bad rows, as real ones do. Outside of the checkout the
    model's declaration is copied to where yours are. The server that the run starts is stopped at the end.
    A second demo finds nothing changed and trains nothing.

    \b
    Example:
      mlops-assets demo
      mlops-assets demo --keep-serving
    """
    from mlops_assets.cli.models import declared
    from mlops_assets.cli.running import execute, show
    from mlops_assets.platforms.binding import build_platform

    settings = state.settings()
    _declare(settings.defs)
    loaded = declared(settings, _MODEL)
    platform = build_platform(settings)
    arrived = _deliver(platform, loaded)
    click.echo(
        f"{arrived} sample files were put" if arrived else "The sample files are there already", nl=False
    )
    click.echo(f" below {_shown(platform.store.root.join(loaded.spec.arrivals.prefix))}.")
    # Without new files nothing changes; a server is then started only for somebody who wants to keep it.
    upto = None if arrived or keep_serving else "registered_model"
    outcome, progress, platform = execute(state, settings, loaded, upto)
    try:
        show(outcome, progress)
        if outcome.exit_status == 0:
            _point_onwards(platform, outcome, keep_serving)
    finally:
        if not keep_serving:
            platform.endpoint.stop(_MODEL)
    return outcome.exit_status


def _declare(defs: Path) -> None:
    """Copy the shipped declaration to where this deployment's models are, where there is none."""
    from mlops_assets.settings import PACKAGE

    if not (defs / _MODEL).exists():
        shipped = PACKAGE / "defs" / _MODEL
        shutil.copytree(shipped, defs / _MODEL, ignore=shutil.ignore_patterns("__pycache__"))
        click.echo(f"The model's declaration was copied to {defs / _MODEL}.")


def _deliver(platform: Platform, loaded: LoadedDeclaration) -> int:
    """Upload the sample files that have not arrived; they are made only where one is missing."""
    from mlops_assets.sample_data import housing_batches

    prefix = platform.store.root.join(loaded.spec.arrivals.prefix)
    there = {info.uri.name for info in platform.store.list(prefix)}
    with tempfile.TemporaryDirectory(prefix="mlops-demo-") as folder:
        if {f"housing-2026-01-{day:02d}.csv" for day in range(1, _DAYS + 1)} <= there:
            return 0
        batches = housing_batches(
            Path(folder),
            days=_DAYS,
            rows_per_day=_ROWS,
            late=0.05,
            duplicates=1,
            updates=0.03,
            bad_rows=0.005,
        )
        for path in batches:
            platform.store.upload(path, prefix.join(path.name))
    return len(batches)


def _point_onwards(platform: Platform, outcome: Report, keep_serving: bool) -> None:
    test_rows = _shown(f"{outcome.uris['dataset']}/test/data.parquet")
    command = _command()
    click.echo("Where to look next:")
    ui = f"make ui (or: {command} ui)" if platform.settings.platform == "local" else f"{command} ui"
    click.echo(f"  {ui}   lineage, checks, plots, on http://127.0.0.1:3000")
    click.echo(f"  the model card                  {_shown(outcome.uris['model_card'])}")
    click.echo(f"  {command} predict {_MODEL} --data {test_rows} --out scored.csv")
    url = outcome.uris.get("endpoint")
    if keep_serving and url:
        samples = platform.store.read(ArtifactUri(outcome.uris["evaluation"]).join("samples.json"))
        body = json.dumps({"instances": json.loads(samples)[:1]})
        click.echo(f"  curl -H 'Content-Type: application/json' -d '{body}' {url}/invocations")
        click.echo(f"  {command} endpoints stop {_MODEL}")
    else:
        click.echo(f"  {command} endpoints restart {_MODEL}   serves the model (the demo leaves no server)")


def _shown(uri: ArtifactUri | str) -> str:
    """A path where it is one of this machine."""
    return str(uri).removeprefix("file://")


def _command() -> str:
    """How the command line is called from here: by name where a shell finds it, else by its path."""
    program = Path(sys.argv[0])
    return program.name if shutil.which(program.name) else os.path.relpath(program)
