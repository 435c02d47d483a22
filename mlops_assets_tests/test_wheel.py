"""The package as a wheel, in an environment of its own: a model of one's own runs in an empty folder."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from mlops_assets_tests.commands import Deployment
from mlops_assets_tests.factories import csv_text, home_rows

pytestmark = pytest.mark.slow

CHECKOUT = Path(__file__).parents[1]
# What a wheel is made of. Copied, so that building it leaves nothing in the checkout.
SOURCES = ("pyproject.toml", "setup.py", "README.md", "LICENSE", "mlops_assets")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("wheel")
    source = place / "source"
    source.mkdir()
    for name in SOURCES:
        subprocess.run(["cp", "-r", str(CHECKOUT / name), str(source / name)], check=True)
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"]
    _run([sys.executable, "-m", "pip", "wheel", *options, "-w", str(place), str(source)], place)
    (built,) = place.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def program(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`mlops-assets` as the wheel installs it; the packages that it needs are those of the tests."""
    place = tmp_path_factory.mktemp("installed")
    venv.create(place, with_pip=False, symlinks=True)
    libraries = place / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    options = ["--quiet", "--no-deps", "--no-index", "--disable-pip-version-check"]
    python = str(place / "bin" / "python")
    _run([sys.executable, "-m", "pip", "--python", python, "install", *options, str(wheel)], place)
    # A path file adds folders alone: the checkout, which is installed there as editable, stays out.
    (libraries / "packages.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return place / "bin" / "mlops-assets"


def test_the_wheel_holds_the_package_with_its_data_and_no_test(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    package = CHECKOUT / "mlops_assets"
    data = {"py.typed"} | {
        str(path.relative_to(package))
        for model in ("housing", "wine")
        for path in (package / "defs" / model).rglob("*")
        if path.is_file() and path.suffix in (".yaml", ".sql", ".py")
    }
    assert len(data) > 4
    assert {f"mlops_assets/{name}" for name in data} <= names
    code = {f"mlops_assets/{path.relative_to(package)}" for path in package.rglob("*.py")}
    assert code <= names
    assert not [name for name in names if name.startswith("mlops_assets_tests")]


def test_a_model_of_ones_own_is_declared_and_registered_in_an_empty_folder(
    program: Path, tmp_path: Path
) -> None:
    (tmp_path / "homes.csv").write_text(csv_text(home_rows(400)))
    where = _run(
        [str(program.with_name("python")), "-c", "import mlops_assets as m; print(m.__file__)"], tmp_path
    )
    assert Path(where.strip()).is_relative_to(program.parents[1])

    _run([str(program), "init", "homes", "--data", "homes.csv", "--target", "price"], tmp_path)
    assert (tmp_path / "defs" / "homes" / "defs.yaml").is_file()
    try:
        assert "registered" in _run([str(program), "run", "homes"], tmp_path)
        assert "homes" in _run([str(program), "models"], tmp_path)
    finally:
        _run([str(program), "endpoints", "stop", "homes"], tmp_path)
    kept = {path.name for path in tmp_path.iterdir()}
    assert kept == {"homes.csv", "defs", ".mlops"}


def test_the_demo_works_in_an_empty_folder(program: Path, tmp_path: Path) -> None:
    said = _run([str(program), "demo"], tmp_path)
    assert "housing: registered" in said
    assert (tmp_path / "defs" / "housing" / "sql" / "listings.sql").is_file()
    assert {path.name for path in tmp_path.iterdir()} == {"defs", ".mlops"}


def _run(command: list[str], folder: Path) -> str:
    """Run a command to its end; what it printed."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=_environment(folder),
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _environment(folder: Path) -> dict[str, str]:
    """Nobody's settings, not even where models and root lie: those are what the wheel takes by itself."""
    environment = Deployment(folder).environment()
    return {name: value for name, value in environment.items() if not name.startswith("MLOPS_")}
