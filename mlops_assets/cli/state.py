"""What one invocation carries along, and the options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from mlops_assets.platforms.ports import Platform
    from mlops_assets.settings import Settings

F = TypeVar("F", bound=Callable[..., Any])


@dataclass
class State:
    """One invocation.

    Attributes:
        verbose: show Dagster's log and tracebacks.
    """

    verbose: bool = False

    def settings(self, **changes: Any) -> Settings:
        """The settings of the environment, with `changes` of this invocation.

        Raises:
            SettingsError: naming each wrong variable.
        """
        from mlops_assets.settings import load_settings

        return load_settings().model_copy(update=changes)

    def platform(self) -> Platform:
        """The platform that the settings name."""
        from mlops_assets.platforms.binding import build_platform

        return build_platform(self.settings())


def _set_verbose(context: click.Context, _: click.Parameter, value: bool) -> None:
    context.ensure_object(State).verbose |= value


def verbose_option(command: F) -> F:
    """`--verbose`: Dagster's own log, and tracebacks of errors."""
    return click.option(
        "--verbose",
        is_flag=True,
        expose_value=False,
        callback=_set_verbose,
        help="Show Dagster's log, and tracebacks of errors.",
    )(command)


def json_option(what: str) -> Callable[[F], F]:
    """`--json`: print `what` and nothing else on standard output."""
    return click.option(
        "--json", "as_json", is_flag=True, help=f"Print {what} on standard output, nothing else."
    )
