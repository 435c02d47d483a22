"""The first process of a job's container, between its program and Dagster, which is out of reach.

The program writes its messages to a local file; they go from there to the store, so that what it said before
it was killed arrives as well. Needs dagster-pipes alone.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

from dagster_pipes import (
    DAGSTER_PIPES_CONTEXT_ENV_VAR,
    DAGSTER_PIPES_MESSAGES_ENV_VAR,
    PipesContextLoader,
    PipesEnvVarParamsLoader,
    PipesMessageWriter,
    encode_param,
)

_INTERVAL = 0.5


@contextmanager
def relayed(
    sides: Callable[[], tuple[PipesContextLoader, PipesMessageWriter[Any]]],
) -> Iterator[dict[str, str]]:
    """Environment of a program that reports to Dagster through this process; empty where nobody listens.

    Args:
        sides: makes the loader of the context and the writer of messages, where somebody listens.
    """
    parameters = PipesEnvVarParamsLoader()
    if not parameters.is_dagster_pipes_process():
        yield {}
        return
    loader, writer = sides()
    with (
        loader.load_context(parameters.load_context_params()) as context,
        writer.open(parameters.load_messages_params()) as channel,
        tempfile.TemporaryDirectory(prefix="mlops-pipes-") as folder,
    ):
        given, said = Path(folder, "context.json"), Path(folder, "messages")
        given.write_text(json.dumps(context), encoding="utf-8")
        said.touch()
        with _passing_on(said, channel):
            yield {
                DAGSTER_PIPES_CONTEXT_ENV_VAR: encode_param({"path": str(given)}),
                DAGSTER_PIPES_MESSAGES_ENV_VAR: encode_param({"path": str(said)}),
            }


@contextmanager
def _passing_on(path: Path, channel: Any) -> Iterator[None]:
    """Pass on each whole line of `path` while the block runs, and the rest after it."""
    over = Event()

    def relay() -> None:
        with path.open(encoding="utf-8") as file:
            begun = ""
            while True:
                last = over.wait(_INTERVAL)
                while line := file.readline():
                    begun += line
                    if begun.endswith("\n"):
                        channel.write_message(json.loads(begun))
                        begun = ""
                if last:
                    return

    relaying = Thread(target=relay, name="pipes-relay", daemon=True)
    relaying.start()
    try:
        yield
    finally:
        over.set()
        relaying.join()
