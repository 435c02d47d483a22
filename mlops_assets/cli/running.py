"""`mlops-assets run`: one model, from what arrived to the version that serves."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from mlops_assets.cli.state import State, json_option, verbose_option

if TYPE_CHECKING:
    from mlops_assets.cli.progress import Progress
    from mlops_assets.cli.report import Report
    from mlops_assets.declaration.loaded import LoadedDeclaration
    from mlops_assets.platforms.ports import Platform
    from mlops_assets.settings import Settings

_STAGES = ("arrivals", "tables", "dataset", "candidate", "evaluation", "registered_model", "endpoint")


@click.command()
@click.argument("name")
@json_option("one object with model, status, version, metrics, gates, dataset and uris")
@click.option("--force", is_flag=True, help="Run every stage even where nothing changed.")
@click.option("--upto", type=click.Choice(_STAGES), help="Stop after this stage.")
@verbose_option
@click.pass_obj
def run(state: State, name: str, as_json: bool, force: bool, upto: str | None) -> int:
    """Load what arrived, train, judge, register and serve model NAME.

    Stages whose code, configuration and inputs are unchanged are skipped, and say so.

    \b
    Example:
      mlops-assets run housing
      mlops-assets run housing --upto evaluation --json

    Exit status: 0 registered (or ended where asked), 3 refused by a gate, 1 failed, 2 wrong usage.
    """
    from mlops_assets.cli.models import declared

    settings = state.settings(**({"force": True} if force else {}))
    loaded = declared(settings, name)
    outcome, progress, _ = execute(state, settings, loaded, upto)
    if as_json:
        from mlops_assets.cli.words import print_json

        print_json({**asdict(outcome), "skipped": sorted(progress.skipped)})
    else:
        show(outcome, progress)
    return outcome.exit_status


def execute(
    state: State, settings: Settings, loaded: LoadedDeclaration, upto: str | None = None
) -> tuple[Report, Progress, Platform]:
    """Run the model's job in this process and say what it came to; progress goes to standard error."""
    from mlops_assets.cli.instance import dagster_instance, has_history
    from mlops_assets.platforms.binding import build_platform

    platform = build_platform(settings)
    if not has_history(settings) and upto not in _STAGES[: _STAGES.index("candidate")]:
        # Nothing was ever trained: what training needs is imported beside what running does.
        platform.trainer.prepare()
    from mlops_assets.cli.execution import Execution, quiet
    from mlops_assets.cli.interruption import interruptible
    from mlops_assets.cli.progress import Progress
    from mlops_assets.cli.report import report

    with quiet(state.verbose) as real_stderr, interruptible():
        progress = Progress(real_stderr(), verbose=state.verbose)
        with dagster_instance(settings) as instance, progress.shown():
            executed = Execution(loaded, platform, instance, progress).run(upto)
        return report(platform, loaded.name, executed), progress, platform


def show(outcome: Report, progress: Progress) -> None:
    """The outcome as short tables."""
    from mlops_assets.cli.words import metrics, print_table

    rows: list[tuple[str, str]] = []
    counts = outcome.rows
    rows.append(
        (
            "rows",
            f"{counts['in']:,} in = {counts['loaded']:,} loaded + {counts['quarantined']:,} quarantined "
            f"(files: {counts['objects']:,}, new: {counts['new']:,})",
        )
    )
    if counts["quarantined"]:
        rows.append(("", f"what is quarantined: mlops-assets quarantine {outcome.model}"))
    if outcome.dataset:
        splits = ", ".join(f"{name} {count:,}" for name, count in outcome.dataset["rows"].items())
        rows.append(("dataset", f"{outcome.dataset['version'][:16]} ({splits})"))
    if outcome.metrics:
        rows.append(("metrics", metrics(outcome.metrics)))
    rows += [
        ("gate", f"{'passed' if gate['passed'] else _refusal(gate)}: {gate['message']}")
        for gate in outcome.gates
    ]
    if outcome.version is not None:
        rows.append(("version", f"{outcome.version} ({outcome.approval})"))
    if "endpoint" in outcome.uris:
        rows.append(("endpoint", f"{outcome.uris['endpoint']} (version {outcome.serving} serves)"))
    if outcome.stopped:
        rows.append(("endpoint", outcome.stopped))
    print_table(f"{outcome.model}: {_sentence(outcome, progress)}", ("", ""), rows)
    if outcome.error:
        click.echo(f"Error: {outcome.error}", err=True)
    if outcome.approval == "pending":
        click.echo(f"It waits for: mlops-assets approve {outcome.model} {outcome.version}")


def _refusal(gate: dict[str, object]) -> str:
    return "REFUSED" if gate["severity"] == "error" else "warning"


def _sentence(outcome: Report, progress: Progress) -> str:
    if outcome.status == "registered" and "candidate" in progress.skipped:
        return "nothing changed, nothing was trained"
    return {
        "registered": "registered",
        "refused": "refused by a gate, nothing was registered",
        "failed": "failed",
        "partial": "done as far as asked",
    }[outcome.status]
