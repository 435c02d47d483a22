"""(h) A tick of the landing sensor on S3 and Cloud Storage, against the helpers of dagster-aws and -gcp."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.clouds import CLOUDS, cloud_platform, services
from benchmarks.measure import verdict
from benchmarks.sensor import NEW, Deployment
from mlops_assets.artifacts import ArtifactUri
from mlops_assets.platforms.ports import Platform

KNOWN = int(os.environ.get("BENCH_KEYS", "50_000"))
PROMISED = {"aws": 50, "gcp": 20}
_ROUNDS = 3


class CloudDeployment(Deployment):
    """The same on a cloud."""

    def made(self, root: Path) -> Platform:
        """The one that the settings name."""
        return cloud_platform(root)

    def put(self, uris: Sequence[ArtifactUri]) -> None:
        """Many at a time."""
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda uri: self.platform.store.write(uri, b"listing_id\n1\n"), uris))


def helpers(cloud: str, landing: ArtifactUri, since: str) -> dict[str, Callable[[], object]]:
    """What a sensor calls that is written with the cloud's Dagster package: the objects after the cursor's key."""
    bucket, prefix = landing.bucket, f"{landing.key}/"
    if cloud == "gcp":
        from dagster_gcp.gcs.sensor import get_gcs_keys

        return {"dagster-gcp's get_gcs_keys": lambda: get_gcs_keys(bucket, prefix, since_key=since)}
    import boto3
    from dagster_aws.s3.sensor import get_objects, get_s3_keys

    s3 = boto3.client("s3")
    return {
        "dagster-aws's get_s3_keys": lambda: get_s3_keys(bucket, prefix, since_key=since, s3_session=s3),
        "dagster-aws's get_objects": lambda: get_objects(bucket, prefix, since_key=since, client=s3),
    }


def measure(cloud: str) -> dict[str, float]:
    """What -> median seconds; the ways take turns."""
    times: dict[str, list[float]] = {}

    def note(name: str, seconds: float) -> None:
        times.setdefault(name, []).append(seconds)

    with services(cloud), tempfile.TemporaryDirectory(prefix="bench-") as name:
        deployment = CloudDeployment(Path(name), KNOWN, 10 * KNOWN)
        for number in range(_ROUNDS + 1):
            for new in (0, NEW):
                last = deployment.landing.join(f"{0:06d}", f"{deployment.arrived:08d}.csv").key
                deployment.arrive(new)
                seconds, runs = deployment.tick()
                assert runs == bool(new)
                if number:
                    note(f"ours, {new} new", seconds)
            if number:
                for way, work in helpers(cloud, deployment.landing, last).items():
                    started = time.perf_counter()
                    work()
                    note(way, time.perf_counter() - started)
        deployment.instance.dispose()
    return {what: statistics.median(found) for what, found in times.items()}


def run() -> list[str]:
    """Lines of the report."""
    lines = [
        f"## (h) A tick over {KNOWN:,} known keys on the clouds",
        "",
        "One prefix on the stand-in. A tick of ours is the whole sensor, its cursor and its log included; theirs",
        "is the listing alone.",
        "",
        "| on | what | ms | ours is faster by | promised |",
        "| --- | --- | --- | --- | --- |",
    ]
    for cloud, store in CLOUDS.items():
        found = measure(cloud)
        ours, promised = found[f"ours, {NEW} new"], PROMISED[cloud]
        for what, seconds in found.items():
            ratio = seconds / ours
            told = (
                "|" if what.startswith("ours") else f"{ratio:.0f} | {promised} ({verdict(-ratio, -promised)})"
            )
            lines.append(f"| {store} | {what} | {seconds * 1e3:.0f} | {told} |")
    return lines
