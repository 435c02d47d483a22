"""Real commands in processes of their own, on a root and declarations below a test's folder."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# What our commands say on standard error: a line per stage, and their warnings and errors.
_OWN = re.compile(
    r"  \w+ +(done|unchanged) +[0-9.]+ s(  .*)?|  \w+ +(refused|failed)|"
    r"  (warning|error): .*|(Warning|Error): .*"
)
PROGRAM = (sys.executable, "-c", "from mlops_assets.cli import main; main()")


@dataclass(frozen=True)
class Deployment:
    """One root and one folder of declarations."""

    folder: Path

    @property
    def root(self) -> Path:
        return self.folder / "mlops"

    @property
    def defs(self) -> Path:
        return self.folder / "defs"

    def environment(self, **more: str) -> dict[str, str]:
        """The environment of a command: nobody's settings but this deployment's."""
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("MLOPS_", "DAGSTER_"))
        }
        return {
            **kept,
            "MLOPS_ROOT": str(self.root),
            "MLOPS_DEFS": str(self.defs),
            "OMP_NUM_THREADS": "1",
            **more,
        }

    def command(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run `mlops-assets ARGUMENTS` to its end."""
        return subprocess.run(
            [*PROGRAM, *arguments],
            cwd=self.folder,
            env=self.environment(**environment),
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )

    def json(self, *arguments: str, status: int = 0, **environment: str) -> Any:
        """Run a command that prints JSON; standard output must hold that and nothing else."""
        done = self.command(*arguments, "--json", **environment)
        assert done.returncode == status, done.stdout + done.stderr
        return json.loads(done.stdout)


def stray_lines(stderr: str) -> list[str]:
    """Lines of a command's standard error that are not its own."""
    return [line for line in stderr.splitlines() if not _OWN.fullmatch(line)]
