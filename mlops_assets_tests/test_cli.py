"""The command line without a run: help, usage, init, doctor, and where Dagster's history goes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mlops_assets_tests.commands import PROGRAM, Deployment

COMMANDS = (
    "demo", "init", "run", "quarantine", "predict", "models", "approve", "reject", "rollback", "copy",
    "endpoints", "doctor", "ui",
)  # fmt: skip


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    return Deployment(tmp_path)


def _data(folder: Path) -> Path:
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"Id": range(200), "Rooms": random.integers(1, 9, 200)})
    frame["Price"] = frame["Rooms"] * 1_000 + random.normal(0, 200, 200).round(2)
    path = folder / "flats.csv"
    frame.to_csv(path, index=False)
    return path


@pytest.mark.parametrize("command", [*COMMANDS, "endpoints list", "endpoints stop", "endpoints restart"])
def test_every_command_has_help_with_an_example(deployment: Deployment, command: str) -> None:
    done = deployment.command(*command.split(), "--help")
    assert done.returncode == 0, done.stderr
    assert "Example:" in done.stdout
    assert f"mlops-assets {command}" in done.stdout.split("Example:")[1]


def test_help_lists_every_command_and_imports_nothing_heavy(deployment: Deployment) -> None:
    program = (
        "import sys; from mlops_assets.cli import _run; _run(['--help']);"
        "heavy = ('dagster', 'rich', 'pydantic', 'numpy', 'pandas', 'sklearn', 'mlflow', 'duckdb');"
        "print([name for name in heavy if name in sys.modules])"
    )
    out = subprocess.check_output([sys.executable, "-c", program], env=deployment.environment(), text=True)
    assert all(command in out for command in COMMANDS)
    assert out.splitlines()[-1] == "[]"


def test_help_answers_in_half_a_second(deployment: Deployment) -> None:
    def seconds() -> float:
        started = time.perf_counter()
        subprocess.run(
            [*PROGRAM, "--help"], env=deployment.environment(), stdout=subprocess.DEVNULL, check=True
        )
        return time.perf_counter() - started

    # The best of a few: what other processes on the machine take is not ours.
    assert min(seconds() for _ in range(5)) < 0.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("rnu", "flats"), "Did you mean run?"),
        (("run",), "Missing argument 'NAME'"),
        (("run", "flats", "--upto", "nowhere"), "Invalid value for '--upto'"),
        (("approve", "flats", "0"), "Invalid value for 'VERSION'"),
        (("run", "flats"), "No model is declared below"),
    ],
)
def test_wrong_usage_ends_with_2_and_says_what_is_right(
    deployment: Deployment, arguments: tuple[str, ...], message: str
) -> None:
    done = deployment.command(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_init_writes_a_declaration_and_puts_the_file_where_it_arrives(deployment: Deployment) -> None:
    data = _data(deployment.folder)
    done = deployment.command("init", "flats", "--data", str(data), "--target", "price")
    assert done.returncode == 0, done.stderr
    assert "Warning: id: it names the rows" in done.stderr
    assert "mlops-assets run flats" in done.stdout
    assert (deployment.defs / "flats" / "defs.yaml").is_file()
    assert (deployment.root / "store/landing/flats/flats.csv").read_bytes() == data.read_bytes()

    again = deployment.command("init", "flats", "--data", str(data), "--target", "price")
    assert again.returncode == 1
    assert "--force" in again.stderr
    assert (
        deployment.command("init", "flats", "--data", str(data), "--target", "Price", "--force").returncode
        == 0
    )


def test_an_unknown_model_is_named_with_the_nearest(deployment: Deployment) -> None:
    deployment.command("init", "flats", "--data", str(_data(deployment.folder)), "--target", "price")
    done = deployment.command("run", "flast")
    assert done.returncode == 2
    assert "Did you mean flats?" in done.stderr


def test_errors_are_one_message_and_a_traceback_only_when_asked(deployment: Deployment) -> None:
    arguments = ("init", "flats", "--data", "nowhere.csv", "--target", "price")
    plain, verbose = deployment.command(*arguments), deployment.command(*arguments, "--verbose")
    assert plain.returncode == verbose.returncode == 1
    assert plain.stderr == "Error: nowhere.csv: There is no such file. Mend: Check the path.\n"
    assert "Traceback" in verbose.stderr


def test_a_mistake_in_one_model_does_not_keep_another_from_being_found(deployment: Deployment) -> None:
    deployment.command("init", "flats", "--data", str(_data(deployment.folder)), "--target", "price")
    broken = deployment.defs / "broken" / "defs.yaml"
    broken.parent.mkdir()
    broken.write_text("type: mlops_assets.components.ModelPipeline\nattributes: {name: broken}\n")
    done = deployment.command("run", "nothing")
    assert done.returncode == 2
    assert "There are: flats. Not loaded for their mistakes: broken (" in done.stderr
    wrong = deployment.command("run", "broken")
    assert wrong.returncode == 1
    assert "defs.yaml" in wrong.stderr


def test_wrong_settings_are_named(deployment: Deployment) -> None:
    done = deployment.command("models", MLOPS_PLATFORM="moon")
    assert done.returncode == 1
    assert "MLOPS_PLATFORM" in done.stderr


def test_models_and_endpoints_say_so_where_there_are_none(deployment: Deployment) -> None:
    assert "No version is registered yet" in deployment.command("models").stdout
    assert deployment.json("models") == []
    assert "Nothing was deployed yet" in deployment.command("endpoints").stdout
    assert deployment.json("endpoints", "list") == []


@pytest.mark.parametrize("action", ["stop", "restart"])
def test_a_server_that_never_was_cannot_be_stopped_or_restarted(deployment: Deployment, action: str) -> None:
    done = deployment.command("endpoints", action, "flats")
    assert done.returncode == 2
    assert "No model 'flats' was deployed" in done.stderr


def test_a_run_where_nothing_arrived_fails_and_names_the_folder(deployment: Deployment) -> None:
    deployment.command("init", "flats", "--data", str(_data(deployment.folder)), "--target", "price")
    (deployment.root / "store/landing/flats/flats.csv").unlink()
    done = deployment.command("run", "flats")
    assert done.returncode == 1
    assert "Nothing has arrived yet" in done.stderr
    assert "landing/flats" in done.stderr


class TestDoctor:
    """What `doctor` looks at, and that it sees what is wrong."""

    def test_a_healthy_deployment_ends_with_0(self, deployment: Deployment) -> None:
        deployment.command("init", "flats", "--data", str(_data(deployment.folder)), "--target", "price")
        findings = {item["subject"]: item for item in deployment.json("doctor")}
        assert all(item["ok"] for item in findings.values())
        assert "flats" in findings["declarations"]["found"]
        assert {"python", "packages", "settings", "root", "space", "ports", "warehouse", "registry"} <= set(
            findings
        )

    def test_a_folder_that_cannot_be_written_is_found(self, deployment: Deployment) -> None:
        if os.geteuid() == 0:
            pytest.skip("root may write everywhere")
        deployment.root.mkdir(mode=0o500)
        done = deployment.command("doctor")
        assert done.returncode == 1
        assert "Set MLOPS_ROOT" in done.stdout

    def test_a_root_that_is_a_file_is_found(self, deployment: Deployment) -> None:
        deployment.root.write_text("")
        done = deployment.command("doctor")
        assert done.returncode == 1
        assert "is no folder" in done.stdout

    def test_a_broken_declaration_and_a_broken_warehouse_are_found(self, deployment: Deployment) -> None:
        (deployment.defs / "broken").mkdir(parents=True)
        (deployment.defs / "broken/defs.yaml").write_text("type: mlops_assets.components.ModelPipeline\n")
        deployment.root.mkdir()
        (deployment.root / "warehouse.duckdb").write_bytes(b"no database")
        wrong = {item["subject"] for item in deployment.json("doctor", status=1) if not item["ok"]}
        assert wrong == {"declarations", "warehouse"}

    def test_wrong_settings_are_found(self, deployment: Deployment) -> None:
        done = deployment.command("doctor", "--json", MLOPS_SENSOR_BATCH="many")
        assert done.returncode == 1
        assert any("MLOPS_SENSOR_BATCH" in item["found"] for item in json.loads(done.stdout))
