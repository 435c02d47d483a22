"""What every platform's scoring of objects does: one suite, run by each platform's tests.

A platform's test class inherits `BatchContract` and gives the fixture `platform`, and `created`, which counts
the jobs that were asked for.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from typing import Any

import pytest

from mlops_assets.errors import ArtifactError, DataError
from mlops_assets.platforms.ports import BatchScorer, Platform
from mlops_assets_tests.runtime.models import ROWS
from mlops_assets_tests.served import Deployable, deployable

NAMES = ("square_feet", "bedrooms", "region")


def scorer(platform: Platform) -> BatchScorer:
    """The platform's scorer."""
    assert platform.batch is not None
    return platform.batch


def offline(platform: Platform, item: Deployable) -> list[float]:
    """The predictions of `ROWS` that the model makes offline."""
    return [row["prediction"] for row in json.loads(platform.store.read(item.expected))]


class BatchContract:
    """Behaviour of `BatchScorer`, seen through the port and the store."""

    @pytest.fixture
    def platform(self) -> Platform:
        raise NotImplementedError

    @pytest.fixture
    def created(self) -> Callable[[], int]:
        raise NotImplementedError

    def prediction(self, record: dict[str, Any]) -> float:
        """The prediction in a JSON line, taken out of it."""
        return record.pop("prediction")

    def test_objects_are_scored_to_objects_as_offline(self, platform: Platform) -> None:
        model, root = deployable(platform), platform.store.root
        lines = "".join(f"{json.dumps(row)}\n" for row in ROWS)
        text = ",".join(NAMES) + "\n" + "".join(f"{','.join(str(row[n]) for n in NAMES)}\n" for row in ROWS)
        for name, body in (("rows.jsonl", lines), ("rows.csv", text)):
            platform.store.write(root.join("in", name), body.encode())
            scorer(platform).score(model.version, root.join("in", name), root.join("out", name))
        expected = offline(platform, model)
        answered = platform.store.read(root.join("out", "rows.jsonl")).decode().splitlines()
        records = [json.loads(line) for line in answered]
        assert list(map(self.prediction, records)) == pytest.approx(expected, rel=1e-9)
        assert records == ROWS
        table = list(csv.DictReader(io.StringIO(platform.store.read(root.join("out", "rows.csv")).decode())))
        assert [float(row["prediction"]) for row in table] == pytest.approx(expected, rel=1e-9)
        assert [row["region"] for row in table] == [str(row["region"]) for row in ROWS]
        assert list(platform.store.list(root.join("staging"))) == []

    def test_what_cannot_be_scored_is_refused_before_a_job_starts(
        self, platform: Platform, created: Callable[[], int]
    ) -> None:
        model, root = deployable(platform), platform.store.root
        before = created()
        with pytest.raises(DataError, match=r"(?i)csv"):
            scorer(platform).score(model.version, root.join("a.xlsx"), root.join("b.xlsx"))
        with pytest.raises(ArtifactError, match="no such object"):
            scorer(platform).score(model.version, root.join("a.csv"), root.join("b.csv"))
        assert created() == before
