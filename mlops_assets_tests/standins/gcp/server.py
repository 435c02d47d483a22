"""Starts and stops the stand-in: one HTTP server on a free port of 127.0.0.1 for every API."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import tempfile
from pathlib import Path
from threading import Thread
from typing import Any, Self

from werkzeug.serving import WSGIRequestHandler, make_server

from mlops_assets_tests.standins.gcp.batch import Batch
from mlops_assets_tests.standins.gcp.bigquery import BigQuery
from mlops_assets_tests.standins.gcp.faults import Faults
from mlops_assets_tests.standins.gcp.identity import JOBS, JOBS_HOST, ORCHESTRATOR, ServiceAccount
from mlops_assets_tests.standins.gcp.pubsub import PubSub
from mlops_assets_tests.standins.gcp.storage import Storage
from mlops_assets_tests.standins.gcp.vertex import IMAGE, Vertex
from mlops_assets_tests.standins.gcp.web import Api

PROJECT = "mlops-project"
LOCATION = "europe-west4"
BUCKET = "mlops-assets"


class _Handler(WSGIRequestHandler):
    # Header and body are written apart; waiting for the first one's receipt would cost 40 ms a call.
    disable_nagle_algorithm = True

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Keep quiet."""


class GcpServer:
    """Cloud Storage, Pub/Sub, BigQuery, Vertex AI with its jobs' log, a service account's tokens; all empty.

    Attributes:
        endpoint: `http://127.0.0.1:<port>`.
        api: every route; more can be added.
        faults: what is to go wrong, and how often each method was called.
        storage: what Cloud Storage holds.
        pubsub: Pub/Sub, which buckets notify.
        bigquery: what BigQuery holds, and its jobs.
        vertex: Vertex AI.
        account: the service account that clients log in as.
        jobs_account: the one that containers do.
        folder: everything the stand-in keeps lies below it.

    >>> with GcpServer() as gcp:  # doctest: +SKIP
    ...     gcp.storage_client().create_bucket("b")
    """

    def __init__(self, port: int = 0) -> None:
        self._port = port

    def start(self) -> Self:
        """Serve until `stop`."""
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self.folder = Path(tempfile.mkdtemp(prefix="mlops-gcp-"))
        self.storage = Storage(self.folder / "objects")
        self.bigquery = BigQuery(self.folder / "tables", self.storage.objects, PROJECT, LOCATION)
        self.pubsub = PubSub(self.storage.objects)
        self.api = Api([*self.storage.routes(), *self.pubsub.routes(), *self.bigquery.routes()])
        self.faults = Faults(self.api)
        self.api.add(Batch(self.faults).routes())
        self._server = make_server(
            "127.0.0.1", self._port, self.faults, threaded=True, request_handler=_Handler
        )
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        self.account, self.jobs_account = accounts = [
            ServiceAccount(self.folder, name, PROJECT, self.endpoint) for name in (ORCHESTRATOR, JOBS)
        ]
        self.faults.accounts = accounts
        self.api.admitted = lambda token: any(account.admitted(token) for account in accounts)
        for account in accounts:
            self.api.add(account.routes())
        self.vertex = Vertex(
            self.folder / "vertex", lambda: self.storage_client(self.jobs_account), self._inside()
        )
        self.api.mount(self.vertex)
        self._thread = Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """End the server; nothing is left behind."""
        self.faults.clear()
        self.vertex.close()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self.bigquery.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def credentials(self) -> dict[str, str]:
        """What a Google client needs to talk to this server and to nothing else."""
        return {
            "STORAGE_EMULATOR_HOST": self.endpoint,
            "BIGQUERY_EMULATOR_HOST": self.endpoint,
            "PUBSUB_EMULATOR_HOST": self.endpoint.removeprefix("http://"),
            "GOOGLE_APPLICATION_CREDENTIALS": str(self.account.file),
            "GOOGLE_CLOUD_PROJECT": PROJECT,
            "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
        }

    def environment(self, bucket: str = BUCKET) -> dict[str, str]:
        """Settings to export: the credentials, and what MLOPS_PLATFORM=gcp needs."""
        return {
            **self.credentials,
            "MLOPS_PLATFORM": "gcp",
            "MLOPS_GCP_ROOT": f"gs://{bucket}/mlops",
            "MLOPS_GCP_PROJECT": PROJECT,
            "MLOPS_GCP_LOCATION": LOCATION,
            "MLOPS_VERTEX_ENDPOINT": self.endpoint,
            "MLOPS_VERTEX_LOGGING_ENDPOINT": self.endpoint,
            "MLOPS_VERTEX_IMAGE": IMAGE,
            "MLOPS_VERTEX_POLL_INTERVAL": "0.2",
            "MLOPS_VERTEX_TRAFFIC_WAIT": "0",
        }

    def storage_client(self, account: ServiceAccount | None = None) -> Any:
        """A client of this server's Cloud Storage, logged in with a service account. Default: `account`."""
        from google.cloud import storage
        from google.oauth2.service_account import Credentials

        return storage.Client(
            project=PROJECT,
            credentials=Credentials.from_service_account_file(
                str((account or self.account).file),
                scopes=["https://www.googleapis.com/auth/cloud-platform"],
            ),
            client_options={"api_endpoint": self.endpoint},
        )

    def pubsub_client(self, kind: str) -> Any:
        """A client of this server's Pub/Sub, `Publisher` or `Subscriber`, logged in likewise."""
        import google.pubsub_v1
        from google.oauth2.service_account import Credentials

        client = getattr(google.pubsub_v1, f"{kind}Client")
        # The client takes PUBSUB_EMULATOR_HOST to mean gRPC, except where it is given a transport.
        transport = client.get_transport_class("rest")(
            host=self.endpoint,
            credentials=Credentials.from_service_account_file(
                str(self.account.file), scopes=["https://www.googleapis.com/auth/cloud-platform"]
            ),
        )
        return client(transport=transport)

    def vertex_client(self, kind: Any) -> Any:
        """A gapic client of this server's Vertex AI, such as JobServiceClient, logged in likewise."""
        from google.oauth2.service_account import Credentials

        return kind(
            credentials=Credentials.from_service_account_file(str(self.account.file)),
            transport="rest",
            client_options={"api_endpoint": self.endpoint},
        )

    def _inside(self) -> dict[str, str]:
        """Environment of a container."""
        path = os.pathsep.join([str(Path(sys.executable).parent), os.defpath])
        account = {
            "GOOGLE_APPLICATION_CREDENTIALS": str(self.jobs_account.file),
            "STORAGE_EMULATOR_HOST": self.endpoint.replace("127.0.0.1", JOBS_HOST),
        }
        inside = {**self.credentials, **account, "MLOPS_SERVER_HOST": "127.0.0.1"}
        return {**inside, "PATH": path, "HOME": "/tmp", "LANG": "C.UTF-8"}
