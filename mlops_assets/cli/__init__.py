"""The command line: `mlops-assets COMMAND`. Commands are imported when called, so that help is fast."""

from __future__ import annotations

import atexit
import gc
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from typing import NoReturn

import click

from mlops_assets.cli.state import State
from mlops_assets.errors import MlopsAssetsError

FAILED, WRONG_USAGE, INTERRUPTED = 1, 2, 130

# Command -> module below this package that holds it, and its line in the help.
_COMMANDS = {
    "demo": ("demonstration", "Run the housing model on sample data, from files to a served version."),
    "init": ("beginning", "Write a model's declaration from a CSV or Parquet file."),
    "run": ("running", "Load what arrived, train, judge, register and serve a model."),
    "quarantine": ("quarantine", "Show the rows that arrived and could not be used."),
    "predict": ("serving", "Score a file with a registered version."),
    "models": ("registry", "List the registered versions."),
    "approve": ("registry", "Approve a version that waits and make it the champion."),
    "reject": ("registry", "Reject a version."),
    "rollback": ("registry", "Make the champion before the present one champion again."),
    "copy": ("copying", "Copy a registered version to another platform, with its verdict and lineage."),
    "endpoints": ("serving", "List, stop or restart the model servers."),
    "doctor": ("health", "Check Python, packages, settings, disk, ports and declarations."),
    "ui": ("interface", "Start the Dagster UI."),
}


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        module, _ = _COMMANDS[cmd_name]
        return getattr(import_module(f"{__name__}.{module}"), cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in _COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in _COMMANDS and not args[0].startswith("-"):
            from mlops_assets.starting.naming import did_you_mean

            raise click.UsageError(f"No command {args[0]!r}. {did_you_mean(args[0], _COMMANDS)}", ctx)
        return super().resolve_command(ctx, args)


@click.group(
    cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(package_name="mlops-assets")
def commands() -> None:
    """A model declared once, from arriving files to a served version.

    \b
    Start with your own data:
      mlops-assets init churn --data customers.csv --target churned
      mlops-assets run churn
      mlops-assets ui

    Settings are environment variables MLOPS_… (docs/settings.md). Exit status: 0 done, 1 failed, 2 wrong
    usage, 3 refused by a gate.
    """


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command and exit with its status."""
    # Most objects of a command live to its end: looking through them while imports make them costs a second.
    gc.set_threshold(50_000, 20, 50)
    status = [FAILED]
    if arguments is None:
        _leave_quickly(status)
    status[0] = _run(arguments)
    sys.exit(status[0])


def _leave_quickly(status: list[int]) -> None:
    """End this process after every other exit handler, without taking its libraries' objects apart.

    Handlers run in reverse: the one registered first is the last, when threads have ended and files,
    databases and child processes are closed. What is left would be a look through millions of objects, up to
    a second.
    """

    def leave() -> None:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(status[0])

    atexit.register(leave)


def _run(arguments: Sequence[str] | None) -> int:
    state = State()
    try:
        code = commands.main(
            args=list(arguments) if arguments is not None else None,
            prog_name="mlops-assets",
            standalone_mode=False,
            obj=state,
        )
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("Interrupted.", err=True)
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone: nothing more can be said, and that is no failure.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except MlopsAssetsError as error:
        if state.verbose:
            raise
        click.echo(f"Error: {error}", err=True)
        return FAILED
    return code if isinstance(code, int) else 0
