"""What a job's process inherits (what Python needs, no secret), and what its output may not repeat."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

import mlops_assets

_KEEP = re.compile(
    r"^(PATH|HOME|LANG|LC_\w+|TZ|TMPDIR|TEMP|TMP|SYSTEMROOT|LD_LIBRARY_PATH|DYLD_\w+|VIRTUAL_ENV|"
    r"PYTHON\w+|OMP_\w+|GOMP_SPINCOUNT|OPENBLAS_NUM_THREADS|MKL_NUM_THREADS|LOKY_MAX_CPU_COUNT|SSL_CERT_FILE)$"
)
_SECRET_NAME = re.compile(r"TOKEN|KEY|SECRET|PASSWORD|PASSWD|CREDENTIAL", re.IGNORECASE)
_CREDENTIALS = re.compile(r"(?<=://)[^/\s:@]+:[^/\s@]+(?=@)")
_SHORTEST_SECRET = 6

# Threads that spin for as long as they wait take the cores from whatever else runs on a small machine; those
# that never do sleep between any two steps of an estimator: fitting 120,000 rows takes three times as long.
WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "20000"}
"""How an estimator's threads wait for each other, where the environment says nothing."""


def job_environment(cache: Path) -> dict[str, str]:
    """Environment of a job's process.

    Args:
        cache: folder for what libraries cache between jobs (matplotlib's fonts).
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if _KEEP.match(name) and not _SECRET_NAME.search(name)
    }
    package_parent = str(Path(mlops_assets.__file__).parent.parent)
    paths = [package_parent, *filter(None, kept.get("PYTHONPATH", "").split(os.pathsep))]
    return {
        **kept,
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)),
        "PYTHONUNBUFFERED": "1",
        # The order of a set reaches a stored model otherwise, and with it the model's digest.
        "PYTHONHASHSEED": "0",
        "MPLBACKEND": "Agg",
        **{name: kept.get(name, default) for name, default in WAITING.items()},
        "MPLCONFIGDIR": str(cache / "matplotlib"),
    }


def redacted(text: str, environment: Mapping[str, str] | None = None) -> str:
    """`text` without secrets: of variables of `environment` (default: this process's) and of URLs."""
    for name, value in (os.environ if environment is None else environment).items():
        if _SECRET_NAME.search(name) and len(value) >= _SHORTEST_SECRET:
            text = text.replace(value, "***")
    return _CREDENTIALS.sub("***", text)
