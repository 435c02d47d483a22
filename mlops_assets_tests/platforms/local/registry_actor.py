"""Another process at the registry of MLOPS_ROOT, killed after the KILL_ATth write where that is set.

`register CONTENT` prints the version or the refusal; `read` looks without writing; `crash ACTION KEPT` kills
an action after its first write, its second and so on, and compares what doing it again leaves.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from mlops_assets.errors import GateRefusedError
from mlops_assets.platforms.local import build_platform
from mlops_assets.platforms.ports import Platform
from mlops_assets.settings import Settings
from mlops_assets_tests.platforms.contracts.registry import register


def _kill_after(writes: int) -> None:
    """Die, without a chance to tidy up, right after this many transactions that wrote something."""
    from sqlalchemy import Engine, event

    left, writing = writes, set[int]()

    def note(connection: Any, _: Any, statement: str, *__: Any) -> None:
        if statement.split(maxsplit=1)[0].upper() in ("INSERT", "UPDATE", "DELETE"):
            writing.add(id(connection.connection.dbapi_connection))

    def count(connection: Any, _: Any) -> None:
        nonlocal left
        if id(connection) in writing:
            writing.discard(id(connection))
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    event.listen(Engine, "before_cursor_execute", note)
    event.listen(Engine, "checkin", count)  # the connection goes back to its pool: it has committed


def _platform() -> Platform:
    return build_platform(Settings(root=Path(os.environ["MLOPS_ROOT"])))


def _register(content: str) -> str:
    try:
        return str(register(_platform(), content=content).version)
    except GateRefusedError as error:
        return str(error)


def _read() -> dict[str, object]:
    platform = _platform()
    champion = platform.registry.champion("homes")
    again = register(platform)
    try:
        register(platform, content="second")
        refused = False
    except GateRefusedError:
        refused = True
    return {
        "champion": champion and champion.version,
        "again": again.version,
        "refused": refused,
        "mlflow": "mlflow" in sys.modules,
    }


def _crash(action: str, kept: Path) -> dict[str, object]:
    """Fork the action once per write: MLflow is imported once, its file opened by each child alone."""
    import mlflow  # noqa: F401

    root = Path(os.environ["MLOPS_ROOT"])
    _reset(root, kept)
    before = _visible(root)
    assert _child(action) == 0
    wanted = _everything(root)
    kills, wrong = 0, []
    while True:
        _reset(root, kept)
        if _child(action, kill_at=kills + 1) == 0:
            return {"kills": kills, "wrong": wrong}
        kills += 1
        if _visible(root) not in (before, wanted["visible"]):
            wrong.append(f"after {kills}: {_visible(root)}")
        if action == "rollback" and _visible(root) == wanted["visible"]:
            continue  # it was done: again would be another rollback
        if _child(action) != 0 or _everything(root) != wanted:
            wrong.append(f"again after {kills}: {_everything(root)} instead of {wanted}")


def _everything(root: Path) -> dict[str, Any]:
    tables = ("model_versions", "runs", "experiments", "registered_model_aliases", "params", "metrics")
    with closing(sqlite3.connect(root / "mlflow.db")) as connection:
        counts = {name: connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in tables}
    return {"visible": _visible(root), **counts}


def _visible(root: Path) -> list[Any]:
    """What the port shows: every version with its approval, metrics and parameters, and the champion."""
    registry = build_platform(Settings(root=root)).registry
    champion = registry.champion("homes")
    return [champion and champion.version] + [
        item.model_dump(mode="json", exclude={"decision_digest", "aliases"})
        for item in registry.versions("homes")
    ]


def _reset(root: Path, kept: Path) -> None:
    shutil.rmtree(root)
    shutil.copytree(kept, root)


def _child(action: str, kill_at: int = 0) -> int:
    """Exit status of a forked action; -9 where it was killed."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            platform = _platform()
            platform.registry._client()  # type: ignore[attr-defined]
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
        case ["read"]:
            print(json.dumps(_read()))
        case ["crash", action, kept]:
            print(json.dumps(_crash(action, Path(kept))))


if __name__ == "__main__":
    main()
