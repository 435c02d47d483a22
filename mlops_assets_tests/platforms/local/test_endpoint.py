"""The endpoint of this machine: the contract, and take-overs under load, crashes and attacks on it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from pydantic import SecretStr

from mlops_assets.errors import ArtifactError, DeploymentError
from mlops_assets.platforms.ports import Platform
from mlops_assets_tests.factories import local_platform
from mlops_assets_tests.platforms.contracts.endpoint import Ask, EndpointContract
from mlops_assets_tests.runtime.models import ROWS
from mlops_assets_tests.served import Deployable, deployable


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    platform = local_platform(tmp_path)
    yield platform
    stop_all(platform)


def stop_all(platform: Platform) -> None:
    for folder in (platform.settings.root / "endpoints").glob("*"):
        platform.endpoint.stop(folder.name)
    assert servers(platform) == []


def servers(platform: Platform) -> list[psutil.Process]:
    """The server processes whose folder lies below this platform's root, as the system sees them."""
    found: list[psutil.Process] = []
    for process in psutil.process_iter(["cmdline", "status"]):
        line = process.info["cmdline"] or []
        if any(str(platform.settings.root) in part for part in line) and "mlops_assets.runtime.serve" in line:
            found.append(process)
    return found


def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.02)


def post(url: str, row: dict[str, Any], **headers: str) -> httpx.Response:
    return httpx.post(f"{url}/invocations", json={"instances": [row]}, headers=headers, timeout=20)


class TestLocalEndpoint(EndpointContract):
    @pytest.fixture
    def platform(self, tmp_path: Path) -> Iterator[Platform]:
        platform = local_platform(tmp_path)
        yield platform
        stop_all(platform)

    @pytest.fixture
    def ask(self, platform: Platform) -> Ask:
        def ask(row: dict[str, Any]) -> float:
            url = platform.endpoint.status("homes").url
            assert url is not None
            return post(url, row).raise_for_status().json()["predictions"][0]

        return ask


class Load:
    """Clients that ask all the time, each new connection and kept ones, and note every answer."""

    def __init__(self, url: str, threads: int = 3) -> None:
        self.answers: list[float] = []
        self.errors: list[str] = []
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(url, number == 0), daemon=True)
            for number in range(threads)
        ]

    def _run(self, url: str, keep_alive: bool) -> None:
        limits = httpx.Limits(max_keepalive_connections=None if keep_alive else 0)
        with httpx.Client(limits=limits, timeout=20) as client:
            while not self._stop.is_set():
                try:
                    answer = client.post(f"{url}/invocations", json={"instances": [ROWS[0]]})
                    answer.raise_for_status()
                    self.answers.append(answer.json()["predictions"][0])
                except httpx.HTTPError as error:
                    self.errors.append(f"{type(error).__name__}: {error}")

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(20)


def test_no_request_is_lost_while_versions_take_over_from_one_another(platform: Platform) -> None:
    versions = [deployable(platform, number) for number in (1, 2, 3)]
    url = versions[0].deploy(platform).url
    assert url is not None
    with Load(url) as load:
        until(lambda: len(load.answers) > 20)
        for version in versions[1:]:
            version.deploy(platform)
            before = len(load.answers)
            until(lambda before=before: len(load.answers) > before + 20)
    assert load.errors == []
    asked = {round(answer) for answer in load.answers}
    assert asked == {round(version.prediction(platform)) for version in versions}
    assert round(load.answers[-1]) == round(versions[-1].prediction(platform))


def test_after_the_take_over_the_old_server_ends(platform: Platform) -> None:
    deployable(platform, 1).deploy(platform)
    (old,) = servers(platform)
    deployable(platform, 2).deploy(platform)
    until(lambda: not old.is_running() or old.status() == psutil.STATUS_ZOMBIE)
    assert len(servers(platform)) == 1


def test_the_same_healthy_version_again_starts_nothing(platform: Platform) -> None:
    first = deployable(platform)
    first.deploy(platform)
    (before,) = servers(platform)
    first.deploy(platform)
    assert [process.pid for process in servers(platform)] == [before.pid]


def test_a_killed_server_is_reported_stopped_and_restarts(platform: Platform) -> None:
    first = deployable(platform)
    url = first.deploy(platform).url
    (process,) = servers(platform)
    process.kill()
    until(lambda: platform.endpoint.status("homes").status == "stopped")
    again = platform.endpoint.restart("homes")
    assert (again.status, again.url) == ("serving", url)


def test_a_killed_server_is_replaced_by_deploying_the_same_version(platform: Platform) -> None:
    first = deployable(platform)
    first.deploy(platform)
    (process,) = servers(platform)
    process.kill()
    until(lambda: platform.endpoint.status("homes").status == "stopped")
    assert first.deploy(platform).status == "serving"


def test_a_server_that_hangs_is_replaced_at_the_same_address(tmp_path: Path) -> None:
    platform = local_platform(tmp_path)
    try:
        url = deployable(platform, 1).deploy(platform).url
        (process,) = servers(platform)
        process.suspend()
        made = deployable(platform, 2).deploy(platform)
        assert (made.version, made.url) == (2, url)
        assert not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    finally:
        stop_all(platform)


def test_two_deployments_at_once_leave_one_server(platform: Platform) -> None:
    versions = [deployable(platform, number) for number in (1, 2)]
    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(lambda version: version.deploy(platform), versions))
    assert len({item.url for item in made}) == 1
    until(lambda: len(servers(platform)) == 1)


DEPLOYER = """
import sys
from pathlib import Path
from mlops_assets.settings import Settings
from mlops_assets.platforms.local import build_platform
from mlops_assets.artifacts import ArtifactUri, ModelVersion

platform = build_platform(Settings(root=Path(sys.argv[1])))
version = ModelVersion.model_validate_json(sys.argv[2])
platform.endpoint.deploy(version, samples=ArtifactUri(sys.argv[3]), expected=ArtifactUri(sys.argv[4]))
"""


def deploying_process(platform: Platform, item: Deployable) -> subprocess.Popen[bytes]:
    arguments = [str(platform.settings.root), item.version.model_dump_json(), item.samples, item.expected]
    return subprocess.Popen([sys.executable, "-c", DEPLOYER, *arguments], stderr=subprocess.DEVNULL)


def test_a_server_outlives_the_process_that_deployed_it(platform: Platform) -> None:
    deployer = deploying_process(platform, deployable(platform))
    assert deployer.wait(60) == 0
    assert platform.endpoint.status("homes").status == "serving"


MOMENTS: dict[str, Callable[[Path], bool]] = {
    "when its server is recorded": lambda folder: json.loads((folder / "state.json").read_text())["pending"],
    "when its server is started": lambda folder: (folder / "server-2.log").exists(),
    "when its server is ready": lambda folder: logged(folder, "ready"),
    "in the smoke test": lambda folder: logged(folder, "/invocations"),
    "when its server took over": lambda folder: logged(folder, "adopted"),
}


def logged(folder: Path, text: str) -> bool:
    log = folder / "server-2.log"
    return log.exists() and text in log.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_deployer_killed_at_any_time_leaves_one_version_serving(platform: Platform, moment: str) -> None:
    first, second = deployable(platform, 1), deployable(platform, 2)
    url = first.deploy(platform).url
    assert url is not None
    folder = platform.settings.root / "endpoints" / "homes"
    with Load(url, threads=2) as load:
        deployer = deploying_process(platform, second)
        until(lambda: bool(MOMENTS[moment](folder)), 60)
        deployer.kill()
        deployer.wait()
        status = platform.endpoint.status("homes")
        assert (status.status, status.url) == ("serving", url)
        assert second.deploy(platform).version == 2
    assert load.errors == []
    until(lambda: len(servers(platform)) == 1)
    assert platform.endpoint.status("homes").version == 2


def test_a_version_that_is_not_healthy_in_time_keeps_the_old_one(tmp_path: Path) -> None:
    platform = local_platform(tmp_path)
    hasty = local_platform(tmp_path, endpoint_timeout=0.2)
    try:
        deployable(platform, 1).deploy(platform)
        with pytest.raises(DeploymentError, match=r"in time.*Version 1 goes on serving"):
            deployable(platform, 2).deploy(hasty)
        assert platform.endpoint.status("homes").version == 1
        until(lambda: len(servers(platform)) == 1)
    finally:
        stop_all(platform)


def test_a_failure_shows_the_end_of_the_log_and_no_token(tmp_path: Path) -> None:
    token = "a-token-that-nobody-else-has"
    platform = local_platform(tmp_path, endpoint_token=SecretStr(token))
    second = deployable(platform, 2, expected=[{"prediction": 0.0}] * len(ROWS))
    try:
        with pytest.raises(DeploymentError, match="Its log ends:") as caught:
            second.deploy(platform)
        assert "smoke test, sample 1, prediction" in str(caught.value)
        assert token not in str(caught.value)
    finally:
        stop_all(platform)


def test_the_token_is_asked_for_and_appears_nowhere(tmp_path: Path) -> None:
    token = "a-token-that-nobody-else-has"
    platform = local_platform(tmp_path, endpoint_token=SecretStr(token))
    try:
        url = deployable(platform).deploy(platform).url
        assert url is not None
        assert post(url, ROWS[0]).status_code == 401
        assert post(url, ROWS[0], authorization="Bearer wrong").status_code == 401
        assert post(url, ROWS[0], authorization=f"Bearer {token}").status_code == 200
        (process,) = servers(platform)
        assert token not in " ".join(process.cmdline())
        for path in (platform.settings.root / "endpoints").rglob("*"):
            assert not path.is_file() or token.encode() not in path.read_bytes(), path
    finally:
        stop_all(platform)


def test_a_server_gets_no_secret_of_its_deployer(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLOPS_GATE_KEY", "k" * 40)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s" * 40)
    deployable(platform).deploy(platform)
    (process,) = servers(platform)
    assert not {"MLOPS_GATE_KEY", "AWS_SECRET_ACCESS_KEY"} & process.environ().keys()


def test_the_endpoint_folder_is_its_owners_alone(platform: Platform) -> None:
    deployable(platform).deploy(platform)
    assert (platform.settings.root / "endpoints" / "homes").stat().st_mode & 0o077 == 0


def test_where_the_port_was_taken_meanwhile_the_address_is_a_new_one_and_says_so(platform: Platform) -> None:
    first = deployable(platform)
    url = first.deploy(platform).url
    assert url is not None
    platform.endpoint.stop("homes")
    with socket.create_server(("127.0.0.1", int(url.rsplit(":", 1)[1]))):
        made = platform.endpoint.restart("homes")
    assert made.url != url
    assert "new one" in made.message
    assert platform.endpoint.status("homes").url == made.url


def test_somebody_elses_process_with_a_recorded_id_is_never_ended(platform: Platform) -> None:
    deployable(platform).deploy(platform)
    platform.endpoint.stop("homes")
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        stray = platform.settings.root / "endpoints" / "homes" / "0123456789abcdef.instance"
        stray.write_text(str(bystander.pid))
        deployable(platform, 2).deploy(platform)
        assert bystander.poll() is None
        assert not stray.exists()
    finally:
        bystander.kill()
        bystander.wait()


def test_a_state_file_that_cannot_be_read_is_an_error_with_its_mend(platform: Platform) -> None:
    deployable(platform).deploy(platform)
    state = platform.settings.root / "endpoints" / "homes" / "state.json"
    kept = state.read_text()
    state.write_text(kept[: len(kept) // 2])
    with pytest.raises(ArtifactError, match="cannot be read"):
        platform.endpoint.status("homes")
    state.write_text(kept)


def test_the_log_has_no_payload(platform: Platform) -> None:
    url = deployable(platform).deploy(platform).url
    assert url is not None
    post(url, ROWS[0] | {"region": "a-very-secret-region"})
    post(url, ROWS[0] | {"square_feet": "another-secret"})
    log = platform.settings.root / "endpoints" / "homes" / "server-1.log"
    until(lambda: log.read_text().count("/invocations") >= 3)
    assert "secret" not in log.read_text()
    assert json.loads(log.read_text().splitlines()[-1])["record"]["path"] == "/invocations"
