"""Another process at the registry of MLOPS_AWS_ROOT, killed after the KILL_ATth write where that is set.

`register CONTENT` prints the version or the refusal; `hold` takes the model's lock and prints `held`; `crash
ACTION` kills an action after its first write, its second and so on, each below a root of its own, and
compares what doing it again leaves.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from mlops_assets.errors import GateRefusedError
from mlops_assets.platforms.aws.client import client
from mlops_assets.platforms.aws.settings import current_aws_settings
from mlops_assets.platforms.binding import build_platform
from mlops_assets.platforms.ports import Platform
from mlops_assets.settings import Settings
from mlops_assets_tests.platforms.contracts.registry import register

_WRITING = ("PutObject", "Create", "Update", "AddTags", "Delete")


def _kill_after(writes: int) -> None:
    """Die, without a chance to tidy up, right after this many calls that wrote something."""
    left = writes

    def count(model: Any, **_: Any) -> None:
        nonlocal left
        if model.name.startswith(_WRITING):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    for service in ("s3", "sagemaker"):
        events = client(service, current_aws_settings().region).meta.events
        events.register(f"after-call.{service}", count)


def _platform() -> Platform:
    current_aws_settings.cache_clear()
    return build_platform(Settings(root=Path(os.environ["MLOPS_ROOT"]), platform="aws"))


def _register(content: str) -> str:
    try:
        return str(register(_platform(), content=content).version)
    except GateRefusedError as error:
        return str(error)


def _hold() -> None:
    with _platform().registry.lock("homes"):
        print("held", flush=True)
        time.sleep(600)


def _crash(action: str) -> dict[str, object]:
    """Fork the action once per write."""
    root = os.environ["MLOPS_AWS_ROOT"]
    before = _begin(f"{root}/whole", action)
    assert _child(action) == 0
    wanted = _everything()
    kills, wrong = 0, []
    while True:
        assert _begin(f"{root}/{kills + 1}", action) == before
        if _child(action, kill_at=kills + 1) == 0:
            return {"kills": kills, "wrong": wrong}
        kills += 1
        seen = _everything()["visible"]
        if seen not in (before["visible"], wanted["visible"]):
            wrong.append(f"after {kills}: {seen}")
        if action == "rollback" and seen == wanted["visible"]:
            continue  # it was done: again would be another rollback
        if _child(action) != 0 or _everything() != wanted:
            wrong.append(f"again after {kills}: {_everything()} instead of {wanted}")


def _begin(root: str, action: str) -> dict[str, Any]:
    """What everybody sees below a new root before the action."""
    os.environ["MLOPS_AWS_ROOT"] = root
    platform = _platform()
    register(platform)
    if action != "register":
        register(platform, content="second", champion=1, manual=action == "approve")
    return _everything()


def _everything() -> dict[str, Any]:
    """What the port shows, and how many packages there are."""
    registry = _platform().registry
    champion = registry.champion("homes")
    group = registry.console("homes").split()[-1]
    listed = client("sagemaker", current_aws_settings().region).list_model_packages(
        ModelPackageGroupName=group, MaxResults=100
    )
    versions = [
        item.model_dump(mode="json", exclude={"decision_digest", "aliases", "uri", "dataset_uri"})
        for item in registry.versions("homes")
    ]
    return {
        "visible": [champion and champion.version, versions],
        "packages": len(listed["ModelPackageSummaryList"]),
    }


def _child(action: str, kill_at: int = 0) -> int:
    """Exit status of a forked action; -9 where it was killed."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            client.cache_clear()  # its connections are the parent's
            platform = _platform()
            if kill_at:
                _kill_after(kill_at)
            _do(platform, action)
            status = 0
        except Exception as error:
            print(repr(error), file=sys.stderr, flush=True)
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _do(platform: Platform, action: str) -> None:
    match action:
        case "register":
            register(platform, content="second", champion=1)
        case "approve":
            platform.registry.approve("homes", 2, by="anna")
        case "rollback":
            platform.registry.rollback("homes", by="anna")


def main() -> None:
    """Do what the arguments say and print the result."""
    if kill_at := int(os.environ.get("KILL_AT", "0")):
        _kill_after(kill_at)
    match sys.argv[1:]:
        case ["register", content]:
            print(_register(content))
        case ["hold"]:
            _hold()
        case ["crash", action]:
            print(json.dumps(_crash(action)))


if __name__ == "__main__":
    main()
