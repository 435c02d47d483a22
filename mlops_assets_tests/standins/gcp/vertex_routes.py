"""Vertex AI's REST surface, taken from the SDK's own tables: HTTP requests become its messages.

Whatever the SDK can send is recognised by its operation's name, whether the stand-in serves it or not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import import_module
from typing import Any
from urllib.parse import parse_qsl

from google.cloud import aiplatform_v1
from google.longrunning import operations_pb2
from google.protobuf import json_format

from mlops_assets_tests.standins.gcp.vertex_errors import RpcError

_SERVICES = (
    "job",
    "model",
    "endpoint",
    "prediction",
    "metadata",
    "tensorboard",
    "pipeline",
    "dataset",
    "schedule",
)
_VARIABLE = re.compile(r"\{([^=}]+)(?:=([^}]*))?\}")


@dataclass(frozen=True)
class Route:
    """One way that an operation is called.

    Attributes:
        operation: as in `CreateCustomJob`.
        request: the message's class.
        fields: paths of the fields that the URL's groups hold.
        body: the field that the body holds, `*` for the whole message, None for no body.
    """

    operation: str
    method: str
    pattern: re.Pattern[str]
    request: Any
    fields: tuple[str, ...]
    body: str | None

    def message(self, path: str, query: str, body: bytes) -> Any:
        """The request's message.

        Raises:
            RpcError: INVALID_ARGUMENT for a field that the operation does not have, or a wrong value.
        """
        given: dict[str, Any] = {}
        if self.body and body:
            try:
                sent = json.loads(body)
            except ValueError:
                raise RpcError("INVALID_ARGUMENT", "Invalid JSON payload received.") from None
            given = sent if self.body == "*" else {self.body: sent}
        for name, value in parse_qsl(query):
            if not name.startswith("$"):
                _put(given, name, {"true": True, "false": False}.get(value, value))
        found = self.pattern.fullmatch(path)
        assert found is not None
        for name, value in zip(self.fields, found.groups(), strict=True):
            _put(given, name, value)
        message = self.request()
        try:
            json_format.ParseDict(given, raw(message))
        except json_format.ParseError as error:
            raise RpcError("INVALID_ARGUMENT", f"Invalid JSON payload received. {error}") from None
        return message


def raw(message: Any) -> Any:
    """The protobuf message inside one of proto-plus; any other message itself."""
    kind: Any = type(message)
    return kind.pb(message) if hasattr(kind, "pb") else message


@lru_cache(maxsize=1_024)
def routed(method: str, path: str) -> Route | None:
    """The operation that a request calls, if any has such a path."""
    if not path.startswith(("/v1/", "/ui/")):  # the SDK asks for operations by the first of many paths
        return None
    for route in _routes():
        if route.method == method and route.pattern.fullmatch(path):
            return route
    return None


def answer(message: Any, query: str) -> bytes:
    """The JSON of an answer; enumerations by number where the request asks for it, as gapic does."""
    numbers = "enum-encoding" in query
    return json_format.MessageToJson(raw(message), use_integers_for_enums=numbers, indent=None).encode()


def as_json(message: Any) -> dict[str, Any]:
    """A resource as filters see it: with its proto's field names."""
    return json_format.MessageToDict(raw(message), preserving_proto_field_name=True)


@cache
def _routes() -> Sequence[Route]:
    return [route for service in _SERVICES for route in _of(service)]


def _of(service: str) -> Iterator[Route]:
    base = f"google.cloud.aiplatform_v1.services.{service}_service.transports.rest_base"
    transport = getattr(import_module(base), f"_Base{service.title()}ServiceRestTransport")
    for name, options in vars(transport).items():
        operation = name.removeprefix("_Base")
        request = getattr(aiplatform_v1, f"{operation}Request", None) or getattr(
            operations_pb2, f"{operation}Request", None
        )
        if request is None or not hasattr(options, "_get_http_options"):
            continue
        for option in options._get_http_options():
            pattern, fields = _compiled(option["uri"])
            yield Route(operation, option["method"].upper(), pattern, request, fields, option.get("body"))


def _compiled(template: str) -> tuple[re.Pattern[str], tuple[str, ...]]:
    pattern, place, fields = "", 0, []
    for found in _VARIABLE.finditer(template):
        fields.append(found[1])
        inner = re.escape(found[2] or "*").replace(r"\*\*", ".+").replace(r"\*", "[^/:]+")
        pattern += re.escape(template[place : found.start()]) + f"({inner})"
        place = found.end()
    return re.compile(pattern + re.escape(template[place:])), tuple(fields)


def _put(given: dict[str, Any], path: str, value: Any) -> None:
    """Set a dotted path; a name given twice becomes a list."""
    *above, name = path.split(".")
    for part in above:
        given = given.setdefault(part, {})
    before = given.get(name)
    if before is None or isinstance(before, Mapping) or above:
        given[name] = value
    else:
        given[name] = [*(before if isinstance(before, list) else [before]), value]
