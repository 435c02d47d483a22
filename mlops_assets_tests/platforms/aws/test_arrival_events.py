"""S3's events through SQS, and a landing sensor that hears them: sooner with them, complete without them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from mlops_assets.artifacts import ArtifactUri
from mlops_assets.platforms.aws.arrival_events import SqsArrivalEvents
from mlops_assets.platforms.aws.object_store import S3ObjectStore
from mlops_assets.platforms.aws.settings import AwsSettings, current_aws_settings
from mlops_assets.platforms.binding import build_platform
from mlops_assets.platforms.ports import Platform
from mlops_assets.settings import Settings
from mlops_assets_tests.factories import declaration
from mlops_assets_tests.pipeline.test_landing import MODEL, Daemon
from mlops_assets_tests.standins.aws.faults import Fault
from mlops_assets_tests.standins.aws.fixtures import Aws


@pytest.fixture
def queue(aws: Aws) -> str:
    """A queue that the bucket notifies of what is written below the landing prefix."""
    sqs = aws.server.client("sqs")
    url = sqs.create_queue(QueueName=aws.bucket, Attributes={"VisibilityTimeout": "0"})["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    rules = [{"Name": "prefix", "Value": f"mlops/landing/{MODEL}/"}]
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
    return url


@pytest.fixture
def platform(aws: Aws, queue: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Platform]:
    monkeypatch.setenv("MLOPS_AWS_EVENT_QUEUES", json.dumps({f"landing/{MODEL}": queue}))
    current_aws_settings.cache_clear()
    # No sweep: a key behind the watermark is found by its event, or not at all.
    settings = Settings(platform="aws", root=tmp_path / "mlops", sensor_sweep=0, sensor_batch=10)
    yield build_platform(settings)
    current_aws_settings.cache_clear()


@pytest.fixture
def events(aws: Aws, queue: str) -> SqsArrivalEvents:
    prefix = ArtifactUri(f"s3://{aws.bucket}/mlops/landing/{MODEL}")
    return SqsArrivalEvents(AwsSettings(), queue, prefix)  # type: ignore[call-arg]


def messages(aws: Aws, queue: str) -> int:
    attributes = ["ApproximateNumberOfMessages"]
    answer = aws.server.client("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=attributes)
    return int(answer["Attributes"]["ApproximateNumberOfMessages"])


@pytest.fixture
def daemon(platform: Platform, tmp_path: Path) -> Iterator[Daemon]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Daemon(platform, declaration(tmp_path / "defs"), instance)


def test_objects_with_any_key_are_announced_until_acknowledged(
    aws: Aws, queue: str, events: SqsArrivalEvents, platform: Platform
) -> None:
    keys = ("a+b c.csv", "ä/%2e.csv", "x=1/y.csv")
    uris = [platform.store.root.join("landing", MODEL, key) for key in keys]
    for uri in uris:
        platform.store.write(uri, b"1")
    platform.store.write(platform.store.root.join("elsewhere"), b"1")
    announced = events.receive(10)
    assert sorted({item.uri for item in announced}) == sorted(uris)
    assert {item.uri for item in events.receive(10)} == {item.uri for item in announced}
    events.acknowledge(events.receive(10))
    assert list(events.receive(10)) == []
    assert messages(aws, queue) == 0


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
    aws: Aws, queue: str, events: SqsArrivalEvents, body: Any, expected: list[str]
) -> None:
    prefix = f"mlops/landing/{MODEL}"
    text = json.dumps(body).replace("K/", f"{prefix}/")
    text = text.replace('"B"', f'"{aws.bucket}"').replace('\\"B\\"', f'\\"{aws.bucket}\\"')
    aws.server.client("sqs").send_message(QueueUrl=queue, MessageBody=text)
    found = {item.uri for item in events.receive(10)}
    assert found == {f"s3://{aws.bucket}/{key.replace('K', prefix)}" for key in expected}
    assert bool(messages(aws, queue)) == bool(expected)


def test_an_event_finds_a_late_key_that_no_listing_would(
    aws: Aws, queue: str, daemon: Daemon, platform: Platform
) -> None:
    platform.store.write(daemon.folder.join("m.csv"), b"1")
    assert daemon.tick() == 1
    platform.store.write(daemon.folder.join("a.csv"), b"1")  # behind the watermark
    assert daemon.tick() == 1
    assert daemon.tick() == 0
    daemon.assert_each_once()
    assert messages(aws, queue) == 0


def test_repeated_and_late_events_start_nothing_twice(
    aws: Aws, queue: str, daemon: Daemon, platform: Platform
) -> None:
    uri = daemon.folder.join("m.csv")
    platform.store.write(uri, b"1")
    body = {
        "Records": [
            {
                "eventName": "ObjectCreated:Put",
                "s3": {"bucket": {"name": aws.bucket}, "object": {"key": uri.key}},
            }
        ]
    }
    sqs = aws.server.client("sqs")
    for _ in range(3):
        sqs.send_message(QueueUrl=queue, MessageBody=json.dumps(body))
        daemon.tick()
    platform.store.delete(uri)
    sqs.send_message(QueueUrl=queue, MessageBody=json.dumps(body))  # of an object that is gone
    assert daemon.tick() == 0
    assert daemon.tick() == 0
    assert set(daemon.planned.values()) == {1}
    assert messages(aws, queue) == 0


def test_lost_events_lose_nothing_and_a_queue_that_fails_stops_nothing(
    aws: Aws, queue: str, daemon: Daemon, platform: Platform
) -> None:
    for key in ("a.csv", "b.csv"):
        platform.store.write(daemon.folder.join(key), b"1")
    aws.server.client("sqs").purge_queue(QueueUrl=queue)
    aws.server.faults.add(Fault("sqs:ReceiveMessage", 400, "InvalidAddress", times=10))
    assert daemon.tick() == 2
    daemon.assert_each_once()


def test_more_events_than_a_batch_are_kept_for_the_next_tick(daemon: Daemon, platform: Platform) -> None:
    platform.store.write(daemon.folder.join("z.csv"), b"1")
    daemon.tick()
    for number in range(25):
        platform.store.write(daemon.folder.join(f"{number:02d}.csv"), b"1")
    started = [daemon.tick() for _ in range(8)]
    assert sum(started) == 25
    assert max(started) <= 10
    daemon.assert_each_once()


def test_a_tick_that_dies_is_told_again(daemon: Daemon, platform: Platform) -> None:
    platform.store.write(daemon.folder.join("m.csv"), b"1")
    daemon.tick()
    platform.store.write(daemon.folder.join("a.csv"), b"1")
    daemon.tick(dies_after_runs=-1)
    started = [daemon.tick() for _ in range(3)]
    assert sum(started) == 1
    daemon.assert_each_once()


def test_without_a_queue_there_are_no_events(aws: Aws, tmp_path: Path) -> None:
    current_aws_settings.cache_clear()
    platform = build_platform(Settings(platform="aws", root=tmp_path))
    assert isinstance(platform.store, S3ObjectStore)
    assert platform.events(platform.store.root.join("landing", MODEL)) is None
