"""Cloud Storage's events through Pub/Sub: the contract, useless messages, and a service that lets us wait."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mlops_assets.artifacts import ArtifactUri
from mlops_assets.platforms.binding import build_platform
from mlops_assets.platforms.gcp import arrival_events
from mlops_assets.platforms.ports import ArrivalEvents, Platform
from mlops_assets.settings import Settings
from mlops_assets_tests.pipeline.test_landing import MODEL
from mlops_assets_tests.platforms.contracts.arrival_events import ArrivalEventsContract
from mlops_assets_tests.standins.gcp.faults import Fault
from mlops_assets_tests.standins.gcp.fixtures import Gcp
from mlops_assets_tests.standins.gcp.server import PROJECT


@dataclass(frozen=True)
class Subscription:
    """A subscription with the usual deadline of ten seconds."""

    gcp: Gcp
    topic: str
    name: str

    def send(self, uri: ArtifactUri) -> None:
        self.deliver(eventType="OBJECT_FINALIZE", bucketId=uri.bucket, objectId=uri.key)

    def deliver(self, **attributes: str) -> None:
        self.gcp.server.pubsub.publish(self.topic, attributes)

    def again(self) -> None:
        self.gcp.server.pubsub.forward(10)

    def purge(self) -> None:
        self.gcp.server.pubsub.purge(self.name)

    def kept(self) -> int:
        return self.gcp.server.pubsub.kept(self.name)

    def fails(self, *, receiving: int = 0, acknowledging: int = 0) -> None:
        for call, times in (("pull", receiving), ("acknowledge", acknowledging)):
            method = f"pubsub.projects.subscriptions.{call}"
            self.gcp.server.faults.add(Fault(method, 403, "PERMISSION_DENIED", times=times))


@pytest.fixture
def subscription(gcp: Gcp) -> Subscription:
    """A subscription to a topic that the bucket notifies of what is written below the landing prefix."""
    topic = f"projects/{PROJECT}/topics/{gcp.bucket}"
    name = f"projects/{PROJECT}/subscriptions/{gcp.bucket}"
    gcp.server.pubsub_client("Publisher").create_topic(name=topic)
    gcp.server.pubsub_client("Subscriber").create_subscription(name=name, topic=topic)
    gcp.server.storage_client().bucket(gcp.bucket).notification(
        gcp.bucket, topic_project=PROJECT, blob_name_prefix=f"mlops/landing/{MODEL}/"
    ).create()
    return Subscription(gcp, topic, name)


class TestPubSubArrivalEvents(ArrivalEventsContract):
    @pytest.fixture
    def queue(self, subscription: Subscription) -> Subscription:
        return subscription

    @pytest.fixture
    def platform(
        self, subscription: Subscription, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> Platform:
        named = {f"landing/{MODEL}": subscription.name}
        monkeypatch.setenv("MLOPS_GCP_EVENT_SUBSCRIPTIONS", json.dumps(named))
        return build_platform(
            Settings(platform="gcp", root=tmp_path / "mlops", sensor_sweep=0, sensor_batch=10)
        )

    @pytest.mark.parametrize(
        "attributes",
        [
            {},
            {"eventType": "OBJECT_FINALIZE", "bucketId": "B"},
            {"eventType": "OBJECT_FINALIZE", "bucketId": "B", "objectId": "mlops/../K/a"},
            {"eventType": "OBJECT_DELETE", "bucketId": "B", "objectId": "K/a"},
            {"eventType": "OBJECT_FINALIZE", "bucketId": "another", "objectId": "K/a"},
        ],
    )
    def test_useless_messages_are_let_go_at_once(
        self,
        gcp: Gcp,
        subscription: Subscription,
        events: ArrivalEvents,
        platform: Platform,
        attributes: dict[str, Any],
    ) -> None:
        places = {"bucketId": ("B", gcp.bucket), "objectId": ("K", f"mlops/landing/{MODEL}")}
        whole = {name: value.replace(*places.get(name, ("", ""))) for name, value in attributes.items()}
        subscription.deliver(**whole)
        uri = platform.store.root.join("landing", MODEL, "good.csv")
        subscription.send(uri)
        assert [item.uri for item in events.receive(10)] == [uri]
        assert subscription.kept() == 1

    def test_an_empty_subscription_is_not_waited_for_long(
        self,
        gcp: Gcp,
        events: ArrivalEvents,
        subscription: Subscription,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        monkeypatch.setattr(gcp.server.pubsub, "patience", 1.0)
        monkeypatch.setattr(arrival_events, "WAIT", 0.05)
        assert list(events.receive(10)) == []
        assert "listing goes on" not in caplog.text  # having nothing to tell is no failure
        gcp.server.faults.add(Fault("pubsub.projects.subscriptions.pull", 0, "dropped"))
        assert list(events.receive(10)) == []
        assert "listing goes on" in caplog.text
