"""(h) A tick of the landing sensor on S3, against dagster-aws's helpers for sensors."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.aws_services import aws_platform, services
from benchmarks.measure import verdict
from benchmarks.sensor import NEW, Deployment
from mlops_assets.artifacts import ArtifactUri
from mlops_assets.platforms.ports import Platform

KNOWN = int(os.environ.get("BENCH_KEYS", "50_000"))
_ROUNDS = 3


class AwsDeployment(Deployment):
    """The same on S3."""

    def made(self, root: Path) -> Platform:
        """S3 and Redshift."""
        return aws_platform(root)

    def put(self, uris: Sequence[ArtifactUri]) -> None:
        """Many at a time."""
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda uri: self.platform.store.write(uri, b"listing_id\n1\n"), uris))


def helpers(deployment: AwsDeployment, since: str) -> dict[str, Callable[[], object]]:
    """What a sensor calls that is written with dagster-aws: the objects after the cursor's key."""
    import boto3
    from dagster_aws.s3.sensor import get_objects, get_s3_keys

    bucket, prefix, s3 = deployment.landing.bucket, f"{deployment.landing.key}/", boto3.client("s3")
    return {
        "get_s3_keys": lambda: get_s3_keys(bucket, prefix, since_key=since, s3_session=s3),
        "get_objects": lambda: get_objects(bucket, prefix, since_key=since, client=s3),
    }


def measure() -> dict[str, float]:
    """What -> median seconds; the ways take turns."""
    times: dict[str, list[float]] = {}

    def note(name: str, seconds: float) -> None:
        times.setdefault(name, []).append(seconds)

    with services(), tempfile.TemporaryDirectory(prefix="bench-") as name:
        deployment = AwsDeployment(Path(name), KNOWN, 10 * KNOWN)
        for number in range(_ROUNDS + 1):
            for new in (0, NEW):
                last = deployment.landing.join(f"{0:06d}", f"{deployment.arrived:08d}.csv").key
                deployment.arrive(new)
                seconds, runs = deployment.tick()
                assert runs == bool(new)
                if number:
                    note(f"ours, {new} new", seconds)
            if number:
                for way, work in helpers(deployment, last).items():
                    started = time.perf_counter()
                    work()
                    note(way, time.perf_counter() - started)
        deployment.instance.dispose()
    return {what: statistics.median(found) for what, found in times.items()}


def run() -> list[str]:
    """Lines of the report."""
    found = measure()
    ours = found[f"ours, {NEW} new"]
    lines = [
        f"## (h) A tick over {KNOWN:,} known keys on S3",
        "",
        "One prefix on the stand-in. A tick of ours is the whole sensor, its cursor and its log included; theirs",
        "is the listing alone.",
        "",
        "| what | ms | ours is faster by (promised: 50) |",
        "| --- | --- | --- |",
    ]
    for what, seconds in found.items():
        ratio = seconds / ours
        told = "" if what.startswith("ours") else f"{ratio:.0f} ({verdict(-ratio, -50)})"
        lines.append(f"| {what} | {seconds * 1e3:.0f} | {told} |")
    return lines
