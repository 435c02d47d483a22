"""`mlops-assets ui`: Dagster's web interface and daemon on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click

from mlops_assets.cli.state import State, verbose_option


@click.command()
@click.option(
    "--port", type=click.IntRange(1, 65_535), default=3000, show_default=True, help="Port to listen on."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@verbose_option
@click.pass_obj
def ui(state: State, port: int, host: str) -> int:
    """Start the Dagster UI and its daemon; Ctrl-C ends both.

    \b
    Example:
      mlops-assets ui
      mlops-assets ui --port 3001
    """
    from mlops_assets.cli.instance import dagster_home, prepare_history
    from mlops_assets.cli.ports import refuse_taken

    settings = state.settings()
    refuse_taken(host, port)
    home = dagster_home(settings)
    prepare_history(settings)
    environment = {
        **os.environ,
        "DAGSTER_HOME": str(home),
        "DAGSTER_DISABLE_TELEMETRY": "1",
        "MLOPS_ROOT": str(settings.root),
        "MLOPS_DEFS": str(settings.defs),
    }
    click.echo(f"The UI answers on http://{host}:{port} in a few seconds. Ctrl-C ends it.")
    # In a session of its own, so that Ctrl-C reaches it once, from here, and not twice.
    process = subprocess.Popen(
        [sys.executable, "-m", "dagster", "dev", *_target(), "--host", host, "--port", str(port)],
        env=environment,
        start_new_session=True,
    )
    return _wait(process)


def _target() -> list[str]:
    """The workspace of the checkout this was called in, else the installed code location."""
    workspace = Path("workspace.yaml")
    if workspace.is_file() and "mlops_assets" in workspace.read_text(encoding="utf-8"):
        return ["-w", str(workspace)]
    return ["-m", "mlops_assets.definitions"]


def _wait(process: subprocess.Popen[bytes]) -> int:
    """Wait for the UI; an interruption ends it with its children."""
    import signal

    def stop(_signum: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        return process.wait()
    finally:
        signal.signal(signal.SIGTERM, before)
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
