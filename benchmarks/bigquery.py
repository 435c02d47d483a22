"""(j) Rows into BigQuery by table_io_manager, against dagster-gcp-pandas's I/O manager and insertAll.

The services are stand-ins in a process of their own: figures say what each way costs the client, the protocol
and DuckDB, which is no BigQuery. insertAll sends rows one by one, so it was measured on a share of the rows and
scaled up, which favours none: its cost is linear in rows.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg

from benchmarks.clouds import services
from benchmarks.measure import verdict
from benchmarks.tables import COLUMNS, ROUNDS, ROWS, SHARE, frame, in_turn, manager, store

_OURS, _PANDAS, _SINGLES = "table_io_manager", "BigQueryPandasIOManager", "insertAll, 500 rows a call"


def pandas_manager() -> dg.IOManager:
    """What dagster-gcp-pandas has for the same."""
    from dagster_gcp_pandas import BigQueryPandasIOManager

    made = BigQueryPandasIOManager(
        project=os.environ["GOOGLE_CLOUD_PROJECT"], location=os.environ["MLOPS_GCP_LOCATION"]
    )
    return made.create_io_manager(dg.build_init_resource_context())


def stores_all(io: dg.IOManager, rows: Any, times: int) -> Callable[[], None]:
    """Stores a frame that the asset `theirs/rows` returns; the contexts are made before."""
    config = {"project": os.environ["GOOGLE_CLOUD_PROJECT"], "location": os.environ["MLOPS_GCP_LOCATION"]}
    contexts = [
        dg.build_output_context(asset_key=dg.AssetKey(["theirs", "rows"]), resource_config=config)
        for _ in range(times)
    ]
    return lambda: io.handle_output(contexts.pop(), rows)


def measure() -> dict[str, float]:
    """Way -> median seconds for all rows; the ways take turns."""
    from google.cloud import bigquery

    rows = frame(ROWS)
    part = rows.head(max(1, len(rows) // SHARE))
    with services("gcp"), tempfile.TemporaryDirectory(prefix="bench-") as folder:
        client = bigquery.Client(location=os.environ["MLOPS_GCP_LOCATION"])
        client.create_dataset("streamed")
        fields = [bigquery.SchemaField(name, "INT64" if name == "id" else "FLOAT64") for name in rows.columns]
        table = client.create_table(bigquery.Table(f"{client.project}.streamed.rows", fields))

        def stream() -> None:
            for start in range(0, len(part), 500):
                assert client.insert_rows_json(table, part[start : start + 500].to_dict("records")) == []

        ways = {
            _OURS: store(manager(Path(folder)), rows, ROUNDS + 1),
            _PANDAS: stores_all(pandas_manager(), rows, ROUNDS + 1),
        }
        with warnings.catch_warnings(action="ignore"):  # of a package that it would like to be used instead
            found = in_turn(ways, ROUNDS)
        singles = in_turn({_SINGLES: stream}, 1)
    return {**found, **{name: seconds * len(rows) / len(part) for name, seconds in singles.items()}}


def run() -> list[str]:
    """Lines of the report."""
    found = measure()
    lines = [
        f"## (j) BigQuery: {ROWS:,} rows of {COLUMNS} columns",
        "",
        "The services are stand-ins in a process of their own: these are costs of the client, the protocol and",
        f"DuckDB. {_SINGLES}, was measured on one in {SHARE} rows.",
        "",
        "| load | s | ours is faster by | promised |",
        "| --- | --- | --- | --- |",
    ]
    for name, seconds in found.items():
        ratio = seconds / found[_OURS]
        told = "" if name == _OURS else f"faster ({verdict(-ratio, -1.0)})"
        lines.append(f"| {name} | {seconds:.2f} | {ratio:.2f} | {told} |")
    return lines
