"""A process that has imported the programs once and forks for each job: a job starts in milliseconds.

`python -m mlops_assets.runtime.warm FD` serves the socket FD, which only the orchestrator holds: one job at a
time, each in a session of its own with the streams that came with its request, and ends when the socket
closes. Nothing but imports happens before a fork, so a forked job finds what a new interpreter would, except
that its libraries are there.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import socket
import sys
import traceback
from typing import Any

PROGRAMS = ("train", "evaluate")
MESSAGE = 1 << 20
READY = b"ready"


def serve(connection: socket.socket) -> None:
    """Import, say so, then fork a job for each request; the answer is its process id, then its status."""
    for program in PROGRAMS:
        importlib.import_module(f"mlops_assets.runtime.{program}")
    importlib.import_module("matplotlib.backends.backend_agg")
    importlib.import_module("sklearn.ensemble")
    # Shared pages stay shared: a collection in a job would write to every object's header.
    gc.freeze()
    connection.send(READY)
    while True:
        message, streams, _, _ = socket.recv_fds(connection, MESSAGE, 3)
        if not message:
            return
        apart, is_apart = os.pipe()
        pid = os.fork()
        if pid == 0:
            connection.close()
            os.close(apart)
            _become(json.loads(message), streams, is_apart)
        for stream in (*streams, is_apart):
            os.close(stream)
        os.read(apart, 1)  # whoever gets the process id may end its group, so the group has to be there
        os.close(apart)
        connection.send(b"%d\n" % pid)
        _, status = os.waitpid(pid, 0)
        connection.send(b"%d\n" % os.waitstatus_to_exitcode(status))


def _become(job: dict[str, Any], streams: list[int], is_apart: int) -> None:
    """Turn this fork into the job, closing `is_apart` once it leads a group; never returns."""
    status = 1
    try:
        os.setsid()
        os.close(is_apart)
        for place, stream in enumerate(streams):
            os.dup2(stream, place)
            os.close(stream)
        os.chdir(job["folder"])
        os.environ.clear()
        os.environ.update(job["environment"])
        sys.argv = [job["program"], *job["arguments"]]
        importlib.import_module(f"mlops_assets.runtime.{job['program']}").run()
        status = 0
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
