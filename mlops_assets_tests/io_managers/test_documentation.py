"""The example of docs/io_managers.md runs as it stands."""

import re
from pathlib import Path
from typing import Any

import dagster as dg

from mlops_assets.platforms.binding import resources_for
from mlops_assets_tests.factories import local_platform

PAGE = Path(__file__).parents[2] / "docs" / "io_managers.md"


def test_the_example_runs_and_the_model_has_learnt(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 1
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile(blocks[0], str(PAGE), "exec"), names)
    sales, cheap, demand = names["sales"], names["cheap"], names["demand"]
    definitions = dg.Definitions(
        assets=[sales, cheap, demand], resources=resources_for(local_platform(tmp_path))
    )
    with dg.DagsterInstance.ephemeral() as instance:
        job = definitions.resolve_implicit_global_asset_job_def()
        for day in names["DAYS"].get_partition_keys():
            assert job.execute_in_process(
                instance=instance, asset_selection=[sales.key], partition_key=day
            ).success
        result = job.execute_in_process(instance=instance, asset_selection=[cheap.key, demand.key])
        model = result.output_for_node("demand")
    assert model.coef_[0] < 0
