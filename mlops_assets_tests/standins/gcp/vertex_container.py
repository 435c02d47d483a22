"""A container on Vertex AI: buckets below /gcs, as Cloud Storage FUSE shows them."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlops_assets_tests.standins import container

MOUNT = "/gcs/"
_NAMED = re.compile(rf"{MOUNT}([a-z0-9][a-z0-9._-]+[a-z0-9])")
# No folder of that name is made outside: the command sees a root of its own, put together of mounts.
_ENTER = """
root="$0/root" && mkdir -p "$root" "$0/gcs" && mount -t tmpfs none "$root" || exit 125
for from in /*; do
  to="$root$from"
  [ "$from" = /gcs ] && continue
  if [ -L "$from" ]; then cp -P "$from" "$to"
  elif [ -d "$from" ]; then mkdir "$to" && mount --rbind "$from" "$to"
  fi
done
chroot=$(PATH="$PATH:/usr/sbin:/sbin" command -v chroot)
mkdir "$root/gcs" && mount --bind "$0/gcs" "$root/gcs" && exec "$chroot" "$root" "$@"
"""


class VertexContainer(container.Container):
    """A running command that finds buckets below /gcs.

    Where namespaces are refused, paths below /gcs are rewritten in its arguments and environment.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        folder: Path,
        report: Callable[[str], None],
    ) -> None:
        buckets = folder / "gcs"
        buckets.mkdir(parents=True, exist_ok=True)

        def seen(text: str) -> str:
            return text if container.isolated() else text.replace(MOUNT, f"{buckets}/")

        program = {"python": sys.executable, "python3": sys.executable}.get(command[0], command[0])
        super().__init__(
            [program, *map(seen, command[1:])],
            {name: seen(value) for name, value in environment.items()},
            folder,
            report,
            _ENTER,
        )


class MountedBuckets:
    """The buckets that a container names by a path below /gcs.

    FUSE shows objects as they are at each moment; here the container sees those from before it started, and
    what it wrote becomes objects when it has ended.

    Args:
        storage: a client of Cloud Storage.
        folder: the container's.
    """

    def __init__(self, storage: Any, folder: Path) -> None:
        self._storage, self._folder = storage, folder / "gcs"
        self._before: dict[Path, tuple[int, int]] = {}

    def fetch(self, texts: Sequence[str]) -> None:
        """Fetch the buckets that any of `texts` names."""
        found = {bucket for text in texts for bucket in _NAMED.findall(text)}
        for bucket in found:
            for blob in self._storage.list_blobs(bucket):
                path = self._folder / bucket / blob.name
                path.parent.mkdir(parents=True, exist_ok=True)
                blob.download_to_filename(str(path))
        self._before = self._state()

    def write_back(self) -> None:
        """Upload what is new or changed."""
        for path, state in self._state().items():
            if self._before.get(path) != state:
                bucket, _, name = path.relative_to(self._folder).as_posix().partition("/")
                self._storage.bucket(bucket).blob(name).upload_from_filename(str(path))

    def _state(self) -> dict[Path, tuple[int, int]]:
        files = [path for path in self._folder.rglob("*") if path.is_file() and not path.is_symlink()]
        return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in files}
