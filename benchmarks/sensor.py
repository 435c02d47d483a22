"""(e) A tick of the landing sensor with 1,000 known objects, and with a hundred times as many."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import dagster as dg

from benchmarks.measure import verdict
from benchmarks.whole_run import declare
from mlops_assets.artifacts import ArtifactUri
from mlops_assets.declaration.loaded import LoadedDeclaration
from mlops_assets.declaration.loading import load
from mlops_assets.pipeline.landing import landing_sensor
from mlops_assets.pipeline.landing_log import Cursor, LandingLog
from mlops_assets.pipeline.landing_tick import landed_objects
from mlops_assets.pipeline.names import Names
from mlops_assets.platforms.local import build_platform
from mlops_assets.platforms.ports import Platform
from mlops_assets.settings import Settings

FEW, MANY, NEW, TICKS = 1_000, 100_000, 10, 9


class Deployment:
    """A model with `known` objects that were all started, in an instance of its own on SQLite.

    `per_folder`: objects that lie in one folder of the landing prefix.
    """

    def __init__(self, folder: Path, known: int, per_folder: int) -> None:
        self._per_folder = per_folder
        declare(folder / "defs")
        self.loaded: LoadedDeclaration = load(folder / "defs" / "bench")
        self.platform = self.made(folder / "root")
        self.landing = self.platform.store.root.join(*self.loaded.spec.arrivals.prefix.strip("/").split("/"))
        (folder / "home").mkdir()
        (folder / "home" / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
        self.instance = dg.DagsterInstance.from_config(str(folder / "home"))
        self.sensor = landing_sensor(self.loaded)
        self.arrived = 0
        self.arrive(known)
        versions = {key: info.version for key, info in landed_objects(self.platform, self.loaded, None, None)}
        self.instance.add_dynamic_partitions(Names("bench").partitions, sorted(versions))
        LandingLog(self.instance, "bench").remember(versions)
        self.cursor: str | None = Cursor(after=max(versions)).text()

    def made(self, root: Path) -> Platform:
        """The platform that the objects arrive on."""
        return build_platform(Settings(root=root))

    def arrive(self, count: int) -> None:
        """More objects, their keys beyond all others."""
        numbers = range(self.arrived + 1, self.arrived + count + 1)
        self.put([self.landing.join(f"{at // self._per_folder:06d}", f"{at:08d}.csv") for at in numbers])
        self.arrived += count

    def put(self, uris: Sequence[ArtifactUri]) -> None:
        """Write objects as fast as can be; only ticks are measured."""
        for uri in uris:
            uri.path.parent.mkdir(parents=True, exist_ok=True)
            uri.path.write_bytes(b"listing_id\n1\n")

    def tick(self) -> tuple[float, int]:
        """Evaluate the sensor, keep its cursor and partitions as the daemon does: seconds, runs asked for."""
        context = dg.build_sensor_context(
            instance=self.instance, cursor=self.cursor, resources={"platform": self.platform}
        )
        started = time.perf_counter()
        done = self.sensor.evaluate_tick(context)
        seconds = time.perf_counter() - started
        for request in done.dynamic_partitions_requests or []:
            self.instance.add_dynamic_partitions(request.partitions_def_name, list(request.partition_keys))
        self.cursor = done.cursor
        return seconds, len(done.run_requests or [])


def measure(per_folder: int) -> dict[tuple[int, int], float]:
    """Median seconds of a tick, by known and new objects; the deployments take turns."""
    times: dict[tuple[int, int], list[float]] = {(n, new): [] for n in (FEW, MANY) for new in (0, NEW)}
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        deployments = {n: Deployment(Path(name) / str(n), n, per_folder) for n in (FEW, MANY)}
        for number in range(TICKS + 1):
            for known, deployment in deployments.items():
                for new in (0, NEW):
                    deployment.arrive(new)
                    seconds, runs = deployment.tick()
                    assert runs == bool(new)
                    if number:
                        times[known, new].append(seconds)
        for deployment in deployments.values():
            deployment.instance.dispose()
    return {key: statistics.median(values) for key, values in times.items()}


def run() -> list[str]:
    """Lines of the report."""
    lines = [
        "## (e) A tick of the landing sensor",
        "",
        "All objects are known to the sensor, the instance is on SQLite. The names in a folder are remembered,",
        "and the kernel tells which ones are new; where it does not, a folder that changed is read as a whole.",
        "",
        f"| layout | a tick with | {FEW:,} known | {MANY:,} known | ratio (promised: at most 1.5) |",
        "| --- | --- | --- | --- | --- |",
    ]
    for layout, per_folder in (("folders of 500 objects", 500), ("one flat folder", 10 * MANY)):
        found = measure(per_folder)
        for new in (0, NEW):
            few, many = found[FEW, new], found[MANY, new]
            what = f"{new} new objects" if new else "nothing new"
            cells = (
                layout,
                what,
                f"{few * 1e3:.0f} ms",
                f"{many * 1e3:.0f} ms",
                f"{many / few:.2f} ({verdict(many / few, 1.5)})",
            )
            lines.append(f"| {' | '.join(cells)} |")
    return lines
