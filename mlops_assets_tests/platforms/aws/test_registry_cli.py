"""`models`, `approve`, `reject` and `rollback` on AWS: what they say is what they say on one machine."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from mlops_assets.platforms.aws.settings import current_aws_settings
from mlops_assets.platforms.binding import build_platform
from mlops_assets.platforms.ports import Platform
from mlops_assets.settings import Settings
from mlops_assets_tests.commands import Deployment
from mlops_assets_tests.judged import registry_platform
from mlops_assets_tests.platforms.aws.sagemaker_console import Console
from mlops_assets_tests.platforms.contracts.registry import register
from mlops_assets_tests.standins.aws.fixtures import Aws

COMMANDS = (
    ("approve", "homes", "2", "--reason", "checked"),
    ("reject", "homes", "2"),
    ("rollback", "homes"),
    ("reject", "homes", "2", "--reason", "biased"),
    ("approve", "homes", "2"),
    ("approve", "homes", "7"),
    ("models",),
    ("models", "homes", "--json"),
    ("rollback", "homes"),
)


def said(deployment: Deployment, platform: Platform, **environment: str) -> list[Any]:
    """What each command ended with and said, without what differs between two stores."""
    register(platform)
    register(platform, content="second", champion=1, manual=True)
    answers = []
    for command in COMMANDS:
        done = deployment.command(*command, **environment)
        text = (done.stdout + done.stderr).replace(str(platform.store.root), "ROOT")
        # The decision's digest has the time in it.
        text = re.sub(r'("decision_digest": )"\w{64}"', r"\1...", text)
        answers.append((command, done.returncode, text))
    return answers


@pytest.fixture
def cloud(aws: Aws, tmp_path: Path) -> Platform:
    current_aws_settings.cache_clear()
    return build_platform(Settings(root=tmp_path / "cloud" / "mlops", platform="aws"))


def test_every_command_says_the_same_as_on_one_machine(aws: Aws, cloud: Platform, tmp_path: Path) -> None:
    here, there = Deployment(tmp_path / "here"), Deployment(tmp_path / "cloud")
    for deployment in (here, there):
        deployment.defs.mkdir(parents=True)
    local = said(here, registry_platform(tmp_path / "here"), MLOPS_PLATFORM="local")
    answers = said(there, cloud, **aws.environment)
    assert answers == local
    assert [status for _, status, _ in answers] == [0, 1, 0, 0, 1, 1, 0, 0, 1]
    console = Console(aws, cloud)
    assert console.status(1)[0] == "Approved"
    status, reason = console.status(2)
    assert status == "Rejected"
    assert re.fullmatch(r"rejected by \w+: biased", reason)
    assert console.tags()["mlops-assets/champion"] == "1"


def test_what_was_approved_in_the_console_is_listed(aws: Aws, cloud: Platform, tmp_path: Path) -> None:
    register(cloud, manual=True)
    Console(aws, cloud).decide(1, "Approved")
    there = Deployment(tmp_path / "cloud")
    there.defs.mkdir(parents=True)
    done = there.command("models", "--json", **aws.environment)
    (version,) = json.loads(done.stdout)
    assert (version["approval"], version["aliases"]) == ("approved", ["champion"])
