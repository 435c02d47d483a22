"""Whole small models to test with: a declaration on disk, rows in the landing folder, a platform."""

from __future__ import annotations

import csv
import io
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from mlops_assets.artifacts import ArtifactUri
from mlops_assets.declaration.loaded import LoadedDeclaration
from mlops_assets.declaration.loading import load
from mlops_assets.platforms.local import build_platform
from mlops_assets.platforms.ports import Adapters, Platform
from mlops_assets.settings import Settings
from mlops_assets_tests.standins.redshift import RedshiftStandIn
from mlops_assets_tests.standins.redshift.fixtures import BUCKET, REGION, ROLE

HOME_COLUMNS = ("listing_id", "listed_at", "region", "square_feet", "bedrooms", "price")

HOMES_SQL = """-- materialized: table
SELECT
  listing_id, listed_at, region, square_feet, bedrooms,
  square_feet / greatest(bedrooms, 1) AS feet_per_room, price
FROM arrivals
"""


def local_platform(tmp_path: Path, **settings: Any) -> Platform:
    """A local platform of its own below `tmp_path`."""
    return build_platform(Settings(root=tmp_path / "mlops", **settings))


def aws_platform(standin: RedshiftStandIn, tmp_path: Path, **redshift: Any) -> Platform:
    """S3 and Redshift on the stand-in, with the adapters and settings of the product; no trainer yet.

    Args:
        standin: reached with the AWS environment that its fixtures have set.
        redshift: settings to change.
    """
    import boto3

    from mlops_assets.platforms.aws.object_store import S3ObjectStore
    from mlops_assets.platforms.aws.redshift_settings import RedshiftSettings
    from mlops_assets.platforms.aws.redshift_warehouse import build_warehouse
    from mlops_assets.platforms.aws.settings import AwsSettings

    settings = Settings(root=tmp_path / "mlops")
    root = ArtifactUri(f"s3://{BUCKET}/{standin.database}")
    aws = AwsSettings(root=root, region=REGION)
    reached: dict[str, Any] = {
        "host": standin.host,
        "port": standin.port,
        "database": standin.database,
        "user": standin.user,
        "password": standin.password,
        "iam_role": ROLE,
        **redshift,
    }
    warehouse = build_warehouse(
        RedshiftSettings(**reached), staging=root.join("staging"), clients=boto3.client, settings=settings
    )
    unbuilt: Any = None
    return Platform(
        settings,
        Adapters(
            store=lambda settings: S3ObjectStore(settings, aws),
            warehouse=lambda _: warehouse,
            trainer=unbuilt,
            registry=unbuilt,
            endpoint=unbuilt,
        ),
    )


def home_attributes(name: str = "homes") -> dict[str, Any]:
    """Attributes of a small regression model, to be changed by a test."""
    return {
        "name": name,
        "arrivals": {
            "prefix": f"landing/{name}",
            "columns": {
                "listing_id": "int",
                "listed_at": "timestamp",
                "region": "string",
                "square_feet": "float",
                "bedrooms": "int",
                "price": "float",
            },
            "checks": [{"column": "price", "min": 0}, {"column": "listing_id", "not_null": True}],
        },
        "dataset": {"from": "home_features", "split": {"by": "hash", "key": "listing_id"}},
        "training": {
            "task": "regression",
            "target": "price",
            "estimator": "sklearn.tree.DecisionTreeRegressor",
            "parameters": {"max_depth": 6},
            "exclude": ["listed_at"],
        },
        "evaluation": {"bootstrap": 20, "slices": ["region"]},
        "gates": [{"metric": "r2", "min": 0.5}, {"metric": "rmse", "champion": {"tolerance": 0.05}}],
        "endpoint": {"enabled": False},
    }


def declaration(
    tmp_path: Path,
    attributes: Mapping[str, Any] | None = None,
    *,
    sql: Mapping[str, str] | None = None,
    program: str | None = None,
) -> LoadedDeclaration:
    """Write a declaration below `tmp_path`/defs and load it.

    Args:
        attributes: default: `home_attributes()`.
        sql: file name without `.sql` -> text; default: `home_features`.
        program: text of train.py; the attributes must name it.
    """
    attributes = attributes or home_attributes()
    folder = tmp_path / "defs" / attributes["name"]
    (folder / "sql").mkdir(parents=True, exist_ok=True)
    document = {"type": "mlops_assets.components.ModelPipeline", "attributes": dict(attributes)}
    (folder / "defs.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    for name, text in (sql if sql is not None else {"home_features": HOMES_SQL}).items():
        (folder / "sql" / f"{name}.sql").write_text(text)
    if program is not None:
        (folder / "train.py").write_text(program)
    return load(folder)


def home_rows(count: int, *, seed: int = 0, first_id: int = 1) -> list[list[Any]]:
    """Rows of HOME_COLUMNS whose price follows from the other columns but for some noise."""
    draw = random.Random(seed)
    rows: list[list[Any]] = []
    for number in range(first_id, first_id + count):
        region = draw.choice(["north", "south", "west"])
        feet = round(draw.uniform(600, 4000), 1)
        bedrooms = draw.randint(1, 6)
        factor = {"north": 100, "south": 130, "west": 160}[region]
        price = round(50_000 + feet * factor + 8_000 * bedrooms + draw.gauss(0, 10_000), 2)
        rows.append([number, f"2026-01-{1 + number % 28:02d}T00:00:00", region, feet, bedrooms, price])
    return rows


def csv_text(rows: Sequence[Sequence[Any]], columns: Sequence[str] = HOME_COLUMNS) -> str:
    """The rows as CSV with a header."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return out.getvalue()


def write_landing(platform: Platform, loaded: LoadedDeclaration, key: str, text: str) -> ArtifactUri:
    """Let an object arrive under `key` below the model's landing prefix."""
    uri = platform.store.root.join(loaded.spec.arrivals.prefix, key)
    platform.store.write(uri, text.encode())
    return uri
