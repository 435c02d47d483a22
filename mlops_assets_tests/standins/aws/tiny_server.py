"""A model's container that starts at once, for tests of what is around: `tiny_server.py [BEHAVIOUR [FILE]]`.

Every row's prediction is the version that its environment names. A behaviour makes it go wrong: `sick`
answers no ping, `crashing` ends, `failing` answers requests with 500, `turning-sick` answers pings while FILE
is not there.
"""

from __future__ import annotations

import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

BEHAVIOUR = sys.argv[1] if len(sys.argv) > 1 else ""
VERSION = float(os.environ.get("MLOPS_MODEL_VERSION", "0"))


class Handler(BaseHTTPRequestHandler):
    """GET /ping, POST /invocations."""

    def do_GET(self) -> None:
        """Health."""
        sick = BEHAVIOUR == "sick" or (BEHAVIOUR == "turning-sick" and Path(sys.argv[2]).exists())
        self._answer(500 if sick else 200, b"")

    def do_POST(self) -> None:
        """Predictions: JSON lines where they are accepted, else JSON."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            rows = json.loads(body)["instances"]
        except (ValueError, KeyError):
            return self._answer(400, b"no instances")
        if BEHAVIOUR == "failing":
            return self._answer(500, b"out of order")
        if self.headers["Accept"] == "application/jsonlines":
            return self._answer(200, b"".join(b'{"prediction": %a}\n' % VERSION for _ in rows))
        return self._answer(200, json.dumps({"predictions": [VERSION for _ in rows]}).encode())

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    if BEHAVIOUR == "crashing":
        sys.exit("cannot start")
    address = ("127.0.0.1", int(os.environ["SAGEMAKER_BIND_TO_PORT"]))
    ThreadingHTTPServer(address, Handler).serve_forever()
