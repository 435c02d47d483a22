"""S3's own notifications of arriving objects, from an SQS queue."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus

from mlops_assets.platforms.arrival_events import Message
from mlops_assets.platforms.aws.client import client, speaking

if TYPE_CHECKING:
    from mlops_assets.platforms.aws.settings import AwsSettings

_MOST_PER_CALL = 10


class SqsQueue:
    """A queue that S3 notifies.

    Understood are S3's notifications, the same through an SNS topic, and those of EventBridge. A message is
    received again, after the queue's visibility timeout, until it is acknowledged.

    Args:
        aws: for the region.
        url: of the queue.
    """

    def __init__(self, aws: AwsSettings, url: str) -> None:
        self._sqs, self._url = client("sqs", aws.region), url

    def pull(self, limit: int) -> Sequence[Message]:
        """Some messages, at most `limit` and ten; an empty queue is not waited for."""
        with speaking(self._url):
            answer = self._sqs.receive_message(
                QueueUrl=self._url, MaxNumberOfMessages=min(limit, _MOST_PER_CALL), WaitTimeSeconds=0
            )
        return [Message(item["ReceiptHandle"], item["Body"]) for item in answer.get("Messages", [])]

    def acknowledge(self, receipts: Sequence[str]) -> None:
        """Delete messages."""
        for start in range(0, len(receipts), _MOST_PER_CALL):
            chunk = receipts[start : start + _MOST_PER_CALL]
            entries = [{"Id": str(number), "ReceiptHandle": receipt} for number, receipt in enumerate(chunk)]
            with speaking(self._url):
                self._sqs.delete_message_batch(QueueUrl=self._url, Entries=entries)

    def created(self, content: str) -> Iterator[str]:
        """URIs of the objects that a message's body says were created."""
        for bucket, key in _created(json.loads(content)):
            yield f"s3://{bucket}/{key}"


def _created(body: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Bucket and key of every object that an event says was created."""
    if "Message" in body:  # through SNS
        yield from _created(json.loads(body["Message"]))
    elif body.get("detail-type") == "Object Created":  # EventBridge, whose keys are literal
        yield body["detail"]["bucket"]["name"], body["detail"]["object"]["key"]
    for record in body.get("Records", []):
        if str(record["eventName"]).removeprefix("s3:").startswith("ObjectCreated"):
            yield record["s3"]["bucket"]["name"], unquote_plus(record["s3"]["object"]["key"])
