"""A small valid declaration as text, for tests that break one thing in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlops_assets.declaration.loading import load
from mlops_assets.errors import DeclarationError

TEXT = """\
type: mlops_assets.components.ModelPipeline
attributes:
  name: homes
  arrivals:
    prefix: landing/homes/
    columns:
      id: int
      listed_at: timestamp
      region: string
      size: float
      price: float
    checks:
      - {column: price, min: 0}
  dataset:
    from: features
    split: {by: hash, key: id}
  training:
    task: regression
    target: price
    estimator: sklearn.linear_model.Ridge
  evaluation:
    slices: [region]
  gates:
    - {metric: r2, min: 0.5}
    - {metric: rmse, max: 9, slice: region}
"""

FEATURES = """\
-- materialized: table
SELECT id, region, size, price
FROM arrivals
"""


def write(folder: Path, text: str = TEXT, **sql: str) -> Path:
    """Write defs.yaml and `<name>.sql` files (default: features) into `folder`."""
    (folder / "sql").mkdir(parents=True, exist_ok=True)
    (folder / "defs.yaml").write_text(text, encoding="utf-8")
    for name, select in (sql or {"features": FEATURES}).items():
        (folder / "sql" / f"{name}.sql").write_text(select, encoding="utf-8")
    return folder


def changed(old: str, new: str) -> str:
    """TEXT with `old`, which must be in it once, replaced."""
    assert TEXT.count(old) == 1, f"{old!r} is in the text {TEXT.count(old)} times"
    return TEXT.replace(old, new)


def line_with(text: str, part: str) -> int:
    """The line, from 1, of the only line that has `part`."""
    lines = [number for number, line in enumerate(text.splitlines(), start=1) if part in line]
    assert len(lines) == 1, f"{part!r} is in lines {lines}"
    return lines[0]


def mistake(folder: Path, *, allowed_estimators: tuple[str, ...] = ()) -> DeclarationError:
    """The error that loading `folder` raises; it names file and mend."""
    with pytest.raises(DeclarationError) as caught:
        load(folder, allowed_estimators=allowed_estimators)
    return caught.value
