"""The lease: one holder at a time, whoever dies, pauses or writes rubbish into it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mlops_assets.errors import ConflictError
from mlops_assets.platforms import lease as module
from mlops_assets.platforms.aws.object_store import S3ObjectStore
from mlops_assets.platforms.aws.settings import AwsSettings
from mlops_assets.platforms.lease import Lease, machine_of
from mlops_assets.settings import Settings
from mlops_assets_tests.standins.aws.faults import Fault
from mlops_assets_tests.standins.aws.fixtures import Aws


@pytest.fixture
def store(aws: Aws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> S3ObjectStore:
    monkeypatch.setattr(module, "SECONDS", 0.9)
    monkeypatch.setattr(module, "_POLL", 0.05)
    return S3ObjectStore(Settings(root=tmp_path / "mlops"), AwsSettings())  # type: ignore[call-arg]


def lease(store: S3ObjectStore, machine: str, patience: float = 10.0) -> Lease:
    return Lease(store, store.root.join("lease.json"), machine=machine, patience=patience)


def test_one_of_many_holds_it_at_a_time(store: S3ObjectStore) -> None:
    holding, most = 0, 0
    counting = threading.Lock()

    def hold(number: int) -> None:
        nonlocal holding, most
        with lease(store, f"machine {number}", patience=30.0) as held:
            with counting:
                holding += 1
                most = max(most, holding)
            held.renew()
            with counting:
                holding -= 1

    with ThreadPoolExecutor(5) as pool:
        list(pool.map(hold, range(5)))
    assert most == 1


def test_a_holder_that_lives_keeps_it_however_long(store: S3ObjectStore) -> None:
    with lease(store, "a") as held:
        with pytest.raises(ConflictError, match="held this lease for 2 s"), lease(store, "b", patience=2.0):
            pass
        held.renew()


def test_given_back_it_is_free_at_once(store: S3ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    with lease(store, "a"):
        pass
    monkeypatch.setattr(module, "SECONDS", 60.0)
    with lease(store, "b", patience=1.0):
        pass


def dead(store: S3ObjectStore, machine: str) -> Lease:
    """A lease whose holder went without giving it back."""
    left = lease(store, machine)
    left._version = left._acquire().version
    return left


def test_a_dead_holder_of_the_same_machine_is_replaced_at_once(
    store: S3ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead(store, "a")
    monkeypatch.setattr(module, "SECONDS", 60.0)
    with lease(store, "a", patience=1.0):
        pass


def test_a_dead_holder_elsewhere_is_replaced_after_a_while_and_finds_out(store: S3ObjectStore) -> None:
    left = dead(store, "a")
    with lease(store, "b") as held:
        with pytest.raises(ConflictError, match="another took its lease over"):
            left.renew()
        held.renew()


def test_a_renewal_whose_answer_was_lost_is_no_loss(aws: Aws, store: S3ObjectStore) -> None:
    with lease(store, "a") as held:
        aws.server.faults.add(Fault("s3:PUT", 500, "InternalError", afterwards=True))
        held.renew()
        held.renew()


@pytest.mark.parametrize("rubbish", [b"", b"[]", b"{}", b"\xff"])
def test_a_damaged_lease_is_replaced_after_a_while(store: S3ObjectStore, rubbish: bytes) -> None:
    store.write(store.root.join("lease.json"), rubbish)
    with lease(store, "a") as held:
        held.renew()


def test_no_heart_goes_on_beating(store: S3ObjectStore) -> None:
    with pytest.raises(ValueError, match="body"), lease(store, "a"):
        raise ValueError("body")
    assert not [thread for thread in threading.enumerate() if thread.name == "lease"]


def test_a_machine_is_told_by_its_folder(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    assert machine_of(tmp_path) == machine_of(tmp_path)
    assert machine_of(tmp_path) != machine_of(other)
