"""What people write instead: one pandas and scikit-learn script from a CSV file to a stored model.

`python -m benchmarks.plain_script FILE FOLDER` reads, cleans, splits, trains, measures and saves, and prints
the metrics as JSON. It is fast code: vectorised throughout, nothing read twice.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

PARAMETERS = {"max_iter": 200, "learning_rate": 0.1, "random_state": 0}


def clean(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows that pass the declaration's checks, each listing as it was listed last."""
    for column in frame.columns.difference(["listing_id", "listed_at"]):
        frame[column] = pd.to_numeric(frame[column], errors="coerce")
    frame["listed_at"] = pd.to_datetime(frame["listed_at"], errors="coerce")
    good = (
        frame["listing_id"].notna()
        & frame["listed_at"].notna()
        & (frame["PRICE"] >= 1)
        & frame["SQUARE_FEET"].between(100, 50_000)
        & frame["YEAR_BUILT"].between(1700, 2100)
        & frame["NUM_BEDROOMS"].between(0, 50)
        & frame["GARAGE_SPACES"].between(0, 20)
    )
    frame = frame[good]
    return frame.sort_values("listed_at", kind="stable").drop_duplicates("listing_id", keep="last")


def features(frame: pd.DataFrame) -> pd.DataFrame:
    """The model's columns."""
    x = frame.drop(columns=["listing_id", "listed_at", "YEAR_BUILT", "PRICE"]).astype(np.float64)
    x["house_age"] = frame["listed_at"].dt.year - frame["YEAR_BUILT"]
    x["feet_per_bedroom"] = frame["SQUARE_FEET"] / frame["NUM_BEDROOMS"].replace(0, np.nan)
    return x


def main(file: str, folder: str) -> None:
    """From the file to `folder`/model.joblib."""
    frame = clean(pd.read_csv(file))
    place = pd.util.hash_array(frame["listing_id"].to_numpy()) / 2.0**64
    x, y = features(frame), frame["PRICE"].astype(np.float64)
    del frame
    train, test = place < 0.6, place >= 0.8
    model = HistGradientBoostingRegressor(**PARAMETERS).fit(x[train], y[train])
    answers = model.predict(x[test])
    measured = {
        "r2": r2_score(y[test], answers),
        "rmse": root_mean_squared_error(y[test], answers),
        "mae": mean_absolute_error(y[test], answers),
        "rows": int(train.sum()),
    }
    Path(folder).mkdir(parents=True, exist_ok=True)
    joblib.dump(model, Path(folder) / "model.joblib")
    print(json.dumps(measured))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
