"""S3's events through SQS: the contract, and the other ways that they reach a queue by."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mlops_assets.artifacts import ArtifactUri
from mlops_assets.platforms.aws.settings import current_aws_settings
from mlops_assets.platforms.binding import build_platform
from mlops_assets.platforms.ports import ArrivalEvents, Platform
from mlops_assets.settings import Settings
from mlops_assets_tests.pipeline.test_landing import MODEL
from mlops_assets_tests.platforms.contracts.arrival_events import ArrivalEventsContract
from mlops_assets_tests.standins.aws.faults import Fault
from mlops_assets_tests.standins.aws.fixtures import Aws

PREFIX = f"mlops/landing/{MODEL}"


@dataclass(frozen=True)
class Sqs:
    """A queue whose messages come again at once."""

    aws: Aws
    url: str

    def send(self, uri: ArtifactUri) -> None:
        where = {"bucket": {"name": uri.bucket}, "object": {"key": uri.key}}
        self.deliver({"Records": [{"eventName": "ObjectCreated:Put", "s3": where}]})

    def deliver(self, body: Any) -> None:
        self._client.send_message(QueueUrl=self.url, MessageBody=json.dumps(body))

    def again(self) -> None:
        pass

    def purge(self) -> None:
        self._client.purge_queue(QueueUrl=self.url)

    def kept(self) -> int:
        wanted = ["ApproximateNumberOfMessages"]
        found = self._client.get_queue_attributes(QueueUrl=self.url, AttributeNames=wanted)
        return int(found["Attributes"]["ApproximateNumberOfMessages"])

    def fails(self, *, receiving: int = 0, acknowledging: int = 0) -> None:
        for call, times in (("ReceiveMessage", receiving), ("DeleteMessageBatch", acknowledging)):
            self.aws.server.faults.add(Fault(f"sqs:{call}", 400, "InvalidAddress", times=times))

    @property
    def _client(self) -> Any:
        return self.aws.server.client("sqs")


@pytest.fixture
def queue(aws: Aws) -> Sqs:
    """A queue that the bucket notifies of what is written below the landing prefix."""
    sqs = aws.server.client("sqs")
    url = sqs.create_queue(QueueName=aws.bucket, Attributes={"VisibilityTimeout": "0"})["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    rules = [{"Name": "prefix", "Value": f"{PREFIX}/"}]
    aws.server.client("s3").put_bucket_notification_configuration(
        Bucket=aws.bucket,
        NotificationConfiguration={
            "QueueConfigurations": [
                {
                    "QueueArn": arn,
                    "Events": ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"],
                    "Filter": {"Key": {"FilterRules": rules}},
                }
            ]
        },
    )
    return Sqs(aws, url)


@pytest.fixture
def platform(aws: Aws, queue: Sqs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Platform]:
    monkeypatch.setenv("MLOPS_AWS_EVENT_QUEUES", json.dumps({f"landing/{MODEL}": queue.url}))
    current_aws_settings.cache_clear()
    settings = Settings(platform="aws", root=tmp_path / "mlops", sensor_sweep=0, sensor_batch=10)
    yield build_platform(settings)
    current_aws_settings.cache_clear()


class TestSqsArrivalEvents(ArrivalEventsContract):
    @pytest.fixture
    def platform(self, platform: Platform) -> Platform:
        return platform

    @pytest.fixture
    def queue(self, queue: Sqs) -> Sqs:
        return queue

    @pytest.mark.parametrize(
        ("body", "expected"),
        [
            ({"Event": "s3:TestEvent"}, []),
            ({"Records": [{"eventName": "ObjectRemoved:Delete"}]}, []),
            ({"Records": [{"eventName": "ObjectCreated:Put"}]}, []),
            ({"Records": 7}, []),
            ([], []),
            (
                {
                    "detail-type": "Object Created",
                    "detail": {"bucket": {"name": "B"}, "object": {"key": "K/a+b"}},
                },
                ["K/a+b"],
            ),
            (
                {
                    "Message": json.dumps(
                        {
                            "Records": [
                                {
                                    "eventName": "ObjectCreated:Put",
                                    "s3": {"bucket": {"name": "B"}, "object": {"key": "K/a%2Bb"}},
                                }
                            ]
                        }
                    )
                },
                ["K/a+b"],
            ),
        ],
    )
    def test_other_events_are_understood_and_useless_ones_let_go(
        self, aws: Aws, queue: Sqs, events: ArrivalEvents, body: Any, expected: list[str]
    ) -> None:
        text = json.dumps(body).replace("K/", f"{PREFIX}/")
        text = text.replace('"B"', f'"{aws.bucket}"').replace('\\"B\\"', f'\\"{aws.bucket}\\"')
        queue.deliver(json.loads(text))
        found = {item.uri for item in events.receive(10)}
        assert found == {f"s3://{aws.bucket}/{key.replace('K', PREFIX)}" for key in expected}
        assert bool(queue.kept()) == bool(expected)
