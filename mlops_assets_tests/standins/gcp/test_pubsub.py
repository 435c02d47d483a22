"""The Pub/Sub stand-in, seen by Google's client, and what Cloud Storage publishes to it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.api_core.exceptions import BadRequest, Conflict, NotFound

from mlops_assets_tests.standins.gcp.fixtures import Gcp
from mlops_assets_tests.standins.gcp.server import PROJECT


@pytest.fixture
def subscriber(gcp: Gcp) -> Any:
    return gcp.server.pubsub_client("Subscriber")


@pytest.fixture
def topic(gcp: Gcp) -> str:
    name = f"projects/{PROJECT}/topics/{gcp.bucket}"
    return gcp.server.pubsub_client("Publisher").create_topic(name=name).name


@pytest.fixture
def subscription(gcp: Gcp, subscriber: Any, topic: str) -> str:
    name = f"projects/{PROJECT}/subscriptions/{gcp.bucket}"
    return subscriber.create_subscription(name=name, topic=topic).name


def pulled(subscriber: Any, subscription: str, most: int = 10) -> list[tuple[str, Any]]:
    answer = subscriber.pull(subscription=subscription, max_messages=most)
    return [(item.ack_id, item.message) for item in answer.received_messages]


def test_a_message_comes_again_after_its_deadline_until_it_is_acknowledged(
    gcp: Gcp, subscriber: Any, topic: str, subscription: str
) -> None:
    messages = [{"data": b"\x00\xff", "attributes": {"a": "ä"}}, {"data": b"second"}]
    sent = gcp.server.pubsub_client("Publisher").publish(topic=topic, messages=messages).message_ids
    ((first, message),) = pulled(subscriber, subscription, most=1)
    assert (message.message_id, message.data, message.attributes["a"]) == (sent[0], b"\x00\xff", "ä")
    ((second, _),) = pulled(subscriber, subscription)
    assert pulled(subscriber, subscription) == []
    subscriber.acknowledge(subscription=subscription, ack_ids=[second])
    subscriber.modify_ack_deadline(subscription=subscription, ack_ids=[first], ack_deadline_seconds=60)
    gcp.server.pubsub.forward(59)
    assert pulled(subscriber, subscription) == []
    gcp.server.pubsub.forward(1)
    ((third, again),) = pulled(subscriber, subscription)
    assert (again.message_id, third == first) == (sent[0], False)
    subscriber.acknowledge(subscription=subscription, ack_ids=[first])  # of the delivery before: too late
    subscriber.modify_ack_deadline(subscription=subscription, ack_ids=[third], ack_deadline_seconds=0)
    assert len(pulled(subscriber, subscription)) == 1


def test_a_bucket_publishes_what_is_written_and_deleted(
    gcp: Gcp, subscriber: Any, topic: str, subscription: str
) -> None:
    bucket = gcp.server.storage_client().bucket(gcp.bucket)
    bucket.notification(
        gcp.bucket, topic_project=PROJECT, blob_name_prefix="in/", payload_format="JSON_API_V1"
    ).create()
    (config,) = bucket.list_notifications()
    assert (config.topic_name, config.blob_name_prefix) == (gcp.bucket, "in/")
    for name in ("in/a b", "out/a", "in/a b"):
        bucket.blob(name).upload_from_string(b"1")
    last = bucket.get_blob("in/a b").generation
    bucket.delete_blob("in/a b")
    messages = [message for _, message in pulled(subscriber, subscription)]
    assert [message.attributes["eventType"].removeprefix("OBJECT_") for message in messages] == [
        *("FINALIZE", "FINALIZE", "DELETE", "DELETE"),
    ]
    assert {(m.attributes["bucketId"], m.attributes["objectId"]) for m in messages} == {
        (gcp.bucket, "in/a b")
    }
    assert messages[-1].attributes["objectGeneration"] == str(last)
    assert json.loads(messages[-1].data)["generation"] == str(last)


def test_what_is_wrong_is_refused(gcp: Gcp, subscriber: Any, topic: str, subscription: str) -> None:
    with pytest.raises(Conflict):
        subscriber.create_subscription(name=subscription, topic=topic)
    with pytest.raises(NotFound):
        pulled(subscriber, f"{subscription}-other")
    with pytest.raises(BadRequest):
        pulled(subscriber, subscription, most=0)
    with pytest.raises(BadRequest):
        subscriber.create_subscription(name=f"{subscription}-other", topic=topic, ack_deadline_seconds=9)
    with pytest.raises(BadRequest, match="topic does not exist"):
        gcp.server.storage_client().bucket(gcp.bucket).notification("none", topic_project=PROJECT).create()
