"""`mlops-assets models`, `approve`, `reject`, `rollback`: the registered versions and their approval."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING, Any

import click

from mlops_assets.cli.state import State, json_option, verbose_option

if TYPE_CHECKING:
    from mlops_assets.artifacts import ModelVersion
    from mlops_assets.platforms.ports import Platform

_READERS = 8


@click.command()
@click.argument("name", required=False)
@json_option("the versions as a JSON list")
@verbose_option
@click.pass_obj
def models(state: State, name: str | None, as_json: bool) -> int:
    """List the registered versions of every model, or of NAME: aliases, approval, metrics.

    With --json also all that a version came from: dataset, recipe, run, commit, signature, and the version
    on another platform that it was copied from.

    \b
    Example:
      mlops-assets models
      mlops-assets models housing --json
    """
    from mlops_assets.cli.words import metrics, print_json, print_table

    platform = state.platform()
    versions = list(platform.registry.versions(name))
    if as_json:
        print_json(_described(platform, versions))
        return 0
    if not versions:
        of_whom = f" of {name}" if name else ""
        click.echo(f"No version{of_whom} is registered yet. Run: mlops-assets run {name or 'NAME'}")
        return 0
    rows = [
        (
            version.model,
            version.version,
            ", ".join(version.aliases),
            version.approval,
            metrics(version.metrics, 4),
            version.dataset_version[:12],
        )
        for version in versions
    ]
    print_table("", ("model", "version", "alias", "approval", "metrics", "dataset"), rows)
    return 0


def _described(platform: Platform, versions: list[ModelVersion]) -> list[dict[str, Any]]:
    """The versions with their signatures, which lie beside the models: several are fetched at once."""
    from concurrent.futures import ThreadPoolExecutor

    from mlops_assets.platforms.registry_records import signature

    store = platform.store  # made here: the threads share it
    with ThreadPoolExecutor(_READERS) as readers:
        signatures = readers.map(lambda version: signature(store, version.uri), versions)
        return [
            version.model_dump(mode="json") | {"signature": found}
            for version, found in zip(versions, signatures, strict=True)
        ]


@click.command()
@click.argument("name")
@click.argument("version", type=click.IntRange(min=1))
@click.option("--reason", default="", help="Kept with the version.")
@verbose_option
@click.pass_obj
def approve(state: State, name: str, version: int, reason: str) -> int:
    """Approve VERSION of NAME and make it the champion; the approval sensor or the next run deploys it.

    \b
    Example:
      mlops-assets approve wine 2 --reason "checked with the cellar"
    """
    platform = state.platform()
    approved = platform.registry.approve(name, version, by=getpass.getuser(), reason=reason)
    click.echo(f"{name} version {approved.version} is approved{_champion(approved)}.")
    hint_at_deployment(platform, name, approved)
    return 0


@click.command()
@click.argument("name")
@click.argument("version", type=click.IntRange(min=1))
@click.option("--reason", default="", help="Kept with the version.")
@verbose_option
@click.pass_obj
def reject(state: State, name: str, version: int, reason: str) -> int:
    """Reject VERSION of NAME: it can never become champion.

    \b
    Example:
      mlops-assets reject wine 3 --reason "worse on old vintages"
    """
    rejected = state.platform().registry.reject(name, version, by=getpass.getuser(), reason=reason)
    click.echo(f"{name} version {rejected.version} is rejected.")
    return 0


@click.command()
@click.argument("name")
@verbose_option
@click.pass_obj
def rollback(state: State, name: str) -> int:
    """Make the approved version that was champion of NAME before the present one champion again.

    \b
    Example:
      mlops-assets rollback housing
    """
    platform = state.platform()
    version = platform.registry.rollback(name)
    click.echo(f"{name} version {version.version} is champion again.")
    hint_at_deployment(platform, name, version)
    return 0


def _champion(version: ModelVersion) -> str:
    return " and champion" if "champion" in version.aliases else ""


def hint_at_deployment(platform: Platform, name: str, version: ModelVersion) -> None:
    """Say how `version`, the champion, comes to serve where another one, or none, does."""
    served = platform.endpoint.status(name)
    if served.stopped_by is not None:
        click.echo(f"Nothing serves: {served.message}")
    elif served.version != version.version:
        now = f"version {served.version} serves" if served.status == "serving" else "nothing serves"
        deploy = f"mlops-assets run {name} (the UI, while it runs, does so by itself)"
        click.echo(f"Now {now}. To deploy version {version.version}: {deploy}")
