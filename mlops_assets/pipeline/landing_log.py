"""What a landing sensor remembers in the Dagster instance's key-value store: known objects and its last plan.

Dagster keeps a sensor's cursor only after the runs of its tick are launched. A plan is therefore written here
before its runs are requested, and the cursor says which plan was accepted. A tick that finds a plan which its
cursor has not accepted follows one that died in between: it asks for the same runs under the same run keys,
which Dagster starts at most once. Only an accepted plan's objects become known.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import dagster as dg

from mlops_assets.artifacts import digest_of

# Keys per statement: SQLite takes no more than 32,766 variables, older ones 999.
_CHUNK = 300


@dataclass(frozen=True)
class Cursor:
    """A landing sensor's cursor.

    Attributes:
        plan: id of the last plan that was asked for; a cursor that holds it proves that Dagster took it.
        after: the watermark; keys beyond it, in byte order, are new unless known.
        sweep: where the rotating re-check of all keys goes on; None: from the first key.
    """

    plan: str | None = None
    after: str | None = None
    sweep: str | None = None

    @classmethod
    def parse(cls, text: str | None) -> Cursor:
        """The cursor as Dagster kept it; the first one where there is none or somebody typed another text.

        Starting over is safe: known objects are known by the instance, not by the cursor.
        """
        try:
            document = json.loads(text or "")
            return (
                cls(document["plan"], document["after"], document["sweep"]) if document["v"] == 1 else cls()
            )
        except (ValueError, KeyError, TypeError):
            return cls()

    def text(self) -> str:
        """The cursor as JSON."""
        return json.dumps({"v": 1} | asdict(self), ensure_ascii=False)


@dataclass(frozen=True)
class Plan:
    """What one tick asks for.

    Attributes:
        id: digest of everything else and of the plan before, so that no two plans share run keys.
        versions: object key -> version that it was seen in.
        new: partitions to create, in this order.
        ranges: first and last partition of each run.
        after, sweep: the cursor's positions once the plan is accepted.
        done: its objects are known.
    """

    id: str
    versions: dict[str, str]
    new: list[str]
    ranges: list[tuple[str, str]]
    after: str | None
    sweep: str | None
    done: bool = False

    @classmethod
    def make(
        cls,
        before: Plan | None,
        versions: Mapping[str, str],
        new: Sequence[str],
        ranges: Sequence[tuple[str, str]],
        cursor: Cursor,
    ) -> Plan:
        """The plan that follows `before`, with the positions of `cursor`."""
        ancestry = [before.id if before else None, dict(versions), list(new), [list(pair) for pair in ranges]]
        return cls(
            digest_of(ancestry)[:32], dict(versions), list(new), list(ranges), cursor.after, cursor.sweep
        )

    @property
    def cursor(self) -> Cursor:
        """The cursor that accepts this plan."""
        return Cursor(self.id, self.after, self.sweep)

    def requests(self) -> Iterator[tuple[str, tuple[str, str]]]:
        """Run key and range of each run."""
        return ((f"{self.id}/{number}", pair) for number, pair in enumerate(self.ranges))


class LandingLog:
    """The key-value store of one instance, as seen by one model."""

    def __init__(self, instance: dg.DagsterInstance, model: str) -> None:
        self._storage = instance.daemon_cursor_storage
        self._object = f"mlops_assets/arrivals/{model}/"
        self._plan = f"mlops_assets/landing/{model}"

    def plan(self) -> Plan | None:
        """The last plan, or None before the first."""
        text = self._storage.get_cursor_values({self._plan}).get(self._plan)
        if text is None:
            return None
        document: dict[str, Any] = json.loads(text)
        document["ranges"] = [(start, end) for start, end in document["ranges"]]
        return Plan(**document)

    def write(self, plan: Plan) -> None:
        """Remember `plan` before its runs are asked for."""
        self._set({self._plan: json.dumps(asdict(plan), ensure_ascii=False)})

    def accept(self, plan: Plan) -> Plan:
        """Make the plan's objects known; doing it twice changes nothing."""
        self.remember(plan.versions)
        accepted = replace(plan, done=True)
        self.write(accepted)
        return accepted

    def known(self, keys: Sequence[str]) -> dict[str, str]:
        """Object key -> version it was last started in, for those of `keys` that ever were."""
        values = self._get([self._object + key for key in keys])
        return {key.removeprefix(self._object): version for key, version in values.items()}

    def remember(self, versions: Mapping[str, str]) -> None:
        """Object key -> version: started, so that no tick starts them again."""
        self._set({self._object + key: version for key, version in versions.items()})

    def _get(self, keys: Sequence[str]) -> dict[str, str]:
        found: dict[str, str] = {}
        for start in range(0, len(keys), _CHUNK):
            found |= self._storage.get_cursor_values(set(keys[start : start + _CHUNK]))
        return found

    def _set(self, values: Mapping[str, str]) -> None:
        """Set in chunks that are wholly new or wholly there: of a mixture Dagster loses the new ones."""
        there = self._get(list(values))
        for group in (
            {key: value for key, value in values.items() if key not in there},
            {key: value for key, value in values.items() if there.get(key, value) != value},
        ):
            keys = list(group)
            for start in range(0, len(keys), _CHUNK):
                self._storage.set_cursor_values({key: group[key] for key in keys[start : start + _CHUNK]})
