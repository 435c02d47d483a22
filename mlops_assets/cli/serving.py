"""`mlops-assets predict` and `endpoints`: scoring files, and the servers that deployments started."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING

import click

from mlops_assets.cli.state import State, json_option, verbose_option

if TYPE_CHECKING:
    from mlops_assets.artifacts import Deployment
    from mlops_assets.platforms.ports import Endpoint


@click.command()
@click.argument("name")
@click.option(
    "--data",
    required=True,
    help="Rows to score: CSV, Parquet or JSON lines; also s3://… on AWS, gs://… on Google Cloud.",
)
@click.option(
    "--out",
    required=True,
    help="File to write, in the format of its suffix; s3://… or gs://… where the rows are there.",
)
@click.option("--version", "number", type=click.IntRange(min=1), help="Default: the champion.")
@json_option("model, version, rows, out and seconds as one object")
@verbose_option
@click.pass_obj
def predict(state: State, *, name: str, data: str, out: str, number: int | None, as_json: bool) -> int:
    """Score the rows of a file with NAME's champion: every column of the file, then the predictions.

    Files of any size: memory stays flat.

    \b
    Example:
      mlops-assets predict housing --data new_listings.csv --out scored.parquet
    """
    from mlops_assets.cli.words import print_json
    from mlops_assets.pipeline.scoring import located
    from mlops_assets.pipeline.scoring import predict as score

    result = score(state.platform(), name, located(data), located(out), number)
    if as_json:
        print_json(result)
        return 0
    rows = "Rows" if result["rows"] is None else f"{result['rows']:,} rows"
    click.echo(
        f"{rows} scored with {name} version {result['version']} in {result['seconds']:.1f} s: {result['out']}"
    )
    return 0


@click.group(invoke_without_command=True)
@json_option("the servers as a JSON list")
@verbose_option
@click.pass_context
def endpoints(context: click.Context, as_json: bool) -> int | None:
    """List the model servers that deployments started; stop or restart them.

    \b
    Example:
      mlops-assets endpoints
      mlops-assets endpoints stop housing
    """
    return _list(context.obj, as_json) if context.invoked_subcommand is None else None


@endpoints.command("list")
@json_option("the servers as a JSON list")
@verbose_option
@click.pass_obj
def list_(state: State, as_json: bool) -> int:
    """List every server, its version and its address.

    \b
    Example:
      mlops-assets endpoints list --json
    """
    return _list(state, as_json)


@endpoints.command(short_help="Stop the server of NAME.")
@click.argument("name")
@verbose_option
@click.pass_obj
def stop(state: State, name: str) -> int:
    """Stop the server of NAME; what it has accepted it answers first.

    It stays stopped, whatever arrives or is approved, until `endpoints restart`.

    \b
    Example:
      mlops-assets endpoints stop housing
    """
    endpoint = state.platform().endpoint
    _known(endpoint, name)
    _show_one(endpoint.stop(name, by=getpass.getuser()))
    return 0


@endpoints.command(short_help="Start the server of NAME again.")
@click.argument("name")
@verbose_option
@click.pass_obj
def restart(state: State, name: str) -> int:
    """Start the server of NAME again with the version that it served last.

    \b
    Example:
      mlops-assets endpoints restart housing
    """
    from mlops_assets.cli.registry import hint_at_deployment

    platform = state.platform()
    _known(platform.endpoint, name)
    _show_one(platform.endpoint.restart(name))
    champion = platform.registry.champion(name)
    if champion is not None:
        hint_at_deployment(platform, name, champion)
    return 0


def _known(endpoint: Endpoint, name: str) -> None:
    """Raise UsageError where nothing called `name` was ever deployed."""
    from mlops_assets.starting.naming import did_you_mean

    deployed = [item.model for item in endpoint.list()]
    if name not in deployed:
        raise click.UsageError(f"No model {name!r} was deployed. {did_you_mean(name, deployed)}")


def _list(state: State, as_json: bool) -> int:
    from mlops_assets.cli.words import print_json, print_table

    served = list(state.platform().endpoint.list())
    if as_json:
        print_json([item.model_dump(mode="json") for item in served])
    elif not served:
        click.echo("Nothing was deployed yet. Run: mlops-assets run NAME")
    else:
        rows = [
            (item.model, item.version or "", item.status, item.url or "", item.message) for item in served
        ]
        print_table("", ("model", "version", "status", "address", ""), rows)
    return 0


def _show_one(served: Deployment) -> None:
    version = f" version {served.version}" if served.version else ""
    click.echo(f"{served.model}{version}: {served.status}{f' on {served.url}' if served.url else ''}.")
