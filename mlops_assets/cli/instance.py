"""Where Dagster keeps its history: DAGSTER_HOME, the checkout, or a folder below the platform's root."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_assets.errors import SettingsError
from mlops_assets.settings import PACKAGE

if TYPE_CHECKING:
    import dagster as dg

    from mlops_assets.settings import Settings

_MINIMAL = """\
# Made by mlops-assets, because DAGSTER_HOME is not set: the history of runs lies beside this file.
telemetry:
  enabled: false
run_monitoring:
  enabled: true
  free_slots_after_run_end_seconds: 60
nux:
  enabled: false
"""


def dagster_home(settings: Settings) -> Path:
    """The folder of dagster.yaml; made below `settings.root` where there is none.

    The checkout's own dagster.yaml writes below `.mlops` of the folder it is used in, so it counts only where
    that is the root as well; else two places would hold one deployment's history.

    Raises:
        SettingsError: where DAGSTER_HOME is set to what is no folder.
    """
    given = os.environ.get("DAGSTER_HOME")
    if given:
        home = Path(given).expanduser()
        if not home.is_absolute() or not home.is_dir():
            raise SettingsError(
                f"{given!r} is not the absolute path of a folder.",
                where="DAGSTER_HOME",
                mend="Create it, or unset DAGSTER_HOME.",
            )
        return home
    checkout = PACKAGE.parent
    if (
        Path.cwd() == checkout
        and settings.root == checkout / ".mlops"
        and (checkout / "dagster.yaml").is_file()
    ):
        return checkout
    home = settings.root / "dagster"
    home.mkdir(parents=True, exist_ok=True)
    if not (home / "dagster.yaml").exists():
        aside = home / f".dagster.yaml.{os.getpid()}"
        aside.write_text(_MINIMAL, encoding="utf-8")
        aside.replace(home / "dagster.yaml")
    return home


def has_history(settings: Settings) -> bool:
    """Whether anything may have been run before; errors as `dagster_home`."""
    is_ours = dagster_home(settings) in (settings.root / "dagster", PACKAGE.parent)
    return not is_ours or (settings.root / "dagster" / "history").is_dir()


@contextmanager
def dagster_instance(settings: Settings) -> Iterator[dg.DagsterInstance]:
    """The instance that the UI shows as well."""
    import dagster as dg
    from filelock import FileLock

    os.environ["DAGSTER_HOME"] = str(dagster_home(settings))
    os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "1")
    # Two processes that make Dagster's tables at once leave them with two heads, which nobody can open again.
    settings.root.mkdir(parents=True, exist_ok=True)
    with FileLock(settings.root / ".history.lock"):
        opened = dg.DagsterInstance.get()
    with opened as instance:
        yield instance


def prepare_history(settings: Settings) -> None:
    """Make Dagster's tables before processes of its own start, which would make them without the lock."""
    with dagster_instance(settings) as instance:
        # Each of the three makes its own when it is first opened.
        _ = instance.run_storage, instance.event_log_storage, instance.schedule_storage
