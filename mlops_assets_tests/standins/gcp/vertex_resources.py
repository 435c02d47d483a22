"""What the stand-in knows: messages by resource name, listed as the service lists them."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from threading import RLock
from typing import Any

from mlops_assets_tests.standins.gcp.vertex_errors import RpcError
from mlops_assets_tests.standins.gcp.vertex_filters import parsed
from mlops_assets_tests.standins.gcp.vertex_routes import as_json


def now() -> datetime:
    """The time that the service stamps."""
    return datetime.now(UTC)


def new_id() -> str:
    """An id as the service makes them: 19 digits."""
    return str(10**18 + secrets.randbelow(8 * 10**18))


def location_of(name: str) -> str:
    """`projects/*/locations/*` of a resource."""
    return "/".join(name.split("/")[:4])


class Resources:
    """Every resource. Messages go in and out as copies."""

    def __init__(self) -> None:
        self.lock = RLock()
        self._items: dict[str, Any] = {}

    def create(self, collection: str, message: Any, resource_id: str = "") -> Any:
        """Keep a new message below `collection`, named and stamped.

        Raises:
            RpcError: ALREADY_EXISTS where its id is taken.
        """
        with self.lock:
            name = f"{collection}/{resource_id or new_id()}"
            if name in self._items:
                raise RpcError("ALREADY_EXISTS", f"The resource {name} already exists.")
            message.name = name
            for stamp in ("create_time", "update_time"):
                if hasattr(message, stamp):
                    setattr(message, stamp, now())
            return self.put(name, message)

    def put(self, name: str, message: Any) -> Any:
        """Keep a message under any name; a copy of it."""
        with self.lock:
            self._items[name] = _copy(message)
            return _copy(message)

    def get(self, name: str) -> Any:
        """A copy.

        Raises:
            RpcError: NOT_FOUND.
        """
        with self.lock:
            if name not in self._items:
                raise RpcError("NOT_FOUND", f"The resource {name} is not found.")
            return _copy(self._items[name])

    def has(self, name: str) -> bool:
        """Whether there is such a resource."""
        with self.lock:
            return name in self._items

    def update(self, name: str, change: Callable[[Any], object]) -> Any:
        """Change a message in one step; a copy of it."""
        with self.lock:
            message = self.get(name)
            change(message)
            if hasattr(message, "update_time"):
                message.update_time = now()
            return self.put(name, message)

    def delete(self, name: str) -> None:
        """Forget a resource and what lies below it.

        Raises:
            RpcError: NOT_FOUND.
        """
        with self.lock:
            self.get(name)
            for key in [key for key in self._items if key == name or key.startswith(f"{name}/")]:
                del self._items[key]

    def of(self, collection: str) -> list[Any]:
        """Copies of what lies directly below `collection`, newest first."""
        with self.lock:
            found = [item for name, item in self._items.items() if name.rpartition("/")[0] == collection]
            return [_copy(item) for item in reversed(found)]

    def listed(self, request: Any, items: Sequence[Any]) -> tuple[list[Any], str]:
        """The page of `items` that a List request asks for, and the next page's token."""
        matches = parsed(getattr(request, "filter", ""))
        found = [item for item in items if matches(as_json(item))]
        order = getattr(request, "order_by", "").split()
        if order:
            found.sort(key=lambda item: str(as_json(item).get(order[0], "")), reverse=order[1:] == ["desc"])
        start, size = int(request.page_token or 0), request.page_size or 100
        token = str(start + size) if start + size < len(found) else ""
        return found[start : start + size], token


def _copy(message: Any) -> Any:
    copied = type(message)()
    if hasattr(type(message), "copy_from"):
        type(message).copy_from(copied, message)
    else:
        copied.CopyFrom(message)
    return copied
