"""A job's container on Vertex AI, `python -m mlops_assets.platforms.gcp.container`: buckets below /gcs.

Cloud Storage FUSE shows the inputs as folders, so that nothing is copied that the program does not read, and
takes what the program made. Dagster Pipes goes over Cloud Storage. The image needs this package with its
`gcp` extra.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from mlops_assets.pipes.gcs_job_side import GcsContextLoader, GcsMessageWriter
from mlops_assets.pipes.relay import relayed
from mlops_assets.runtime import container

MOUNT = "/gcs"
REASON = "reason"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the requested program; its exit status."""
    options = _options(arguments)
    # Vertex AI numbers its jobs: of two that are asked the same, each leaves its output in its own folder.
    left = options.output / os.environ.get("CLOUD_ML_JOB_ID", "0")
    with tempfile.TemporaryDirectory(prefix="mlops-container-") as folder, relayed(_sides) as environment:
        base = Path(folder)
        _link(base, dict(options.input), options.checkpoints)
        status = container.run(environment, base=base)
        if status == 0:
            _leave(base / container.TRAINING.output, left)
        else:
            left.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(base / container.TRAINING.reason, left / REASON)
        return status


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m mlops_assets.platforms.gcp.container")
    parser.add_argument(
        "--input", action="append", type=_channel, help="channel and its folder, as in train=/gcs/bucket/key"
    )
    parser.add_argument("--output", type=Path, help="folder that the job's own folder is made in")
    parser.add_argument("--checkpoints", type=Path, help="folder of what an interrupted job goes on from")
    return parser.parse_args(arguments)


def _channel(text: str) -> tuple[str, Path]:
    name, _, folder = text.partition("=")
    return name, Path(folder)


def _link(base: Path, channels: dict[str, Path], checkpoints: Path | None) -> None:
    """Lay the folders out as the runtime's container expects them."""
    inputs = base / container.TRAINING.channels
    inputs.mkdir(parents=True)
    for name, folder in channels.items():
        (inputs / name).symlink_to(folder, target_is_directory=True)
    if checkpoints is not None:
        checkpoints.mkdir(parents=True, exist_ok=True)
        (base / "checkpoints").symlink_to(checkpoints, target_is_directory=True)


def _leave(made: Path, left: Path) -> None:
    """Copy what the program made; its result last, so that a result tells of a whole output."""
    paths = [path for path in sorted(made.rglob("*")) if path.is_file()]
    for path in sorted(paths, key=lambda path: path.name == "result.json" and path.parent == made):
        target = left / path.relative_to(made)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


def _sides() -> tuple[GcsContextLoader, GcsMessageWriter]:
    from google.cloud import storage

    client = storage.Client()
    return GcsContextLoader(client), GcsMessageWriter(client, interval=0)


if __name__ == "__main__":
    sys.exit(main())
