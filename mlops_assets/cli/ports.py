"""TCP ports on this machine: whether one is free."""

from __future__ import annotations

import socket

from mlops_assets.errors import SettingsError


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen on `host:port` now (port 0: on any)."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def refuse_taken(host: str, port: int) -> None:
    """Raise SettingsError where nobody can listen on `host:port`."""
    if not is_free(host, port):
        raise SettingsError(
            "The address is taken, or not of this machine.",
            where=f"{host}:{port}",
            mend=f"End what listens there, or give another: --port {port + 1}",
        )
