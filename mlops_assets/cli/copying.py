"""`mlops-assets copy`: a registered version on another platform, under the same conditions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mlops_assets.cli.state import State, json_option, verbose_option

if TYPE_CHECKING:
    from mlops_assets.artifacts import Deployment
    from mlops_assets.declaration.loaded import LoadedDeclaration
    from mlops_assets.pipeline.copying import Copied
    from mlops_assets.platforms.ports import Platform

_REFUSED = 3


@click.command()
@click.argument("name")
@click.argument("version", type=click.IntRange(min=1))
@click.option(
    "--to", "there", required=True, type=click.Choice(["local", "aws", "gcp"]), help="Platform to copy to."
)
@click.option("--deploy", is_flag=True, help="Let the champion there serve afterwards, if it is approved.")
@json_option("model, version, approval, copied_from, uris and endpoint as one object")
@verbose_option
@click.pass_obj
def copy(state: State, *, name: str, version: int, there: str, deploy: bool, as_json: bool) -> int:
    """Copy VERSION of NAME from MLOPS_PLATFORM to another platform and register it there.

    The settings of both are read from the environment. Files are compared with their checksums on both sides;
    the verdict of the gates is verified, and so is that it holds against the champion there. The same version
    again is the same version there.

    \b
    Example:
      mlops-assets copy housing 3 --to gcp
      mlops-assets copy housing 3 --to gcp --deploy --json

    Exit status: 0 registered there, 3 refused by a gate, 1 failed, 2 wrong usage.
    """
    from mlops_assets.cli.models import declared
    from mlops_assets.cli.words import print_json
    from mlops_assets.errors import GateRefusedError
    from mlops_assets.pipeline.copying import copy as copy_version
    from mlops_assets.platforms.binding import build_platform

    source = state.platform()
    if source.settings.platform == there:
        raise click.UsageError(f"{name} is on {there} already (MLOPS_PLATFORM); --to names another platform.")
    loaded = declared(source.settings, name)
    if deploy and not loaded.spec.endpoint.enabled:
        raise click.UsageError(
            f"{name} declares no endpoint (endpoint.enabled is false): leave --deploy out."
        )
    target = build_platform(state.settings(platform=there))
    for platform in (source, target):
        _ = platform.store, platform.registry  # a setting that is missing is said before anything is copied
    try:
        copied = copy_version(source, target, loaded, version, say=_say)
    except GateRefusedError as error:
        if state.verbose:
            raise
        click.echo(f"Error: {error}", err=True)
        return _REFUSED
    deployment = _deployed(target, copied) if deploy else None
    if as_json:
        print_json(_report(copied, there, deployment))
    else:
        _show(copied, loaded, there, deployment)
    return 0


def _say(text: str) -> None:
    click.echo(f"  {text}", err=True)


def _deployed(target: Platform, copied: Copied) -> Deployment:
    from mlops_assets.pipeline.deployment import deploy_champion

    return deploy_champion(target, copied.version, copied.evaluation)[0]


def _report(copied: Copied, there: str, deployment: Deployment | None) -> dict[str, Any]:
    version = copied.version
    return {
        "model": version.model,
        "platform": there,
        "version": version.version,
        "approval": version.approval,
        "aliases": list(version.aliases),
        "copied_from": version.copied_from.model_dump(mode="json") if version.copied_from else None,
        "uris": {"candidate": str(version.uri), "evaluation": str(copied.evaluation.uri)},
        "endpoint": deployment.model_dump(mode="json") if deployment else None,
    }


def _show(copied: Copied, loaded: LoadedDeclaration, there: str, deployment: Deployment | None) -> None:
    version = copied.version
    name, origin = version.model, version.copied_from
    came = f", copied from {origin.platform} version {origin.version}" if origin else ""
    champion = " and champion" if "champion" in version.aliases else ""
    click.echo(f"{name} version {version.version} on {there} is {version.approval}{champion}{came}.")
    if version.approval == "pending":
        click.echo(f"It waits for: MLOPS_PLATFORM={there} mlops-assets approve {name} {version.version}")
    if deployment is not None:
        click.echo(deployment.message)
    elif origin is not None and loaded.spec.endpoint.enabled and version.approval == "approved":
        deploy = f"mlops-assets copy {name} {origin.version} --to {there} --deploy"
        click.echo(
            f"To let the champion there serve: {deploy} (the UI, while it runs there, does so by itself)"
        )
