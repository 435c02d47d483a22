"""Events of arriving objects from a cloud's queue: hints that make a sensor look at once.

Nothing depends on them: the landing sensor still lists, so an event that is lost, late or delivered twice
changes only how soon an object is seen. A queue that fails is a warning in the tick's log, never its end.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from mlops_assets.artifacts import ArtifactUri
from mlops_assets.errors import PathEscapeError, SettingsError, StorageError
from mlops_assets.platforms.ports import Announcement

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Message:
    """What a queue delivered: its content, and the receipt that lets it go."""

    receipt: str
    content: Any


class Queue(Protocol):
    """A queue that an object store notifies; a message comes again until it is acknowledged.

    Calls raise StorageError where the queue fails, SettingsError where it may not be used.
    """

    def pull(self, limit: int) -> Sequence[Message]:
        """Some messages, at most `limit`; none where there are none now."""
        ...

    def acknowledge(self, receipts: Sequence[str]) -> None:
        """Let messages go."""
        ...

    def created(self, content: Any) -> Iterator[str]:
        """URIs of the objects that a message says were written; any ordinary error where it is no event."""
        ...


class QueuedArrivalEvents:
    """The events of one prefix; those of other objects are acknowledged and left out."""

    def __init__(self, queue: Queue, prefix: ArtifactUri) -> None:
        self._queue, self._prefix = queue, prefix

    def receive(self, limit: int) -> Sequence[Announcement]:
        """Objects that were announced, at most about `limit`; a queue that cannot be read gives none."""
        found: list[Announcement] = []
        try:
            while len(found) < limit and (messages := self._queue.pull(limit - len(found))):
                announced = {message.receipt: list(self._below(message)) for message in messages}
                found += [Announcement(uri, receipt) for receipt, uris in announced.items() for uri in uris]
                # What announces nothing here is done with at once.
                if useless := [receipt for receipt, uris in announced.items() if not uris]:
                    self._queue.acknowledge(useless)
        except (StorageError, SettingsError) as error:
            _LOG.warning("arrival events cannot be read now, the listing goes on: %s", error)
        return found

    def acknowledge(self, announcements: Sequence[Announcement]) -> None:
        """Let the messages of what was dealt with go; where that fails they come again, and are known."""
        receipts = list(dict.fromkeys(item.receipt for item in announcements))
        if not receipts:
            return
        try:
            self._queue.acknowledge(receipts)
        except (StorageError, SettingsError) as error:
            _LOG.warning("arrival events cannot be acknowledged now, they come again: %s", error)

    def _below(self, message: Message) -> Iterator[ArtifactUri]:
        """The objects of one message below the prefix."""
        try:
            for text in self._queue.created(message.content):
                uri = ArtifactUri(text)
                if uri.startswith(f"{self._prefix}/"):
                    yield uri
        except (ValueError, KeyError, TypeError, AttributeError, PathEscapeError) as error:
            _LOG.warning(
                "an arrival event is left out, the listing finds its object: %s", type(error).__name__
            )
