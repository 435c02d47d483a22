"""One tick of a landing sensor: what to look at, what to start, and how far each position moves.

A tick looks at the keys beyond its watermark, and at a slice of the keys up to it, rotating, for those that
arrived late or were written again. With n known objects a late key is found within n / MLOPS_SENSOR_SWEEP
ticks, at the next one where n is smaller. What is known is remembered per object and version, outside of the
cursor (landing_log.py): no order of arrival, no deleted key and no lost cursor makes a tick skip an object or
start it twice.

Where the platform has events of arriving objects, a tick looks at what they announce as well; they only make
it sooner. An event is let go once its object is planned, known or gone.

Names that are not data: hidden ones (a segment that starts with `.` or `_`, as Spark's and macOS's markers
do), those of unfinished copies (`.tmp`, `.part`, …), and empty objects without an extension (folder markers).
Any other key is a partition as it is. One with `...` in it, which Dagster's forms read as a range, is loaded
like the others, but cannot be typed into those forms.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, takewhile

import dagster as dg

from mlops_assets.artifacts import ArtifactUri
from mlops_assets.declaration.loaded import LoadedDeclaration
from mlops_assets.pipeline.landing_log import Cursor, LandingLog, Plan
from mlops_assets.pipeline.names import Names
from mlops_assets.platforms.ports import Announcement, ArrivalEvents, ObjectInfo, Platform

_UNFINISHED = (".tmp", ".temp", ".part", ".partial", ".crdownload", ".filepart", ".swp", "~")


def is_data(key: str, size: int) -> bool:
    """Whether an object below the landing prefix is data, by its key relative to the prefix and its size."""
    segments = key.split("/")
    hidden = any(segment.startswith((".", "_")) for segment in segments)
    marker = size == 0 and "." not in segments[-1]
    return bool(key) and not hidden and not marker and not key.endswith(_UNFINISHED)


def landing_prefix(platform: Platform, loaded: LoadedDeclaration) -> ArtifactUri:
    """Where the model's objects arrive."""
    return platform.store.root.join(loaded.spec.arrivals.prefix)


def landed_objects(
    platform: Platform, loaded: LoadedDeclaration, after: str | None, limit: int | None
) -> Iterator[tuple[str, ObjectInfo]]:
    """Key relative to the landing prefix, and the object, in byte order of the keys."""
    prefix = landing_prefix(platform, loaded)
    for info in platform.store.list(prefix, after=after, limit=limit):
        yield prefix.relative(info.uri), info


def ranges_of(created: Sequence[str], wanted: set[str]) -> list[tuple[str, str]]:
    """First and last of each run of `wanted` keys in `created`."""
    groups = groupby(created, key=wanted.__contains__)
    spans = [list(group) for is_wanted, group in groups if is_wanted]
    return [(span[0], span[-1]) for span in spans]


def existing_partitions(instance: dg.DagsterInstance, names: Names, keys: Sequence[str]) -> set[str]:
    """Those of `keys` that are partitions already."""
    return set(instance.get_existing_dynamic_partitions(names.partitions, keys))


@dataclass(frozen=True)
class Tick:
    """What one tick decided: a plan to ask for, or none, and the next cursor."""

    plan: Plan | None
    cursor: Cursor
    looked_at: int = 0
    ignored: tuple[str, ...] = ()


def tick(instance: dg.DagsterInstance, platform: Platform, loaded: LoadedDeclaration, cursor: Cursor) -> Tick:
    """One tick: accept or repeat the last plan, look beyond the watermark and at the sweep's slice, plan."""
    log = LandingLog(instance, loaded.name)
    last = log.plan()
    if last is not None and not last.done:
        if cursor.plan != last.id:
            return Tick(last, last.cursor, len(last.versions))
        last = log.accept(last)
    look, told = _look(platform, loaded, cursor), Told.receive(platform, loaded)
    known = log.known([key for key, _ in (*told.objects, *look.swept, *look.ahead)])
    versions, after, sweep = _choose_all(told, look, known, cursor, platform.settings.sensor_batch)
    cursor = Cursor(cursor.plan, after, sweep)
    seen = look.count + len(told.objects)
    if not versions:
        told.acknowledge(known)
        return Tick(None, cursor, seen, look.ignored)
    names, keys = Names(loaded.name), sorted(versions)
    existing = existing_partitions(instance, names, keys)
    new = [key for key in keys if key not in existing]
    # The whole order of creation is read only where known objects were written again.
    again = ranges_of(instance.get_dynamic_partitions(names.partitions), existing) if existing else []
    plan = Plan.make(last, versions, new, [*again, *([(new[0], new[-1])] if new else [])], cursor)
    log.write(plan)
    told.acknowledge({**known, **versions})  # only now: until here a tick that dies has to be told again
    return Tick(plan, plan.cursor, seen, look.ignored)


@dataclass(frozen=True)
class Told:
    """What events said of objects that arrived (key, version), and how to let the events go."""

    objects: tuple[tuple[str, str], ...] = ()
    announced: tuple[tuple[Announcement, str, str | None], ...] = ()
    events: ArrivalEvents | None = None

    @classmethod
    def receive(cls, platform: Platform, loaded: LoadedDeclaration) -> Told:
        """Ask the platform's events, if any, and look at each object once: an event may be old."""
        prefix = landing_prefix(platform, loaded)
        events = platform.events(prefix)
        if events is None:
            return cls()
        announcements = events.receive(platform.settings.sensor_batch)
        infos = {item.uri: platform.store.head(item.uri) for item in announcements}
        present = {prefix.relative(uri): info for uri, info in infos.items() if info is not None}
        versions = {key: info.version for key, info in present.items() if is_data(key, info.size)}
        announced = [(item, prefix.relative(item.uri)) for item in announcements]
        return cls(
            tuple(versions.items()), tuple((item, key, versions.get(key)) for item, key in announced), events
        )

    def acknowledge(self, dealt_with: Mapping[str, str]) -> None:
        """Let go the events of objects that are known in their version, gone, or no data."""
        if self.events is not None:
            self.events.acknowledge(
                [
                    item
                    for item, key, version in self.announced
                    if version is None or dealt_with.get(key) == version
                ]
            )


def _choose_all(
    told: Told, look: _Look, known: dict[str, str], cursor: Cursor, batch: int
) -> tuple[dict[str, str], str | None, str | None]:
    """What to start: of what events told at most half a batch, the rest from what was looked at."""
    sooner = dict([item for item in told.objects if known.get(item[0]) != item[1]][: max(1, batch // 2)])
    if len(sooner) == batch:
        return sooner, cursor.after, cursor.sweep
    versions, after, sweep = _choose(look, {**known, **sooner}, cursor, batch - len(sooner))
    return {**sooner, **versions}, after, sweep


@dataclass(frozen=True)
class _Look:
    """Data objects that a tick saw (key, version), and where each of its two listings ended."""

    swept: list[tuple[str, str]]
    ahead: list[tuple[str, str]]
    swept_to: str | None
    ahead_to: str | None
    count: int
    ignored: tuple[str, ...]


def _look(platform: Platform, loaded: LoadedDeclaration, cursor: Cursor) -> _Look:
    batch, slice_ = platform.settings.sensor_batch, platform.settings.sensor_sweep
    swept, swept_to = _sweep(platform, loaded, cursor, slice_)
    # Known objects ahead of the watermark (after a lost cursor) are passed at the pace of the sweep.
    ahead = list(landed_objects(platform, loaded, cursor.after, max(batch, slice_)))
    every = [*swept, *ahead]
    return _Look(
        _loadable(swept),
        _loadable(ahead),
        swept_to,
        ahead[-1][0] if ahead else cursor.after,
        len(every),
        tuple(key for key, info in every if not is_data(key, info.size)),
    )


def _sweep(
    platform: Platform, loaded: LoadedDeclaration, cursor: Cursor, slice_: int
) -> tuple[list[tuple[str, ObjectInfo]], str | None]:
    """The next `slice_` objects up to the watermark, round and round, and where the next sweep begins."""
    if cursor.after is None or not slice_:
        return [], None
    mark = _bytes(cursor.after)

    def behind(after: str | None, last: bytes, count: int) -> list[tuple[str, ObjectInfo]]:
        found = landed_objects(platform, loaded, after, count)
        return list(takewhile(lambda item: _bytes(item[0]) <= last, found))

    swept = behind(cursor.sweep, mark, slice_)
    if len(swept) == slice_:
        return swept, swept[-1][0]
    if cursor.sweep is None:
        return swept, None
    begun = behind(None, min(mark, _bytes(cursor.sweep)), slice_ - len(swept))
    return [*swept, *begun], begun[-1][0] if begun else None


def _loadable(objects: Sequence[tuple[str, ObjectInfo]]) -> list[tuple[str, str]]:
    return [(key, info.version) for key, info in objects if is_data(key, info.size)]


def _choose(
    look: _Look, known: dict[str, str], cursor: Cursor, batch: int
) -> tuple[dict[str, str], str | None, str | None]:
    """What to start, at most `batch` objects, and how far watermark and sweep may move for that.

    The sweep chooses first and takes at most half: late objects are not starved by a stream of new ones, nor
    those by many late ones. When the batch is full, a position stops at the last object that was taken.
    """
    late = [(key, version) for key, version in look.swept if known.get(key) != version]
    fresh = [(key, version) for key, version in look.ahead if known.get(key) != version]
    share = max(1, batch // 2) if fresh else batch
    chosen = dict(late[:share])
    sweep = late[share - 1][0] if len(late) > share else look.swept_to
    after = cursor.after
    for key, version in fresh:
        if key not in chosen and len(chosen) == batch:
            return chosen, after, sweep
        chosen[key] = version
        after = key
    return chosen, look.ahead_to, sweep


def _bytes(key: str) -> bytes:
    return key.encode("utf-8", "surrogatepass")
