"""What every platform's endpoint does: one suite, run by each platform's tests.

A platform's test class inherits `EndpointContract` and gives the fixtures `platform`, which stops what its
test started, and `ask`, which posts one record to the model's endpoint and returns the prediction.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from mlops_assets.artifacts import ModelVersion
from mlops_assets.errors import DeploymentError, PathEscapeError
from mlops_assets.platforms.ports import Platform
from mlops_assets_tests.runtime.models import ROWS
from mlops_assets_tests.served import deployable
from mlops_assets_tests.waiting import eventually

Ask = Callable[[dict[str, Any]], float]


class EndpointContract:
    """Behaviour of `Endpoint`, seen through the port and by asking for predictions."""

    @pytest.fixture
    def platform(self) -> Platform:
        raise NotImplementedError

    @pytest.fixture
    def ask(self, platform: Platform) -> Ask:
        raise NotImplementedError

    def test_a_model_that_was_never_deployed_is_stopped(self, platform: Platform) -> None:
        status = platform.endpoint.status("homes")
        assert (status.status, status.version, status.url) == ("stopped", None, None)
        assert list(platform.endpoint.list()) == []

    def test_a_deployed_version_answers_as_it_does_offline(self, platform: Platform, ask: Ask) -> None:
        first = deployable(platform)
        made = first.deploy(platform)
        assert (made.status, made.version) == ("serving", 1)
        assert made.latency_ms is not None and made.latency_ms > 0
        assert ask(ROWS[0]) == pytest.approx(first.prediction(platform), rel=1e-9)

    def test_status_and_list_report_what_serves(self, platform: Platform) -> None:
        made = deployable(platform).deploy(platform)
        status = platform.endpoint.status("homes")
        assert (status.status, status.version, status.url) == ("serving", 1, made.url)
        assert [item.model for item in platform.endpoint.list()] == ["homes"]

    def test_the_next_version_takes_over_at_the_same_address(self, platform: Platform, ask: Ask) -> None:
        before = deployable(platform, 1).deploy(platform)
        second = deployable(platform, 2)
        after = second.deploy(platform)
        assert (after.version, after.url) == (2, before.url)
        assert ask(ROWS[0]) == pytest.approx(second.prediction(platform), rel=1e-9)
        assert platform.endpoint.status("homes").version == 2

    def test_a_version_with_other_answers_than_offline_does_not_take_over(
        self, platform: Platform, ask: Ask
    ) -> None:
        first = deployable(platform, 1)
        first.deploy(platform)
        wrong = deployable(platform, 2, expected=[{"prediction": 1.0}] * len(ROWS))
        with pytest.raises(DeploymentError, match=r"Version 2 did not take over.*Version 1 goes on serving"):
            wrong.deploy(platform)
        assert platform.endpoint.status("homes").version == 1
        assert ask(ROWS[0]) == pytest.approx(first.prediction(platform), rel=1e-9)

    def test_a_version_whose_files_are_not_the_registered_ones_does_not_take_over(
        self, platform: Platform
    ) -> None:
        deployable(platform, 1).deploy(platform)
        second = deployable(platform, 2)
        files = second.version.files | {"model.skops": "0" * 64}
        version: ModelVersion = second.version.model_copy(update={"files": files})
        with pytest.raises(DeploymentError, match=r"Version 2 did not take over.*model\.skops is not the"):
            platform.endpoint.deploy(version, samples=second.samples, expected=second.expected)
        assert platform.endpoint.status("homes").version == 1

    def test_a_stopped_endpoint_restarts_with_its_version_at_its_address(
        self, platform: Platform, ask: Ask
    ) -> None:
        first = deployable(platform)
        made = first.deploy(platform)
        stopped = platform.endpoint.stop("homes")
        assert (stopped.status, stopped.version) == ("stopped", 1)
        again = platform.endpoint.restart("homes")
        assert (again.status, again.version, again.url) == ("serving", 1, made.url)
        assert ask(ROWS[0]) == pytest.approx(first.prediction(platform), rel=1e-9)

    def test_what_a_person_stopped_stays_stopped_until_it_is_restarted(
        self, platform: Platform, ask: Ask
    ) -> None:
        first = deployable(platform, 1)
        first.deploy(platform)
        stopped = platform.endpoint.stop("homes", by="anna")
        assert (stopped.status, stopped.stopped_by) == ("stopped", "anna")
        assert "anna" in stopped.message
        second = deployable(platform, 2)
        for version in (first, second):
            held = version.deploy(platform)
            assert (held.status, held.version, held.stopped_by) == ("stopped", 1, "anna")
        platform.endpoint.stop("homes")  # a stop by nobody in particular does not take the wish back
        assert second.deploy(platform).stopped_by == "anna"
        assert platform.endpoint.status("homes").status == "stopped"
        again = platform.endpoint.restart("homes")
        assert (again.status, again.version, again.stopped_by) == ("serving", 1, None)
        assert second.deploy(platform).version == 2
        assert ask(ROWS[0]) == pytest.approx(second.prediction(platform), rel=1e-9)

    def test_what_no_person_stopped_is_started_by_the_next_deployment(self, platform: Platform) -> None:
        first = deployable(platform)
        first.deploy(platform)
        assert platform.endpoint.stop("homes").stopped_by is None
        assert first.deploy(platform).status == "serving"

    def test_restarting_what_was_never_deployed_is_an_error(self, platform: Platform) -> None:
        with pytest.raises(DeploymentError, match="Nothing was ever deployed"):
            platform.endpoint.restart("homes")

    def test_the_same_healthy_version_again_changes_nothing(self, platform: Platform) -> None:
        first = deployable(platform)
        made = first.deploy(platform)
        again = first.deploy(platform)
        assert (again.status, again.url, again.message) == ("serving", made.url, "already serving")

    def test_no_request_is_lost_while_a_version_takes_over(self, platform: Platform, ask: Ask) -> None:
        first, second = deployable(platform, 1), deployable(platform, 2)
        first.deploy(platform)
        with Load(ask) as load:
            eventually(lambda: len(load.answers) > 20)
            second.deploy(platform)
            before = len(load.answers)
            eventually(lambda: len(load.answers) > before + 20)
        assert load.errors == []
        assert set(load.answers) == {round(item.prediction(platform)) for item in (first, second)}
        assert load.answers[-1] == round(second.prediction(platform))

    def test_two_deployments_at_once_take_turns(self, platform: Platform) -> None:
        versions = [deployable(platform, number) for number in (1, 2)]
        with ThreadPoolExecutor(2) as pool:
            made = list(pool.map(lambda version: version.deploy(platform), versions))
        assert [item.status for item in made] == ["serving", "serving"]
        assert len({item.url for item in made}) == 1
        assert platform.endpoint.status("homes").version in (1, 2)

    def test_a_model_name_cannot_lead_elsewhere(self, platform: Platform) -> None:
        with pytest.raises(PathEscapeError):
            platform.endpoint.status("../homes")


class Load:
    """A client that asks all the time, and notes every answer."""

    def __init__(self, ask: Ask) -> None:
        self.answers: list[int] = []
        self.errors: list[str] = []
        self._ask, self._over = ask, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                self.answers.append(round(self._ask(ROWS[0])))
            except Exception as error:
                self.errors.append(f"{type(error).__name__}: {error}")

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(20)
