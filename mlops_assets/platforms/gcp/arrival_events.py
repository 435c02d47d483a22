"""Cloud Storage's own notifications of arriving objects, from a Pub/Sub subscription."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from mlops_assets.platforms.arrival_events import Message
from mlops_assets.platforms.gcp.client import credentials, speaking

if TYPE_CHECKING:
    from google.pubsub_v1 import SubscriberClient

# Seconds that an empty subscription is waited for: Pub/Sub answers as soon as it has a message, else late.
WAIT = 2.0
_TIMEOUT = 10.0
_MOST_PER_CALL = 1_000


class PubSubQueue:
    """A subscription to the topic that a bucket notifies.

    Only the attributes of a notification are read, so that its payload may be left out. A message is
    delivered again, after the subscription's acknowledgement deadline, until it is acknowledged.

    Args:
        subscription: `projects/<project>/subscriptions/<name>`.
    """

    def __init__(self, subscription: str) -> None:
        self._name = subscription
        self._client = _subscriber(os.environ.get("PUBSUB_EMULATOR_HOST"))

    def pull(self, limit: int) -> Sequence[Message]:
        """Some messages, at most `limit`; none where none comes within `WAIT` seconds."""
        from requests.exceptions import ReadTimeout

        request = {"subscription": self._name, "max_messages": min(limit, _MOST_PER_CALL)}
        with speaking(self._name):
            try:
                # A message that was on its way when we stopped waiting comes again after its deadline.
                answer = self._client.pull(request, retry=None, timeout=WAIT)
            except ReadTimeout:
                return []
        return [Message(item.ack_id, dict(item.message.attributes)) for item in answer.received_messages]

    def acknowledge(self, receipts: Sequence[str]) -> None:
        """Let messages go; a deadline that has passed is no error, they come again."""
        for start in range(0, len(receipts), _MOST_PER_CALL):
            chunk = list(receipts[start : start + _MOST_PER_CALL])
            request = {"subscription": self._name, "ack_ids": chunk}
            with speaking(self._name):
                self._client.acknowledge(request, retry=None, timeout=_TIMEOUT)

    def created(self, content: Mapping[str, str]) -> Iterator[str]:
        """URI of the object that a notification's attributes say was written whole, if it does."""
        if content["eventType"] == "OBJECT_FINALIZE":
            yield f"gs://{content['bucketId']}/{content['objectId']}"


@lru_cache(maxsize=2)
def _subscriber(emulator: str | None) -> SubscriberClient:
    """Google's client over REST, as for Vertex AI; it is safe to share between threads.

    Google's variable for the emulator makes the client itself take a channel of gRPC for its transport, so
    the transport is made here. An emulator is shown no credentials.

    Args:
        emulator: host and port of an emulator.

    Raises:
        SettingsError: where no credentials are found.
    """
    from google.auth.credentials import AnonymousCredentials
    from google.pubsub_v1 import SubscriberClient
    from google.pubsub_v1.services.subscriber.transports.rest import SubscriberRestTransport

    if emulator:
        anonymous = AnonymousCredentials()
        transport = SubscriberRestTransport(host=f"http://{emulator}", credentials=anonymous)
    else:
        transport = SubscriberRestTransport(credentials=credentials()[0])
    return SubscriberClient(transport=transport)
