"""The component in other people's dg projects, through dg's own command line, offline."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

from mlops_assets.components import ModelPipeline
from mlops_assets.declaration.loading import find
from mlops_assets.declaration.schema import ModelDeclaration
from mlops_assets.errors import DeclarationError

DEFS = Path(__file__).parents[2] / "mlops_assets" / "defs"
DG = Path(sys.executable).parent / "dg"

PYPROJECT = """\
[project]
name = "theirs"
version = "0.1.0"

[tool.dg]
directory_type = "project"

[tool.dg.project]
root_module = "theirs"
"""

DEFINITIONS = """\
from pathlib import Path

from dagster import definitions, load_from_defs_folder


@definitions
def defs():
    return load_from_defs_folder(path_within_project=Path(__file__).parent)
"""


RUN = """\
import dagster as dg
from theirs.definitions import defs

with dg.DagsterInstance.ephemeral() as instance:
    instance.add_dynamic_partitions("churn_arrivals", ["example.csv"])
    job = defs().resolve_job_def("churn")
    result = job.execute_in_process(instance=instance, partition_key="example.csv")
    print(*sorted(event.asset_key.to_user_string() for event in result.get_asset_materialization_events()))
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Somebody else's dg project, as `create-dagster project` lays it out."""
    package = tmp_path / "src" / "theirs"
    (package / "defs").mkdir(parents=True)
    (tmp_path / "home").mkdir()
    (tmp_path / "pyproject.toml").write_text(PYPROJECT)
    (package / "__init__.py").touch()
    (package / "defs" / "__init__.py").touch()
    (package / "definitions.py").write_text(DEFINITIONS)
    return tmp_path


def dg(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run(project, str(DG), *arguments)


def run(project: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("MLOPS_", "DAGSTER_"))
    }
    return subprocess.run(
        command,
        cwd=project,
        env={
            **environment,
            "PYTHONPATH": str(project / "src"),
            "DAGSTER_HOME": str(project / "home"),
            "DAGSTER_DISABLE_TELEMETRY": "1",
            "MLOPS_ROOT": str(project / ".mlops"),
            "COLUMNS": "200",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


@pytest.mark.parametrize("folder", find(DEFS), ids=lambda folder: folder.name)
def test_the_schema_that_editors_and_dg_check_with_takes_the_shipped_models(folder: Path) -> None:
    attributes = yaml.safe_load((folder / "defs.yaml").read_text())["attributes"]
    jsonschema.validate(attributes, ModelDeclaration.model_json_schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**attributes, "gats": []}, ModelDeclaration.model_json_schema())


def test_a_component_without_attributes_says_what_is_missing() -> None:
    with pytest.raises(DeclarationError, match="attributes"):
        ModelPipeline.load(None, None)  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_scaffolded_model_works_in_somebody_elses_project(project: Path) -> None:
    made = dg(project, "scaffold", "defs", "mlops_assets.components.ModelPipeline", "churn")
    assert made.returncode == 0, made.stdout + made.stderr
    folder = project / "src" / "theirs" / "defs" / "churn"
    assert (folder / "defs.yaml").exists()
    assert (folder / "sql" / "features.sql").exists()

    for check in (("check", "yaml"), ("check", "defs")):
        done = dg(project, *check)
        assert done.returncode == 0, done.stdout + done.stderr

    second = dg(project, "scaffold", "defs", "mlops_assets.components.ModelPipeline", "upsell")
    assert second.returncode == 0, second.stdout + second.stderr
    listed = dg(project, "list", "defs", "--json")
    assert listed.returncode == 0, listed.stdout + listed.stderr
    keys = {asset["asset_key"] for asset in json.loads(listed.stdout)["assets"]}
    stages = ("arrivals", "features", "dataset", "candidate", "evaluation", "registered_model", "endpoint")
    assert {f"{model}/{stage}" for model in ("churn", "upsell") for stage in stages} <= keys


@pytest.mark.slow
def test_the_starts_own_instructions_lead_to_a_registered_model(project: Path) -> None:
    assert dg(project, "scaffold", "defs", "mlops_assets.components.ModelPipeline", "churn").returncode == 0
    path = project / "src" / "theirs" / "defs" / "churn" / "defs.yaml"
    text = path.read_text()
    said = [line.removeprefix("#") for line in text.splitlines() if line.startswith("#   ")]
    (project / "make.sh").write_text("\n".join(line for line in said if "dg dev" not in line))
    assert run(project, "sh", "make.sh").returncode == 0
    assert (project / ".mlops" / "store" / "landing" / "churn" / "example.csv").exists()

    path.write_text(text + "\n  endpoint: {enabled: false}\n")
    (project / "run.py").write_text(RUN)
    done = run(project, sys.executable, "run.py")
    assert done.returncode == 0, done.stdout + done.stderr
    stages = ("arrivals", "candidate", "dataset", "evaluation", "features", "registered_model")
    assert done.stdout.split() == [f"churn/{stage}" for stage in stages]


@pytest.mark.slow
def test_a_mistake_in_somebody_elses_project_names_file_line_and_mend(project: Path) -> None:
    assert dg(project, "scaffold", "defs", "mlops_assets.components.ModelPipeline", "churn").returncode == 0
    path = project / "src" / "theirs" / "defs" / "churn" / "defs.yaml"
    text = path.read_text().replace("target: target", "target: tarket")
    path.write_text(text)
    line = 1 + text.splitlines().index("    target: tarket")
    done = dg(project, "check", "defs")
    assert done.returncode != 0
    said = " ".join((done.stdout + done.stderr).split())
    assert f"defs.yaml:{line}" in said
    assert "Did you mean 'target'?" in said


@pytest.mark.slow
def test_the_component_is_listed_for_scaffolding(project: Path) -> None:
    listed = dg(project, "list", "components", "--json")
    assert listed.returncode == 0, listed.stderr
    assert "mlops_assets.components.ModelPipeline" in {
        item["key"] for item in json.loads(listed.stdout)["items"]
    }
