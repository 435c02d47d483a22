"""Pub/Sub over REST: topics, subscriptions, pull and acknowledgement, and what buckets publish to topics."""

from __future__ import annotations

import base64
import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Condition
from typing import Any

from werkzeug import Request

from mlops_assets_tests.standins.gcp.objects import Objects, Stored
from mlops_assets_tests.standins.gcp.web import ApiError, Route, json_body

_TOPIC = "/v1/projects/<project>/topics/<name>"
_SUBSCRIPTION = "/v1/projects/<project>/subscriptions/<name>"
_NOTIFICATIONS = "/storage/v1/b/<bucket>/notificationConfigs"
_ON_TOPIC = "//pubsub.googleapis.com/"
# What buckets tell of here; OBJECT_ARCHIVE and OBJECT_METADATA_UPDATE are never sent.
EVENTS = ("OBJECT_FINALIZE", "OBJECT_DELETE")


@dataclass
class _Delivery:
    """A message in one subscription; it is not delivered before `due`."""

    message: Mapping[str, Any]
    due: float = 0.0
    receipt: str = ""


@dataclass
class _Subscription:
    resource: dict[str, Any]
    waiting: list[_Delivery] = field(default_factory=list)


class PubSub:
    """The service.

    Attributes:
        patience: seconds that a pull waits for a message where there is none.
    """

    def __init__(self, objects: Objects) -> None:
        self.patience = 0.01
        self._changed, self._ahead, self._sent = Condition(), 0.0, 0
        self._topics: dict[str, dict[str, Any]] = {}
        self._subscriptions: dict[str, _Subscription] = {}
        self._objects = objects
        self._notified: dict[str, list[dict[str, Any]]] = {}
        objects.changed.append(self._tell)

    def routes(self) -> list[Route]:
        """Every method that is served."""
        return [
            Route("pubsub.projects.topics.create", "PUT", _TOPIC, self._create_topic),
            Route("pubsub.projects.topics.publish", "POST", f"{_TOPIC}:publish", self._publish),
            Route("pubsub.projects.subscriptions.create", "PUT", _SUBSCRIPTION, self._subscribe),
            Route("pubsub.projects.subscriptions.get", "GET", _SUBSCRIPTION, self._get),
            Route("pubsub.projects.subscriptions.pull", "POST", f"{_SUBSCRIPTION}:pull", self._pull),
            Route(
                "pubsub.projects.subscriptions.acknowledge",
                "POST",
                f"{_SUBSCRIPTION}:acknowledge",
                self._acknowledge,
            ),
            Route(
                "pubsub.projects.subscriptions.modifyAckDeadline",
                "POST",
                f"{_SUBSCRIPTION}:modifyAckDeadline",
                self._modify,
            ),
            Route("storage.notifications.insert", "POST", _NOTIFICATIONS, self._notify),
            Route("storage.notifications.list", "GET", _NOTIFICATIONS, self._notifications),
        ]

    def forward(self, seconds: float) -> None:
        """Let time pass for acknowledgement deadlines."""
        with self._changed:
            self._ahead += seconds
            self._changed.notify_all()

    def purge(self, subscription: str) -> None:
        """Lose every message of a subscription."""
        with self._changed:
            self._of(subscription).waiting.clear()

    def kept(self, subscription: str) -> int:
        """Messages that are not acknowledged, delivered or not."""
        with self._changed:
            return len(self._of(subscription).waiting)

    def publish(self, topic: str, attributes: Mapping[str, str], data: bytes = b"") -> str:
        """Give a message to every subscription of a topic that is there now; its id."""
        with self._changed:
            if topic not in self._topics:
                raise ApiError(404, "notFound", f"Resource not found (resource={_short(topic)}).")
            self._sent += 1
            message = {
                "data": base64.b64encode(data).decode(),
                "attributes": dict(attributes),
                "messageId": str(self._sent),
                "publishTime": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
            }
            for subscription in self._subscriptions.values():
                if subscription.resource["topic"] == topic:
                    subscription.waiting.append(_Delivery(message))
            self._changed.notify_all()
            return message["messageId"]

    def _create_topic(self, _request: Request, project: str, name: str) -> Mapping[str, Any]:
        topic = f"projects/{project}/topics/{name}"
        with self._changed:
            if topic in self._topics:
                raise ApiError(409, "alreadyExists", f"Resource already exists (resource={name}).")
            self._topics[topic] = {"name": topic}
        return self._topics[topic]

    def _publish(self, request: Request, project: str, name: str) -> Mapping[str, Any]:
        topic = f"projects/{project}/topics/{name}"
        sent = [
            self.publish(topic, item.get("attributes", {}), base64.b64decode(item.get("data", "")))
            for item in json_body(request)["messages"]
        ]
        return {"messageIds": sent}

    def _subscribe(self, request: Request, project: str, name: str) -> Mapping[str, Any]:
        asked = json_body(request)
        subscription = f"projects/{project}/subscriptions/{name}"
        if unknown := asked.keys() - {"name", "topic", "ackDeadlineSeconds"}:
            raise ApiError(501, "notImplemented", f"Subscriptions with {', '.join(unknown)} are not served.")
        deadline = asked.get("ackDeadlineSeconds") or 10
        if not 10 <= deadline <= 600:
            raise ApiError(400, "badRequest", f"Invalid ack deadline given ({deadline=}).")
        with self._changed:
            if asked["topic"] not in self._topics:
                raise ApiError(404, "notFound", "Resource not found.")
            if subscription in self._subscriptions:
                raise ApiError(409, "alreadyExists", f"Resource already exists (resource={name}).")
            resource = {"name": subscription, "topic": asked["topic"], "ackDeadlineSeconds": deadline}
            self._subscriptions[subscription] = _Subscription(resource)
        return resource

    def _get(self, _request: Request, project: str, name: str) -> Mapping[str, Any]:
        return self._of(f"projects/{project}/subscriptions/{name}").resource

    def _pull(self, request: Request, project: str, name: str) -> Mapping[str, Any]:
        asked = json_body(request)
        if (most := int(asked.get("maxMessages", 0))) < 1:
            raise ApiError(400, "badRequest", "The value for max_messages must be greater than 0.")
        subscription = self._of(f"projects/{project}/subscriptions/{name}")
        with self._changed:
            patience = 0 if asked.get("returnImmediately") else self.patience
            self._changed.wait_for(lambda: self._due(subscription), patience)
            delivered = self._due(subscription)[:most]
            for delivery in delivered:
                delivery.due = self._now() + subscription.resource["ackDeadlineSeconds"]
                delivery.receipt = secrets.token_urlsafe(24)
            return {
                "receivedMessages": [{"ackId": item.receipt, "message": item.message} for item in delivered]
            }

    def _acknowledge(self, request: Request, project: str, name: str) -> Mapping[str, Any]:
        subscription, receipts = self._receipts(request, project, name)
        with self._changed:
            # An acknowledgement that comes after its deadline counts as long as nobody got the message again.
            subscription.waiting = [item for item in subscription.waiting if item.receipt not in receipts]
        return {}

    def _modify(self, request: Request, project: str, name: str) -> Mapping[str, Any]:
        subscription, receipts = self._receipts(request, project, name)
        with self._changed:
            for item in subscription.waiting:
                if item.receipt in receipts:
                    item.due = self._now() + json_body(request).get("ackDeadlineSeconds", 0)
            self._changed.notify_all()
        return {}

    def _notify(self, request: Request, bucket: str) -> Mapping[str, Any]:
        asked = json_body(request)
        with self._changed:
            if asked["topic"].removeprefix(_ON_TOPIC) not in self._topics:
                raise ApiError(400, "invalid", "Invalid argument: the topic does not exist.")
            configs = self._notified.setdefault(self._objects.bucket(bucket).resource["name"], [])
            configs.append({**asked, "kind": "storage#notification", "id": str(len(configs) + 1)})
        return configs[-1]

    def _notifications(self, _request: Request, bucket: str) -> Mapping[str, Any]:
        return {"kind": "storage#notifications", "items": self._notified.get(bucket, [])}

    def _tell(self, event: str, stored: Stored) -> None:
        """Publish what became of an object to the topics that its bucket notifies."""
        for config in self._notified.get(stored.bucket, []):
            prefix, wanted = config.get("object_name_prefix", ""), config.get("event_types") or EVENTS
            if event in wanted and stored.name.startswith(prefix):
                attributes = {
                    "notificationConfig": f"projects/_/buckets/{stored.bucket}/"
                    f"notificationConfigs/{config['id']}",
                    "eventType": event,
                    "payloadFormat": config["payload_format"],
                    "bucketId": stored.bucket,
                    "objectId": stored.name,
                    "objectGeneration": str(stored.generation),
                    "eventTime": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
                    **config.get("custom_attributes", {}),
                }
                shown = config["payload_format"] == "JSON_API_V1"
                data = json.dumps(stored.resource("https://www.googleapis.com/")).encode() if shown else b""
                self.publish(config["topic"].removeprefix(_ON_TOPIC), attributes, data)

    def _of(self, subscription: str) -> _Subscription:
        found = self._subscriptions.get(subscription)
        if found is None:
            raise ApiError(404, "notFound", f"Resource not found (resource={_short(subscription)}).")
        return found

    def _receipts(self, request: Request, project: str, name: str) -> tuple[_Subscription, set[str]]:
        receipts = set(json_body(request).get("ackIds", []))
        if not receipts:
            raise ApiError(400, "badRequest", "No ack ids specified.")
        return self._of(f"projects/{project}/subscriptions/{name}"), receipts

    def _due(self, subscription: _Subscription) -> list[_Delivery]:
        return [item for item in subscription.waiting if item.due <= self._now()]

    def _now(self) -> float:
        return time.monotonic() + self._ahead


def _short(name: str) -> str:
    return name.rpartition("/")[2]
