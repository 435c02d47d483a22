"""Transform jobs: a model's container scores S3 objects, whole or line by line, and the answers go to S3."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from mlops_assets_tests.standins.aws.endpoint_operations import Hosting
from mlops_assets_tests.standins.aws.jobs import Job, now
from mlops_assets_tests.standins.aws.log_stream import LogStream
from mlops_assets_tests.standins.aws.model_server import ModelServer
from mlops_assets_tests.standins.aws.transfers import DownloadError, split

_UNHEALTHY = "AlgorithmError: The primary container did not pass the ping health check."
_REFUSED = "ClientError: See job logs for more information"


class Transforms:
    """Call it with a job; it runs to its end and says how to end its description."""

    def __init__(self, hosting: Hosting, s3: Any) -> None:
        self._hosting, self._s3 = hosting, s3

    def __call__(self, job: Job, logs: LogStream) -> Callable[[], None]:
        """Start the container, score, end the container."""
        request = job.describe()
        job.update(TransformStartTime=now())
        model = self._hosting.models.get(request["ModelName"])
        if model is None:
            return _end(job, "Failed", FailureReason=f"ClientError: no model {request['ModelName']}")
        group, stream = job.kind.log_group, f"{job.name}/model"
        server, lines = self._hosting.starter.server(model["PrimaryContainer"], group, stream)
        try:
            seconds = self._hosting.longest_start or 600
            if not server.wait_until_healthy(seconds, lambda: job.order is not None):
                reason = {} if job.order else {"FailureReason": _UNHEALTHY}
                return _end(job, "Stopped" if job.order else "Failed", **reason)
            return self._score(job, request, server, logs)
        finally:
            server.close()
            lines.close()

    def _score(
        self, job: Job, request: Mapping[str, Any], server: ModelServer, logs: LogStream
    ) -> Callable[[], None]:
        given, wanted = request["TransformInput"], request["TransformOutput"]
        headers = {"Content-Type": given["ContentType"], "Accept": wanted.get("Accept") or "*/*"}
        bucket, prefix = split(given["DataSource"]["S3DataSource"]["S3Uri"])
        found = self._s3.list_objects_v2(Bucket=bucket, Prefix=prefix)
        if not found["KeyCount"]:
            raise DownloadError(f'No S3 objects found under S3 URL "s3://{bucket}/{prefix}".')
        for item in found["Contents"]:
            body = self._s3.get_object(Bucket=bucket, Key=item["Key"])["Body"].read()
            parts: list[bytes] = []
            for batch in _batches(body, request):
                if job.order is not None:
                    return _end(job, "Stopped")
                answer = server.ask("POST", "/invocations", batch, headers)
                if answer.status != 200:
                    logs(f"Bad HTTP status received from algorithm: {answer.status}")
                    logs(answer.body.decode(errors="replace"))
                    return _end(job, "Failed", FailureReason=_REFUSED)
                parts.append(_joined(batch, answer.body, request))
            base = prefix if prefix.endswith("/") else f"{prefix.rpartition('/')[0]}/"
            to, folder = split(wanted["S3OutputPath"].rstrip("/"))
            name = item["Key"].removeprefix(base)
            self._s3.put_object(Bucket=to, Key=f"{folder}/{name}.out", Body=b"".join(parts))
        return _end(job, "Completed")


def _batches(body: bytes, request: Mapping[str, Any]) -> Iterator[bytes]:
    """Requests' bodies: the object, or as many whole lines as fit."""
    if request["TransformInput"].get("SplitType", "None") != "Line":
        yield body
        return
    most = request.get("MaxPayloadInMB", 6) * 1_048_576
    single = request.get("BatchStrategy", "MultiRecord") == "SingleRecord"
    batch: list[bytes] = []
    for line in body.splitlines(keepends=True):
        if batch and (single or sum(map(len, batch)) + len(line) > most):
            yield b"".join(batch)
            batch = []
        batch.append(line)
    if batch:
        yield b"".join(batch)


def _joined(batch: bytes, answer: bytes, request: Mapping[str, Any]) -> bytes:
    """The answer, beside its input where the job joins them, ended as `AssembleWith` says."""
    lines = answer.splitlines()
    if (request.get("DataProcessing") or {}).get("JoinSource") == "Input":
        asked = batch.splitlines()
        if len(asked) != len(lines):
            raise DownloadError(f"{len(asked)} records in, {len(lines)} out: they cannot be joined.")
        pairs = zip(asked, lines, strict=True)
        if request["TransformInput"]["ContentType"].startswith("text/csv"):
            lines = [b"%s,%s" % pair for pair in pairs]
        else:
            both = ({**json.loads(row), "SageMakerOutput": json.loads(said)} for row, said in pairs)
            lines = [json.dumps(record).encode() for record in both]
    elif request["TransformOutput"].get("AssembleWith", "None") != "Line":
        return answer
    return b"".join(line + b"\n" for line in lines)


def _end(job: Job, status: str, **fields: Any) -> Callable[[], None]:
    return lambda: job.update(TransformEndTime=now(), TransformJobStatus=status, **fields)
