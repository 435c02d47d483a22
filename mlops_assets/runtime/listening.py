"""Sockets of a model server: listening, draining, and handing the listening socket on to its successor.

The stable address outlives a version because the socket itself travels (SCM_RIGHTS, unix(7)): both processes
hold one accept queue, so no connection is refused while one takes over from the other.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from mlops_assets.errors import DeploymentError

logger = logging.getLogger("mlops_assets.serve")

# Longer than the keep-alive time: idle connections of a drained server end by themselves, as they always do.
_LINGER = 10.0
_KEEP_ALIVE = 5
_CONTROL_TIMEOUT = 10.0


class Server:
    """uvicorn on sockets that come and go."""

    def __init__(self, app: ASGIApp, on_drain: Callable[[], None]) -> None:
        self._on_drain = on_drain
        self._uvicorn = uvicorn.Server(
            uvicorn.Config(
                app,
                http="h11",
                ws="none",
                loop="asyncio",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=_KEEP_ALIVE,
                timeout_graceful_shutdown=30,
            )
        )
        self._listeners: list[tuple[socket.socket, asyncio.Server]] = []

    async def start(self, listener: socket.socket) -> None:
        """Serve on a first, bound socket."""
        config = self._uvicorn.config
        config.load()
        self._uvicorn.lifespan = config.lifespan_class(config)
        await self._uvicorn.startup(sockets=[])
        await self.add(listener)

    async def add(self, listener: socket.socket) -> None:
        """Serve on another bound socket too."""
        config = self._uvicorn.config

        make: Any = config.http_protocol_class
        state = self._uvicorn.server_state

        def protocol() -> asyncio.Protocol:
            return make(config=config, server_state=state, app_state=self._uvicorn.lifespan.state)

        server = await asyncio.get_running_loop().create_server(
            protocol, sock=listener, backlog=config.backlog
        )
        self._listeners.append((listener, server))

    async def run(self) -> None:
        """Serve until `stop` or the end of `drain`; requests under way are answered first."""
        await self._uvicorn.main_loop()
        await self.stop_accepting()
        await self._uvicorn.shutdown(sockets=[])

    def stop(self) -> None:
        """End `run`: idle connections are closed at once."""
        self._on_drain()
        self._uvicorn.should_exit = True

    async def drain(self) -> None:
        """Accept no more, end each connection after its next answer, then end `run`."""
        self._on_drain()
        await self.stop_accepting()
        connections = self._uvicorn.server_state.connections
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LINGER):
                while connections:
                    await asyncio.sleep(0.05)
        self._uvicorn.should_exit = True

    async def stop_accepting(self, *, only: socket.socket | None = None) -> None:
        """Close the listening sockets (or one), losing no connection that was already accepted."""
        chosen = [pair for pair in self._listeners if only is None or pair[0] is only]
        self._listeners = [pair for pair in self._listeners if pair not in chosen]
        loop = asyncio.get_running_loop()
        for listener, _ in chosen:
            loop.remove_reader(listener.fileno())
        # asyncio makes the transport of an accepted connection in a later turn of the loop; its server has to
        # be open until then, or the connection is dropped.
        await asyncio.sleep(0)
        await asyncio.sleep(0.01)
        for _, server in chosen:
            server.close()


class Control(threading.Thread):
    """Answers a successor on a unix socket: hands it the listening socket, then drains when it says so.

    A successor that goes away before it says so changes nothing: this server goes on.
    """

    def __init__(self, path: Path, listener: socket.socket, drain: Callable[[], None]) -> None:
        super().__init__(daemon=True, name="control")
        self._listener = listener
        self._drain = drain
        self._path = path
        path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(str(path))
        path.chmod(0o600)
        self._socket.listen(4)

    def run(self) -> None:
        """Serve successors, one after the other."""
        while True:
            try:
                peer, _ = self._socket.accept()
            except OSError:
                return
            with peer:
                peer.settimeout(_CONTROL_TIMEOUT)
                try:
                    done = self._hand_over(peer)
                except (OSError, ValueError) as error:
                    logger.warning(json.dumps({"event": "hand-over failed", "error": type(error).__name__}))
                    continue
            if done:
                self._path.unlink(missing_ok=True)
                return

    def _hand_over(self, peer: socket.socket) -> bool:
        lines = peer.makefile("r", encoding="ascii")
        if lines.readline().strip() != "hand over":
            return False
        socket.send_fds(peer, [b"take"], [self._listener.fileno()])
        if lines.readline().strip() != "drain":
            return False
        self._drain()
        peer.sendall(b"draining\n")
        return True


class Predecessor:
    """The server that holds the stable address, as its successor sees it."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(_CONTROL_TIMEOUT)
        self._path = path

    def take(self) -> socket.socket:
        """Its listening socket, shared from now on.

        Raises:
            DeploymentError: where it does not answer.
        """
        try:
            self._socket.connect(str(self._path))
            self._socket.sendall(b"hand over\n")
            _, descriptors, _, _ = socket.recv_fds(self._socket, 16, 1)
        except OSError as error:
            raise DeploymentError(f"The server before this one does not hand over ({error}).") from None
        if not descriptors:
            raise DeploymentError("The server before this one handed no socket over.")
        return socket.socket(fileno=descriptors[0])

    def dismiss(self) -> None:
        """Tell it to drain, and wait until it accepts no more; one that has ended meanwhile is as good."""
        with contextlib.suppress(OSError):
            self._socket.sendall(b"drain\n")
            self._socket.recv(16)
        self._socket.close()
