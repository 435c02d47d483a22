"""Pipes over an object store under keys that outlive the orchestrator: whoever attaches reads them again.

The stock injectors and readers use random keys, delete the context at the end and wait ten seconds for
messages that may still come. A job's end is known here, and the stores are consistent: what is there then is
all there is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import TYPE_CHECKING, Protocol

import dagster as dg
from dagster_pipes import PIPES_PROTOCOL_VERSION_FIELD, PipesBlobStoreMessageWriter

if TYPE_CHECKING:
    from dagster._core.pipes.context import PipesMessageHandler
    from dagster_pipes import PipesContextData, PipesParams


class Bucket(Protocol):
    """A bucket, as much of it as Pipes needs."""

    @property
    def name(self) -> str:
        """The bucket's name."""
        ...

    def write(self, key: str, data: bytes) -> None:
        """Write an object."""
        ...

    def read(self, key: str) -> bytes | None:
        """An object's bytes; None where it is not there, or cannot be read at this moment."""
        ...


class StoredContextInjector(dg.PipesContextInjector):
    """Writes the context to one key and leaves it there; `PipesS3ContextLoader` or its like reads it."""

    def __init__(self, bucket: Bucket, key: str) -> None:
        self._bucket, self._key = bucket, key

    @contextmanager
    def inject_context(self, context_data: PipesContextData) -> Iterator[PipesParams]:
        """Write the context; yields where it lies."""
        self._bucket.write(self._key, json.dumps(context_data).encode())
        yield {"bucket": self._bucket.name, "key": self._key}

    def no_messages_debug_text(self) -> str:
        """What to look at where no message came."""
        return f"The job was to load its context from the key {self._key} of {self._bucket.name}."


class StoredMessageReader(dg.PipesMessageReader):
    """Reads from the first on the chunks `<prefix>/1.json`, … that the job's message writer writes."""

    def __init__(self, bucket: Bucket, prefix: str, *, interval: float) -> None:
        self._bucket, self._prefix, self._interval = bucket, prefix, interval
        self._next = 1

    @contextmanager
    def read_messages(self, handler: PipesMessageHandler) -> Iterator[PipesParams]:
        """Handle messages as they come while the block runs, and the rest after it."""
        over = Event()

        def read() -> None:
            while not over.wait(self._interval):
                self._handle_new(handler)

        reading = Thread(target=read, name="pipes-messages", daemon=True)
        reading.start()
        try:
            yield {
                "bucket": self._bucket.name,
                "key_prefix": self._prefix,
                PipesBlobStoreMessageWriter.INCLUDE_STDIO_IN_MESSAGES_KEY: False,
            }
        finally:
            over.set()
            reading.join()
            self._handle_new(handler)

    def no_messages_debug_text(self) -> str:
        """What to look at where no message came."""
        return f"The job was to report below the key {self._prefix} of {self._bucket.name}."

    def _handle_new(self, handler: PipesMessageHandler) -> None:
        while (chunk := self._bucket.read(f"{self._prefix}/{self._next}.json")) is not None:
            self._next += 1
            for line in chunk.decode().splitlines():
                message = json.loads(line)
                if PIPES_PROTOCOL_VERSION_FIELD in message:
                    handler.handle_message(message)
