"""A model's container on Vertex AI, `python -m mlops_assets.platforms.gcp.server`: fetch the model, serve it.

AIP_STORAGE_URI names Vertex AI's own copy of the model's folder. The image needs this package with its `gcp`
extra.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

from mlops_assets.artifacts import ArtifactUri

# Vertex AI reaches the container from outside of it.
_HOST = os.environ.get("MLOPS_SERVER_HOST", "0.0.0.0")  # noqa: S104


def main() -> NoReturn:
    """Become the model server once the model is there; it checks the files' digests."""
    folder = Path(tempfile.mkdtemp(prefix="mlops-model-"))
    fetch(ArtifactUri(os.environ["AIP_STORAGE_URI"]), folder)
    command = [sys.executable, "-P", "-m", "mlops_assets.runtime.serve"]
    os.execv(sys.executable, [*command, "--model", str(folder), "--host", _HOST])  # noqa: S606 - a shell would be no help


def fetch(uri: ArtifactUri, folder: Path) -> None:
    """Copy what lies below `uri` into `folder`."""
    from google.cloud import storage

    for blob in storage.Client().list_blobs(uri.bucket, prefix=f"{uri.key}/"):
        path = folder / uri.relative(ArtifactUri(f"gs://{uri.bucket}/{blob.name}"))
        path.parent.mkdir(parents=True, exist_ok=True)
        blob.download_to_filename(str(path))


if __name__ == "__main__":
    main()
