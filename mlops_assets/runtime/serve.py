"""The model server: `python -m mlops_assets.runtime.serve --model FOLDER [--port N]`.

It answers as the containers of SageMaker and Vertex AI do: GET /ping, POST /invocations, the AIP_* variables.
With `--managed` a deployer speaks to it over stdin and stdout: `adopt` makes it take over the stable address,
and a deployer that goes away before that ends it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Mapping, Sequence
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

from mlops_assets.artifacts.digest import digest_of
from mlops_assets.errors import ArtifactError, MlopsAssetsError
from mlops_assets.runtime.app import Identity, Limits, ModelApp, Routes
from mlops_assets.runtime.listening import Control, Predecessor, Server
from mlops_assets.runtime.model import LoadedModel
from mlops_assets.runtime.server_environment import (
    BODY_VARIABLE,
    DIGEST_VARIABLE,
    TOKEN_VARIABLE,
    TRUSTED_VARIABLE,
    VERSION_VARIABLE,
)
from mlops_assets.runtime.sockets import bind

logger = logging.getLogger("mlops_assets.serve")

_LOG_BYTES = 5_000_000
_COMPLETE = "_complete"


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM; returns the exit status: 1 where the model cannot be loaded."""
    options = _options(argv)
    events = _Events(options.managed)
    _log_to(options.log)
    try:
        service = _Service(options, events)
        return asyncio.run(service.run())
    except (MlopsAssetsError, OSError) as error:
        logger.error(json.dumps({"event": "failed", "error": str(error)}))
        events.send("failed", what=str(error))
        return 1


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    env = os.environ
    folder = env.get("AIP_MODEL_DIR") or env.get("SM_MODEL_DIR") or "/opt/ml/model"
    port = env.get("AIP_HTTP_PORT") or env.get("SAGEMAKER_BIND_TO_PORT") or "8080"
    cores = os.cpu_count() or 1
    parser = argparse.ArgumentParser(prog="python -m mlops_assets.runtime.serve", description=__doc__)
    add = parser.add_argument
    add("--model", type=Path, default=Path(folder), help="folder of model.skops and model.json (%(default)s)")
    add("--files", type=json.loads, help="JSON: file -> SHA-256; default: the folder's own _complete marker")
    add("--digest", default=env.get(DIGEST_VARIABLE), help="digest that the recorded files must have")
    add("--trusted-types", type=json.loads, default=json.loads(env.get(TRUSTED_VARIABLE) or "[]"))
    add(
        "--version",
        type=int,
        default=env.get(VERSION_VARIABLE) or None,
        help="the registered version, for /ping",
    )
    add("--host", default="127.0.0.1", help="address to bind to (%(default)s)")
    add("--port", type=int, default=int(port), help="port; 0 takes a free one (%(default)s)")
    add("--fd", type=int, help="descriptor of a bound socket to serve on instead")
    limit = env.get(BODY_VARIABLE) or Limits.body
    add("--body-limit", type=int, default=limit, help="bytes of a request body (%(default)s)")
    add("--concurrency", type=int, default=cores, help="predictions at once (%(default)s)")
    add("--queue", type=int, default=Limits.queue, help="requests that may wait beside them (%(default)s)")
    add("--timeout", type=float, default=Limits.seconds, help="seconds of one prediction (%(default)s)")
    add("--log", type=Path, help="log file, kept below 10 MB; default: stderr")
    add("--managed", action="store_true", help="take commands on stdin, report events on stdout")
    add("--instance", help=argparse.SUPPRESS)
    add("--control", type=Path, help=argparse.SUPPRESS)
    add("--lock-fd", type=int, help=argparse.SUPPRESS)
    return parser.parse_args(argv)


class _Events:
    """Lines of JSON to the deployer; nobody is told anything outside of `--managed`."""

    def __init__(self, managed: bool) -> None:
        self._out: int | None = None
        if managed:
            self._out = os.dup(1)
            os.dup2(2, 1)  # what a model prints is log, not protocol

    def send(self, event: str, **details: Any) -> None:
        """Tell the deployer; one that went away is told nothing."""
        if self._out is None:
            return
        try:
            os.write(self._out, json.dumps({"event": event, **details}).encode() + b"\n")
        except OSError:
            self._out = None

    def close(self) -> None:
        """The last word is said."""
        if self._out is not None:
            os.close(self._out)
            self._out = None


class _Service:
    """One server process from its first socket to its last answer."""

    def __init__(self, options: argparse.Namespace, events: _Events) -> None:
        self._options = options
        self._events = events
        self._files = recorded_files(options.model, options.files, options.digest)
        env = os.environ
        self._app = ModelApp(
            identity=Identity(options.version, digest_of(self._files), options.instance),
            limits=Limits(options.body_limit, options.concurrency, options.queue, options.timeout),
            routes=Routes(
                ("/ping", env.get("AIP_HEALTH_ROUTE", "/ping")),
                ("/invocations", env.get("AIP_PREDICT_ROUTE", "/invocations")),
            ),
            token=env.pop(TOKEN_VARIABLE, None) or None,
        )
        self._server = Server(self._app.asgi(), self._start_draining)
        if options.lock_fd is not None:
            os.set_inheritable(options.lock_fd, False)
        self._failed: MlopsAssetsError | None = None

    async def run(self) -> int:
        """Listen, load, serve."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._server.stop)
        options = self._options
        managed = options.managed
        # A managed server answers on an address of its own first; the stable one comes with `adopt`.
        given = options.fd is not None and not managed
        first = socket.socket(fileno=options.fd) if given else bind(*self._first_address())
        await self._server.start(first)
        self._events.send("listening", port=first.getsockname()[1])
        if not managed:
            host, port = first.getsockname()[:2]
            logger.info(json.dumps({"event": "listening", "host": host, "port": port}))
        loading = asyncio.create_task(self._load())
        if managed:
            threading.Thread(target=self._obey, args=(loop, first), daemon=True, name="commands").start()
        await self._server.run()
        await asyncio.wait([loading], timeout=0)
        logging.shutdown()
        if self._app.busy or not loading.done():
            os._exit(0 if self._failed is None else 1)  # a thread that never ends must not keep the process
        if self._failed is not None:
            raise self._failed
        return 0

    def _first_address(self) -> tuple[str, int]:
        return ("127.0.0.1", 0) if self._options.managed else (self._options.host, self._options.port)

    def _start_draining(self) -> None:
        self._app.draining = True

    async def _load(self) -> None:
        options = self._options
        try:
            self._app.model = await asyncio.to_thread(
                LoadedModel.load, options.model, files=self._files, trusted_types=tuple(options.trusted_types)
            )
        except MlopsAssetsError as error:
            self._failed = error
        except Exception as error:
            self._failed = ArtifactError(
                f"The model cannot be loaded ({type(error).__name__}: {error}).", where=str(options.model)
            )
        if self._failed is not None:
            self._server.stop()
        else:
            logger.info(json.dumps({"event": "ready", "version": options.version}))

    # --- the deployer -------------------------------------------------------------------------------------

    def _obey(self, loop: asyncio.AbstractEventLoop, private: socket.socket) -> None:
        line = sys.stdin.readline()
        if not line:
            os._exit(3)  # the deployer is gone before the take-over: nobody knows this server
        adoption = asyncio.run_coroutine_threadsafe(self._adopt(json.loads(line), private), loop)
        try:
            adoption.result()
        except (MlopsAssetsError, OSError) as error:
            logger.error(json.dumps({"event": "not adopted", "error": str(error)}))
            self._events.send("failed", what=str(error))
            os._exit(4)
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        self._events.close()

    async def _adopt(self, command: Mapping[str, Any], private: socket.socket) -> None:
        """Take the stable address: from the server before this one, or on the bound socket of `--fd`."""
        source = command.get("from")
        predecessor = Predecessor(Path(source)) if source else None
        stable = (
            await asyncio.to_thread(predecessor.take)
            if predecessor
            else socket.socket(fileno=self._options.fd)
        )
        await self._server.add(stable)
        loop = asyncio.get_running_loop()
        Control(self._options.control, stable, lambda: self._drain_from(loop)).start()
        if predecessor is not None:
            await asyncio.to_thread(predecessor.dismiss)
        await self._server.stop_accepting(only=private)
        logger.info(json.dumps({"event": "adopted", "port": stable.getsockname()[1]}))
        self._events.send("adopted", port=stable.getsockname()[1])

    def _drain_from(self, loop: asyncio.AbstractEventLoop) -> None:
        """Called by the control thread: returns once nothing more is accepted."""
        asyncio.run_coroutine_threadsafe(self._server.stop_accepting(), loop).result(10)
        asyncio.run_coroutine_threadsafe(self._server.drain(), loop)


def recorded_files(
    folder: Path, files: Mapping[str, str] | None, digest: str | None = None
) -> dict[str, str]:
    """The files' digests to check: given ones, else those of the folder's `_complete` marker.

    Args:
        folder: the model's.
        files: file name -> SHA-256.
        digest: what `digest_of` the recorded files must give: the registry's word against the folder's own.

    Raises:
        ArtifactError: where neither is there, or they are not those of `digest`.
    """
    recorded = dict(files) if files is not None else _marked(folder)
    if digest is not None and digest_of(recorded) != digest:
        raise ArtifactError(
            "The model's files are not the registered ones.",
            where=str(folder),
            mend="Deploy the version again, and find out who changed its folder.",
        )
    return recorded


def _marked(folder: Path) -> dict[str, str]:
    try:
        return dict(json.loads((folder / _COMPLETE).read_bytes()))
    except (OSError, ValueError):
        raise ArtifactError(
            "Nothing says what the model's files must be.",
            where=str(folder),
            mend="Give --files with their SHA-256, or a published folder with its _complete marker.",
        ) from None


def _log_to(path: Path | None) -> None:
    handler: logging.Handler = logging.StreamHandler()
    if path is not None:
        handler = RotatingFileHandler(path, maxBytes=_LOG_BYTES, backupCount=1, encoding="utf-8")
    handler.setFormatter(
        logging.Formatter('{"time": "%(asctime)s", "level": "%(levelname)s", "record": %(message)s}')
    )
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False


if __name__ == "__main__":
    sys.exit(main())
