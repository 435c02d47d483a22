"""Small real models, trained and stored as training stores them, and servers that run them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from mlops_assets.artifacts.digest import digest_file
from mlops_assets.runtime.archive import dump_archive
from mlops_assets.runtime.signature import Baseline, Feature, Signature, Target

REGIONS = ("north", "south", "west")
FEATURES = (
    Feature(name="square_feet", type="float"),
    Feature(name="bedrooms", type="int"),
    Feature(name="region", type="string", categories=REGIONS),
)
ROWS: list[dict[str, Any]] = [
    {"square_feet": 1200.5, "bedrooms": 3, "region": "north"},
    {"square_feet": 800.0, "bedrooms": 1, "region": "west"},
    {"square_feet": 2400.0, "bedrooms": 5, "region": "south"},
]


def _rows(count: int, seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    draw = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "square_feet": draw.uniform(600, 4000, count),
            "bedrooms": draw.integers(1, 6, count).astype(float),
            "region": draw.choice(REGIONS, count).astype(object),
        }
    )
    factor = frame["region"].map(dict(zip(REGIONS, (100, 130, 160), strict=True))).astype(float)
    return frame, (50_000 + frame["square_feet"] * factor + 8_000 * frame["bedrooms"]).to_numpy()


def _publish(folder: Path, estimator: Any, signature: Signature) -> dict[str, str]:
    folder.mkdir(parents=True)
    dump_archive(estimator, folder / "model.skops")
    (folder / "model.json").write_bytes(signature.to_json())
    files = {name: digest_file(folder / name) for name in ("model.json", "model.skops")}
    (folder / "_complete").write_text(json.dumps(files))
    return files


def _columns() -> ColumnTransformer:
    return ColumnTransformer(
        [
            ("text", OneHotEncoder(handle_unknown="ignore", sparse_output=False), ["region"]),
            ("numbers", StandardScaler(), ["square_feet", "bedrooms"]),
        ]
    )


def homes_model(folder: Path, *, seed: int = 0, offset: float = 0.0) -> dict[str, str]:
    """A regression of prices in `folder`; returns file -> SHA-256. Another `offset` predicts otherwise."""
    frame, price = _rows(300, seed)
    model = make_pipeline(_columns(), HistGradientBoostingRegressor(max_iter=20, random_state=0))
    model.fit(frame, price + offset)
    signature = Signature(
        model="homes",
        task="regression",
        target=Target(name="price", type="float"),
        features=FEATURES,
        aliases={"SQUARE_FEET": "square_feet"},
        estimator="sklearn.ensemble.HistGradientBoostingRegressor",
        dataset_version="d" * 64,
        baseline=Baseline(kind="mean", value=float(price.mean())),
    )
    return _publish(folder, model, signature)


def sizes_model(folder: Path) -> dict[str, str]:
    """A classification into cheap, dear and fair in `folder`; returns file -> SHA-256."""
    frame, price = _rows(300, 1)
    label = np.where(price < 250_000, "cheap", np.where(price < 400_000, "fair", "dear"))
    model = make_pipeline(_columns(), LogisticRegression(max_iter=500)).fit(frame, label)
    signature = Signature(
        model="sizes",
        task="classification",
        target=Target(name="size", type="string", classes=("cheap", "dear", "fair")),
        features=FEATURES,
        estimator="sklearn.linear_model.LogisticRegression",
        dataset_version="d" * 64,
        baseline=Baseline(kind="prior", prior=(0.3, 0.3, 0.4)),
    )
    return _publish(folder, model, signature)
