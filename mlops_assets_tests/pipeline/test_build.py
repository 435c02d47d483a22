"""What holds for every stage of a declared model."""

from __future__ import annotations

from pathlib import Path

import dagster as dg

from mlops_assets.pipeline.build import model_defs
from mlops_assets_tests.factories import declaration, home_attributes

STAGES = {"arrivals", "home_features", "dataset", "candidate", "evaluation", "registered_model", "endpoint"}


def test_every_stage_shows_the_models_group_owners_tags_and_says_what_it_is(tmp_path: Path) -> None:
    attributes = home_attributes() | {
        "owners": ["team:pricing"],
        "tags": {"domain": "real-estate"},
        "endpoint": {"enabled": True},
    }
    stages = model_defs(declaration(tmp_path, attributes)).assets or []
    specs = [spec for stage in stages if isinstance(stage, dg.AssetsDefinition) for spec in stage.specs]
    assert {spec.key.path[-1] for spec in specs} == STAGES
    for spec in specs:
        assert (spec.group_name, list(spec.owners)) == ("homes", ["team:pricing"]), spec.key
        assert spec.tags["domain"] == "real-estate", spec.key
        assert spec.description, spec.key
        assert spec.kinds, spec.key
