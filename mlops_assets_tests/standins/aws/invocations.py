"""SageMaker's runtime: InvokeEndpoint asks the endpoint's container; data capture writes to S3."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import moto.sagemakerruntime.urls
from moto.core.common_types import TYPE_RESPONSE
from moto.core.responses import BaseResponse

from mlops_assets_tests.standins.aws.endpoint_operations import Hosting
from mlops_assets_tests.standins.aws.fleet import Fleet
from mlops_assets_tests.standins.aws.jobs import ACCOUNT, now
from mlops_assets_tests.standins.aws.model_server import Answer
from mlops_assets_tests.standins.aws.transfers import split

_LARGEST = 26_214_400  # bytes of a request
_SERVING = ("InService", "Updating", "SystemUpdating", "RollingBack", "UpdateRollbackFailed")


class RuntimeOperations(BaseResponse):
    """InvokeEndpoint."""

    use_raw_body = True
    hosting: ClassVar[Hosting]
    client: ClassVar[Callable[[str], Any]]

    def __init__(self) -> None:
        super().__init__(service_name="sagemaker-runtime")

    def invoke_endpoint(self) -> TYPE_RESPONSE:
        """The container's answer, or the service's error."""
        name = self.path.split("/")[2]
        endpoint = self.hosting.endpoints.get(name)
        if endpoint is None or endpoint.status not in _SERVING:
            return _refused(400, "ValidationError", f"Endpoint {name} of account {ACCOUNT} not found.")
        body: bytes = self.raw_body
        if len(body) > _LARGEST:
            return _refused(413, "ValidationError", f"Body is larger than {_LARGEST} bytes.")
        headers = {
            "Content-Type": self.headers.get("Content-Type") or "application/octet-stream",
            "Accept": self.headers.get("Accept") or "*/*",
        }
        try:
            with endpoint.asked(self.headers.get("X-Amzn-SageMaker-Target-Variant")) as chosen:
                fleet, variant, server = chosen
                answer = server.ask("POST", "/invocations", body, headers)
        except KeyError as missing:
            return _refused(400, "ValidationError", f"Variant {missing.args[0]} not found.")
        if answer.status // 100 != 2:
            return _model_error(name, variant, answer)
        self._capture(name, variant, fleet, (headers["Content-Type"], body), answer)
        told = {"Content-Type": answer.content_type, "x-Amzn-Invoked-Production-Variant": variant}
        return 200, told, answer.body

    def _capture(
        self, endpoint: str, variant: str, fleet: Fleet, asked: tuple[str, bytes], answer: Answer
    ) -> None:
        """One JSON line per request; the service gathers several in a file and samples them."""
        config = fleet.config.get("DataCaptureConfig") or {}
        if not config.get("EnableCapture"):
            return
        modes = {option["CaptureMode"] for option in config["CaptureOptions"]}
        types = config.get("CaptureContentTypeHeader") or {}
        parts = {"Input": asked, "Output": (answer.content_type, answer.body)}
        captured = {
            f"endpoint{mode}": _observed(mode, *part, types)
            for mode, part in parts.items()
            if mode in modes or "InputAndOutput" in modes
        }
        time, event = now(), str(uuid.uuid4())
        line = {
            "captureData": captured,
            "eventMetadata": {"eventId": event, "inferenceTime": f"{time:%Y-%m-%dT%H:%M:%SZ}"},
            "eventVersion": "0",
        }
        bucket, prefix = split(config["DestinationS3Uri"].rstrip("/"))
        key = f"{prefix}/{endpoint}/{variant}/{time:%Y/%m/%d/%H/%M-%S}-{event}.jsonl"
        type(self).client("s3").put_object(Bucket=bucket, Key=key, Body=f"{json.dumps(line)}\n".encode())


def _observed(mode: str, kind: str, data: bytes, types: Mapping[str, Any]) -> dict[str, str]:
    plain = {"CSV": types.get("CsvContentTypes") or [], "JSON": types.get("JsonContentTypes") or []}
    encoding = next((name for name, kinds in plain.items() if kind.partition(";")[0] in kinds), "BASE64")
    text = base64.b64encode(data).decode() if encoding == "BASE64" else data.decode()
    return {"observedContentType": kind, "mode": mode.upper(), "data": text, "encoding": encoding}


def _model_error(endpoint: str, variant: str, answer: Answer) -> TYPE_RESPONSE:
    """Whatever the container answers but 2xx is the service's 424."""
    group = f"/aws/sagemaker/Endpoints/{endpoint}"
    who = "client" if answer.status // 100 == 4 else "server"
    original = answer.body.decode(errors="replace")
    if answer.status == 0:
        original = f"Your invocation timed out while waiting for a response from container {variant}."
    message = (
        f'Received {who} error ({answer.status}) from primary with message "{original}". '
        f"See {group} in account {ACCOUNT} for more information."
    )
    more = {"OriginalStatusCode": answer.status, "OriginalMessage": original, "LogStreamArn": group}
    return _refused(424, "ModelError", message, **more)


def _refused(status: int, code: str, message: str, **more: Any) -> TYPE_RESPONSE:
    body = json.dumps({"Message": message, "message": message, **more})
    # moto takes the status from a header of that name.
    headers = {"status": str(status), "x-amzn-errortype": code, "Content-Type": "application/json"}
    return status, headers, body


def install() -> None:
    """Let moto's server answer InvokeEndpoint with `RuntimeOperations`."""
    moto.sagemakerruntime.urls.url_paths["{0}/endpoints/(?P<name>[^/]+)/invocations$"] = (
        RuntimeOperations.dispatch
    )
