"""S3's own notifications of arriving objects, from an SQS queue: hints that make a sensor look at once.

Nothing depends on them: the landing sensor still lists, so an event that is lost, late or delivered twice
changes only how soon an object is seen.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus

from mlops_assets.artifacts import ArtifactUri
from mlops_assets.errors import PathEscapeError, StorageError
from mlops_assets.platforms.aws.client import client, speaking
from mlops_assets.platforms.ports import Announcement

if TYPE_CHECKING:
    from mlops_assets.platforms.aws.settings import AwsSettings

_LOG = logging.getLogger(__name__)
_MOST_PER_CALL = 10


class SqsArrivalEvents:
    """The queue of one prefix.

    Understood are S3's notifications, the same through an SNS topic, and those of EventBridge. A message is
    received again, after the queue's visibility timeout, until it is acknowledged.

    Args:
        aws: for the region.
        queue: URL of the queue.
        prefix: events of other objects are acknowledged and left out.
    """

    def __init__(self, aws: AwsSettings, queue: str, prefix: ArtifactUri) -> None:
        self._sqs, self._queue, self._prefix = client("sqs", aws.region), queue, prefix

    def receive(self, limit: int) -> Sequence[Announcement]:
        """Objects that were announced, at most about `limit`; a queue that cannot be read gives none."""
        found: list[Announcement] = []
        try:
            with speaking(self._queue):
                while len(found) < limit:
                    answer = self._sqs.receive_message(
                        QueueUrl=self._queue, MaxNumberOfMessages=_MOST_PER_CALL, WaitTimeSeconds=0
                    )
                    messages = answer.get("Messages", [])
                    if not messages:
                        break
                    for message in messages:
                        found += self._read(message)
        except StorageError as error:
            _LOG.warning("arrival events cannot be read now, the listing goes on: %s", error)
        return found

    def acknowledge(self, announcements: Sequence[Announcement]) -> None:
        """Delete the messages of what was dealt with."""
        receipts = list(dict.fromkeys(item.receipt for item in announcements))
        for start in range(0, len(receipts), _MOST_PER_CALL):
            chunk = receipts[start : start + _MOST_PER_CALL]
            entries = [{"Id": str(number), "ReceiptHandle": receipt} for number, receipt in enumerate(chunk)]
            with speaking(self._queue):
                self._sqs.delete_message_batch(QueueUrl=self._queue, Entries=entries)

    def _read(self, message: Mapping[str, Any]) -> Iterator[Announcement]:
        """The objects of one message below the prefix; one that holds none is done with at once."""
        receipt, uris = message["ReceiptHandle"], []
        try:
            for bucket, key in _created(json.loads(message["Body"])):
                uri = ArtifactUri(f"s3://{bucket}/{key}")
                if uri.startswith(f"{self._prefix}/"):
                    uris.append(uri)
        except (ValueError, KeyError, TypeError, AttributeError, PathEscapeError) as error:
            _LOG.warning(
                "an arrival event is left out, the listing finds its object: %s", type(error).__name__
            )
        if not uris:
            self.acknowledge([Announcement(self._prefix, receipt)])
        yield from (Announcement(uri, receipt) for uri in uris)


def _created(body: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Bucket and key of every object that an event says was created."""
    if "Message" in body:  # through SNS
        yield from _created(json.loads(body["Message"]))
    elif body.get("detail-type") == "Object Created":  # EventBridge, whose keys are literal
        yield body["detail"]["bucket"]["name"], body["detail"]["object"]["key"]
    for record in body.get("Records", []):
        if str(record["eventName"]).removeprefix("s3:").startswith("ObjectCreated"):
            yield record["s3"]["bucket"]["name"], unquote_plus(record["s3"]["object"]["key"])
