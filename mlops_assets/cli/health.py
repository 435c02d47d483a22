"""`mlops-assets doctor`: what could keep a run from working, and the mend of each."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlops_assets.cli.state import State, json_option, verbose_option
from mlops_assets.errors import MlopsAssetsError
from mlops_assets.platforms.health import Finding, examined

if TYPE_CHECKING:
    from mlops_assets.settings import Settings

_LEAST_FREE = 1 << 30


@click.command()
@json_option("the findings as a JSON list")
@verbose_option
@click.pass_obj
def doctor(state: State, as_json: bool) -> int:
    """Check Python, packages, settings, disk, ports, declarations and what the platform needs.

    On a cloud that is who calls, the region, the bucket, the warehouse, a row on its way between them, the
    registry and the image; on AWS also the role and quotas, on Google Cloud the project, locations, Vertex AI
    and its service account. What it writes there it removes. Each thing that is wrong comes with its mend.
    Exit status 1 where something is.

    \b
    Example:
      mlops-assets doctor
    """
    from mlops_assets.cli.words import print_json, print_table

    findings = list(examine(state))
    wrong = [finding for finding in findings if finding.mend]
    if as_json:
        print_json([{**asdict(finding), "ok": not finding.mend} for finding in findings])
        return 1 if wrong else 0
    rows = [(finding.subject, "wrong" if finding.mend else "ok", finding.found) for finding in findings]
    print_table("", ("", "", ""), rows)
    for finding in wrong:
        click.echo(f"{finding.subject}: {finding.found}\n  Mend: {finding.mend}")
    return 1 if wrong else 0


def examine(state: State) -> Iterator[Finding]:
    """Every finding, in the order in which they build on each other."""
    yield _python()
    try:
        settings = state.settings()
        yield _packages(settings.platform)
    except MlopsAssetsError as error:
        yield _packages()
        yield Finding("settings", error.what, error.mend or "See docs/settings.md.")
        return
    yield Finding("settings", f"platform {settings.platform}, root {settings.root}")
    for check in (_writable, _space, _ports, _home, _declarations):
        yield examined(check.__name__.strip("_"), partial(check, settings))
    yield from _platform(settings)


def _platform(settings: Settings) -> Iterator[Finding]:
    """What the platform says of itself."""
    from mlops_assets.platforms.binding import build_platform

    try:
        checks = build_platform(settings).checks()
    except MlopsAssetsError as error:
        yield Finding("platform", error.what, error.mend or "See docs/settings.md.")
        return
    for subject, check in checks.items():
        yield examined(subject, check)


def _python() -> Finding:
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < (3, 11):  # noqa: UP036
        return Finding("python", found, "Use Python 3.11 or later.")
    return Finding("python", found)


def _packages(platform: str = "") -> Finding:
    """Every distribution that this one and its extra for the platform require, against what is installed."""
    from importlib.metadata import PackageNotFoundError, requires, version

    from packaging.requirements import Requirement

    wrong, count = [], 0
    extra = f"[{platform}]" if platform in ("aws", "gcp") else ""
    for text in requires("mlops-assets") or []:
        needed = Requirement(text)
        if needed.marker is not None and not needed.marker.evaluate({"extra": platform}):
            continue
        count += 1
        try:
            there = version(needed.name)
        except PackageNotFoundError:
            wrong.append(f"{needed.name} is missing")
            continue
        if not needed.specifier.contains(there, prereleases=True):
            wrong.append(f"{needed.name} is {there}, needed {needed.specifier}")
    if wrong:
        return Finding(
            "packages", "; ".join(wrong), f"{sys.executable} -m pip install --upgrade 'mlops-assets{extra}'"
        )
    return Finding("packages", f"{count} installed as needed")


def _writable(settings: Settings) -> Finding:
    there = settings.root
    while not there.exists():
        there = there.parent
    if not there.is_dir():
        return Finding("root", f"{there} is no folder", "Set MLOPS_ROOT to a folder.")
    if not os.access(there, os.W_OK | os.X_OK):
        return Finding("root", f"{there} cannot be written to", "Set MLOPS_ROOT to a folder of yours.")
    return Finding("root", f"{settings.root} can be written to")


def _space(settings: Settings) -> Finding:
    there = next(folder for folder in (settings.root, *settings.root.parents) if folder.exists())
    free = shutil.disk_usage(there).free
    found = f"{free / 2**30:.1f} GiB free on {there}"
    return Finding(
        "space", found, "" if free >= _LEAST_FREE else "Free at least 1 GiB, or set MLOPS_ROOT elsewhere."
    )


def _ports(settings: Settings) -> Finding:
    from mlops_assets.cli.ports import is_free

    if not is_free(settings.endpoint_host, 0):
        return Finding(
            "ports",
            f"no server can listen on {settings.endpoint_host}",
            "Set MLOPS_ENDPOINT_HOST to an address of this machine.",
        )
    ui = "free" if is_free("127.0.0.1", 3000) else "taken: give the UI another by --port"
    return Finding("ports", f"model servers can listen on {settings.endpoint_host}; 3000 is {ui}")


def _home(settings: Settings) -> Finding:
    given = os.environ.get("DAGSTER_HOME")
    if not given:
        return Finding("dagster home", f"DAGSTER_HOME is not set; history goes below {settings.root}")
    home = Path(given)
    if not home.is_absolute() or not home.is_dir():
        return Finding(
            "dagster home",
            f"{given} is not the absolute path of a folder",
            "Create it, or unset DAGSTER_HOME.",
        )
    return Finding("dagster home", given)


def _declarations(settings: Settings) -> Finding:
    from mlops_assets.declaration.loading import find, load

    if not settings.defs.is_dir():
        return Finding(
            "declarations",
            f"{settings.defs} is not there",
            "Write a model: mlops-assets init NAME --data FILE --target COLUMN; or set MLOPS_DEFS.",
        )
    names = [
        load(folder, allowed_estimators=settings.allowed_estimators).name for folder in find(settings.defs)
    ]
    return Finding(
        "declarations", f"{len(names)} load: {', '.join(names)}" if names else f"none in {settings.defs}"
    )
