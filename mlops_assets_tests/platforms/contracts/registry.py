"""What every platform's model registry does: one suite, run by each platform's tests.

A platform's test class inherits `RegistryContract` and gives the fixture `platform`.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from mlops_assets.artifacts import ModelVersion, digest_of
from mlops_assets.errors import ArtifactError, ConflictError, GateRefusedError
from mlops_assets.platforms.ports import Platform
from mlops_assets_tests.judged import POLICY, candidate, decision, evaluation, judged


def register(
    platform: Platform, *, content: str = "first", champion: int | None = None, manual: bool = False
) -> ModelVersion:
    """Register a candidate that passed against `champion`."""
    return platform.registry.register(
        *judged(platform, content=content, champion=champion),
        policy_digest=digest_of(POLICY),
        approval="manual" if manual else "automatic",
    )


class RegistryContract:
    """Behaviour of `ModelRegistry`, seen through the port alone."""

    @pytest.fixture
    def platform(self) -> Platform:
        raise NotImplementedError

    def test_an_empty_registry_has_no_versions_and_no_champion(self, platform: Platform) -> None:
        registry = platform.registry
        assert list(registry.versions()) == []
        assert list(registry.versions("homes")) == []
        assert registry.champion("homes") is None
        assert registry.find("homes", "c" * 64) is None
        with pytest.raises(ArtifactError, match="no version 1"):
            registry.get("homes", 1)

    def test_a_registered_version_carries_what_it_came_from(self, platform: Platform) -> None:
        one, measured, verdict = judged(platform)
        version = platform.registry.register(
            one, measured, verdict, policy_digest=digest_of(POLICY), approval="automatic"
        )
        assert version == ModelVersion(
            model="homes",
            version=1,
            candidate_digest=one.digest,
            decision_digest=verdict.digest,
            approval="approved",
            aliases=("champion",),
            uri=one.uri,
            files=one.files,
            metrics={"rmse": 5.0, "r2": 0.9},
            parameters={"max_depth": 6, "criterion": "squared_error"},
            dataset_version=one.dataset_version,
            dataset_uri=one.dataset_uri,
            recipe=one.recipe,
            estimator=one.estimator,
            run_id="run-1",
            git_commit="c0ffee",
        )
        assert platform.registry.champion("homes") == version
        assert platform.registry.find("homes", one.digest) == version
        assert platform.registry.get("homes", 1) == version

    def test_the_same_candidate_again_is_the_same_version(self, platform: Platform) -> None:
        assert register(platform) == register(platform)
        assert len(platform.registry.versions("homes")) == 1

    def test_an_older_candidate_again_does_not_take_the_championship_back(self, platform: Platform) -> None:
        register(platform)
        register(platform, content="second", champion=1)
        again = register(platform)
        assert (again.version, again.aliases) == (1, ())
        assert platform.registry.champion("homes").version == 2  # type: ignore[union-attr]

    def test_a_second_candidate_takes_over_and_versions_come_newest_first(self, platform: Platform) -> None:
        register(platform)
        second = register(platform, content="second", champion=1)
        assert (second.version, second.aliases) == (2, ("champion",))
        assert [item.version for item in platform.registry.versions("homes")] == [2, 1]
        assert platform.registry.get("homes", 1).aliases == ()

    def test_models_count_their_versions_apart(self, platform: Platform) -> None:
        register(platform)
        other = platform.registry.register(
            *judged(platform, model="flats"), policy_digest=digest_of(POLICY), approval="automatic"
        )
        assert (other.model, other.version) == ("flats", 1)
        assert len(platform.registry.versions()) == 2
        assert len(platform.registry.versions("flats")) == 1

    def test_without_a_decision_nothing_is_written(self, platform: Platform) -> None:
        one, measured, _ = judged(platform)
        with pytest.raises(GateRefusedError, match="gates have not been run"):
            platform.registry.register(
                one, measured, None, policy_digest=digest_of(POLICY), approval="automatic"
            )
        assert list(platform.registry.versions()) == []

    def test_a_failed_gate_is_refused_by_its_message(self, platform: Platform) -> None:
        one = candidate(platform)
        measured = evaluation(one)
        verdict = decision(platform, one, measured, passed=False)
        with pytest.raises(GateRefusedError, match="rmse 5 is above the most allowed 4"):
            platform.registry.register(
                one, measured, verdict, policy_digest=digest_of(POLICY), approval="automatic"
            )
        assert list(platform.registry.versions()) == []

    def test_a_candidate_judged_against_an_earlier_champion_is_refused(self, platform: Platform) -> None:
        register(platform)
        with pytest.raises(GateRefusedError, match="the champion is now 1"):
            register(platform, content="second")
        assert len(platform.registry.versions()) == 1

    def test_a_model_file_swapped_in_the_store_is_refused(self, platform: Platform) -> None:
        one, measured, verdict = judged(platform)
        platform.store.write(one.uri.join("model.skops"), b"swapped")
        with pytest.raises(GateRefusedError, match=r"model\.skops was changed"):
            platform.registry.register(
                one, measured, verdict, policy_digest=digest_of(POLICY), approval="automatic"
            )
        assert list(platform.registry.versions()) == []

    def test_of_two_promotions_at_once_one_is_refused(self, platform: Platform) -> None:
        start = threading.Barrier(2)

        def promote(content: str) -> str:
            start.wait()
            try:
                return f"version {register(platform, content=content).version}"
            except GateRefusedError as error:
                return str(error)

        with ThreadPoolExecutor(2) as pool:
            outcomes = sorted(pool.map(promote, ["one", "other"]))
        assert "the champion is now 1" in outcomes[0]
        assert outcomes[1] == "version 1"
        assert len(platform.registry.versions()) == 1

    def test_the_same_candidate_registered_at_once_is_one_version(self, platform: Platform) -> None:
        start = threading.Barrier(3)

        def promote(_: int) -> int:
            start.wait()
            return register(platform).version

        with ThreadPoolExecutor(3) as pool:
            assert list(pool.map(promote, range(3))) == [1, 1, 1]
        assert len(platform.registry.versions()) == 1

    def test_a_version_that_waits_for_a_person_is_not_champion(self, platform: Platform) -> None:
        register(platform)
        waiting = register(platform, content="second", champion=1, manual=True)
        assert (waiting.version, waiting.approval, waiting.aliases) == (2, "pending", ())
        assert platform.registry.champion("homes").version == 1  # type: ignore[union-attr]

    def test_a_waiting_version_does_not_block_the_next(self, platform: Platform) -> None:
        register(platform, manual=True)
        second = register(platform, content="second", manual=True)
        assert second.version == 2
        assert platform.registry.champion("homes") is None

    def test_approving_makes_champion(self, platform: Platform) -> None:
        register(platform, manual=True)
        approved = platform.registry.approve("homes", 1, by="anna", reason="looks right")
        assert (approved.approval, approved.aliases) == ("approved", ("champion",))
        assert platform.registry.champion("homes") == approved

    def test_approving_the_champion_changes_nothing(self, platform: Platform) -> None:
        champion = register(platform)
        assert platform.registry.approve("homes", 1, by="anna") == champion

    def test_approving_takes_over_from_the_champion_of_now(self, platform: Platform) -> None:
        register(platform, content="waiting", manual=True)
        register(platform, content="second")
        assert platform.registry.approve("homes", 1, by="anna").aliases == ("champion",)
        assert platform.registry.rollback("homes").version == 2

    def test_a_rejected_version_cannot_be_approved(self, platform: Platform) -> None:
        register(platform, manual=True)
        assert platform.registry.reject("homes", 1, by="anna", reason="biased").approval == "rejected"
        with pytest.raises(GateRefusedError, match="it was rejected"):
            platform.registry.approve("homes", 1, by="ben")
        assert platform.registry.champion("homes") is None

    def test_rejecting_twice_changes_nothing(self, platform: Platform) -> None:
        register(platform, manual=True)
        first = platform.registry.reject("homes", 1, by="anna")
        assert platform.registry.reject("homes", 1, by="ben") == first

    def test_the_champion_cannot_be_rejected(self, platform: Platform) -> None:
        register(platform)
        with pytest.raises(ConflictError, match="is the champion"):
            platform.registry.reject("homes", 1, by="anna")

    def test_a_version_whose_files_changed_cannot_be_approved(self, platform: Platform) -> None:
        waiting = register(platform, manual=True)
        platform.store.write(waiting.uri.join("model.skops"), b"swapped")
        with pytest.raises(GateRefusedError, match=r"model\.skops was changed"):
            platform.registry.approve("homes", 1, by="anna")
        assert platform.registry.champion("homes") is None

    @pytest.mark.parametrize("call", ["approve", "reject"])
    def test_there_is_nothing_to_decide_about_a_version_that_is_not_there(
        self, platform: Platform, call: str
    ) -> None:
        register(platform)
        with pytest.raises(ArtifactError, match=r"no version 7 \(it has 1\)"):
            getattr(platform.registry, call)("homes", 7, by="anna")

    def test_rolling_back_walks_from_champion_to_champion(self, platform: Platform) -> None:
        for number, content in enumerate(["one", "two", "three"]):
            register(platform, content=content, champion=number or None)
        registry = platform.registry
        assert registry.rollback("homes", by="anna", reason="complaints").version == 2
        assert registry.champion("homes").version == 2  # type: ignore[union-attr]
        assert registry.rollback("homes").version == 1
        with pytest.raises(ConflictError, match="no usable champion before version 1"):
            registry.rollback("homes")

    def test_a_version_rolled_back_from_is_not_what_the_next_rollback_returns_to(
        self, platform: Platform
    ) -> None:
        register(platform, content="one")
        register(platform, content="two", champion=1)
        platform.registry.rollback("homes")
        register(platform, content="three", champion=1)
        assert platform.registry.rollback("homes").version == 1

    def test_a_rollback_passes_over_versions_rejected_or_damaged_since(self, platform: Platform) -> None:
        for number, content in enumerate(["one", "two", "three", "four"]):
            register(platform, content=content, champion=number or None)
        platform.registry.reject("homes", 3, by="anna")
        platform.store.write(platform.registry.get("homes", 2).uri.join("model.skops"), b"swapped")
        assert platform.registry.rollback("homes").version == 1

    def test_rolling_back_without_a_champion_says_so(self, platform: Platform) -> None:
        with pytest.raises(ConflictError, match="has no champion"):
            platform.registry.rollback("homes")

    def test_a_version_rolled_back_from_can_be_approved_again(self, platform: Platform) -> None:
        register(platform, content="one")
        register(platform, content="two", champion=1)
        platform.registry.rollback("homes")
        assert platform.registry.approve("homes", 2, by="anna").aliases == ("champion",)

    def test_the_champion_is_swapped_only_from_the_one_expected(self, platform: Platform) -> None:
        register(platform, content="one")
        register(platform, content="two", champion=1)
        with pytest.raises(ConflictError, match="champion of homes is 2, not 1"):
            platform.registry.set_champion("homes", 1, expected=1)
        platform.registry.set_champion("homes", 1, expected=2)
        assert platform.registry.champion("homes").version == 1  # type: ignore[union-attr]

    def test_what_nobody_approved_cannot_be_set_as_champion(self, platform: Platform) -> None:
        register(platform, manual=True)
        with pytest.raises(GateRefusedError, match="it is pending"):
            platform.registry.set_champion("homes", 1, expected=None)
        assert platform.registry.champion("homes") is None
