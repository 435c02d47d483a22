"""Objects that arrive: the sensor that starts runs for them, and the full comparison behind `run`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import dagster as dg

from mlops_assets.declaration.loaded import LoadedDeclaration
from mlops_assets.pipeline.landing_log import Cursor, LandingLog
from mlops_assets.pipeline.landing_tick import (
    existing_partitions,
    is_data,
    landed_objects,
    ranges_of,
    tick,
)
from mlops_assets.pipeline.names import Names
from mlops_assets.platforms.ports import Platform
from mlops_assets.settings import current_settings

# --- runs -------------------------------------------------------------------------------------------------


def run_tags(keys: Sequence[str]) -> dict[str, str]:
    """Tags of one run over partitions that follow each other; the first and the last of `keys` count."""
    if keys[0] == keys[-1]:
        return {"dagster/partition": keys[0]}
    return {"dagster/asset_partition_range_start": keys[0], "dagster/asset_partition_range_end": keys[-1]}


def partition_ranges(
    instance: dg.DagsterInstance, loaded: LoadedDeclaration, keys: Sequence[str]
) -> list[tuple[str, str]]:
    """First and last partition of as few runs as hold exactly `keys`, in order of creation.

    One Dagster run holds one partition or one range of partitions that were created after each other; there
    is no tag for any other set. Partitions that are not there yet are created, in byte order.
    """
    names = Names(loaded.name)
    wanted = set(keys)
    instance.add_dynamic_partitions(
        names.partitions, sorted(wanted - existing_partitions(instance, names, sorted(wanted)))
    )
    return ranges_of(instance.get_dynamic_partitions(names.partitions), wanted)


# --- the full comparison ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Discovery:
    """The landing folder against the warehouse's ledger.

    Attributes:
        new: keys that were never loaded, in byte order.
        changed: keys that were loaded in another version.
        known: objects that are loaded as they are.
        started: of `new` and `changed`, those that the sensor has already started a run for; it failed, or is
            under way.
        versions: key -> version, of `new` and `changed`.
        ignored: keys that are not data by their names.
    """

    new: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    known: int = 0
    started: tuple[str, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()

    @property
    def keys(self) -> tuple[str, ...]:
        """What is to be loaded, in byte order."""
        return tuple(self.versions)


def discover(
    instance: dg.DagsterInstance, platform: Platform, loaded: LoadedDeclaration, *, limit: int | None = None
) -> Discovery:
    """What is to be loaded, by listing everything below the prefix.

    Args:
        instance: knows what the sensor has started.
        platform: its store is listed and its warehouse's ledger read.
        loaded: the declaration.
        limit: objects to be loaded, at most.
    """
    ledger = platform.warehouse.loaded(Names(loaded.name).ledger)
    new, changed, ignored, known = [], [], [], 0
    versions: dict[str, str] = {}
    for key, info in landed_objects(platform, loaded, None, None):
        entry = ledger.get(key)
        if not is_data(key, info.size):
            ignored.append(key)
        elif entry is not None and entry.version == info.version:
            known += 1
        elif limit is None or len(versions) < limit:
            (new if entry is None else changed).append(key)
            versions[key] = info.version
    known_to_sensor = LandingLog(instance, loaded.name).known(list(versions))
    started = tuple(key for key, version in versions.items() if known_to_sensor.get(key) == version)
    return Discovery(tuple(new), tuple(changed), known, started, versions, tuple(ignored))


def mark_started(instance: dg.DagsterInstance, loaded: LoadedDeclaration, discovery: Discovery) -> None:
    """Tell the sensor that the discovery's objects were loaded without it, so that it does not start them."""
    LandingLog(instance, loaded.name).remember(discovery.versions)


# --- the sensor -------------------------------------------------------------------------------------------


def landing_sensor(loaded: LoadedDeclaration) -> dg.SensorDefinition:
    """The sensor `<model>_landing`: runs of the model's job for objects that arrived or were written again.

    New objects of a tick are one run, over the range of their partitions; objects that were written again are
    a run per contiguous range.
    """
    settings = current_settings()
    names = Names(loaded.name)
    partitions = dg.DynamicPartitionsDefinition(name=names.partitions)

    @dg.sensor(
        name=f"{loaded.name}_landing",
        job_name=loaded.name,
        minimum_interval_seconds=settings.sensor_interval,
        default_status=dg.DefaultSensorStatus.RUNNING
        if settings.automation
        else dg.DefaultSensorStatus.STOPPED,
        required_resource_keys={"platform"},
        description=f"Starts {loaded.name} for objects that arrive below {loaded.spec.arrivals.prefix}/.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        platform: Platform = context.resources.platform
        done = tick(context.instance, platform, loaded, Cursor.parse(context.cursor))
        cursor = done.cursor.text()
        if done.plan is None:
            message = f"Nothing new below {loaded.spec.arrivals.prefix}/: looked at {done.looked_at} objects"
            ignored = f", {len(done.ignored)} of them no data ({', '.join(done.ignored[:5])})"
            return dg.SensorResult(skip_reason=message + (ignored if done.ignored else ""), cursor=cursor)
        return dg.SensorResult(
            run_requests=[
                dg.RunRequest(run_key, tags=run_tags(pair)) for run_key, pair in done.plan.requests()
            ],
            dynamic_partitions_requests=[partitions.build_add_request(done.plan.new)]
            if done.plan.new
            else [],
            cursor=cursor,
        )

    return sensor
