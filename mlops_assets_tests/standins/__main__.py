"""`python -m mlops_assets_tests.standins [aws|gcp] [COMMAND …]`: starts one cloud's services on 127.0.0.1.

Without a command it prints the settings to export and serves until Ctrl-C or SIGTERM. With one it runs that
with the settings set, ends with its exit status, and leaves nothing running.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlops_assets_tests.standins.redshift import RedshiftStandIn


SERVING = "# Serving until Ctrl-C."
"""What is printed after the settings; a shell that reads them passes it over."""
ENDED = (
    "These services end now, and what lies in them goes with them. To go on with what is said above:\n"
    "`make cloud-{}` in one terminal; in another one, export what it prints and run the command again."
)


def main(words: Sequence[str]) -> int:
    """Serve until told to end, or as long as a command runs; AWS where no cloud is named."""
    clouds = {"aws": aws, "gcp": gcp}
    name, command = (words[0], words[1:]) if words and words[0] in clouds else ("aws", words)
    # A shell that starts this in the background has told it to ignore Ctrl-C.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        with clouds[name]() as settings:
            if command:
                status = subprocess.run(command, env={**os.environ, **settings}, check=False).returncode
                print(f"\n{ENDED.format(name)}", file=sys.stderr)
                return status
            for variable, value in settings.items():
                print(f"export {variable}={shlex.quote(value)}")
            print(SERVING, flush=True)
            signal.pause()
    except KeyboardInterrupt:
        return 130 if command else 0
    return 0


@contextmanager
def aws() -> Iterator[dict[str, str]]:
    """S3, SageMaker and Redshift, and the settings that reach them."""
    from mlops_assets_tests.standins.aws.permissions import REDSHIFT
    from mlops_assets_tests.standins.aws.server import BUCKET, REGION, AwsServer
    from mlops_assets_tests.standins.redshift import RedshiftStandIn

    with AwsServer() as server:
        server.client("s3").create_bucket(
            Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION}
        )
        with RedshiftStandIn(server.client("s3", caller=REDSHIFT), tls=True) as redshift:
            yield {**server.environment(), **reached(redshift)}


def reached(redshift: RedshiftStandIn) -> dict[str, str]:
    """Settings that reach the warehouse; its certificate is checked as a real one's is."""
    from mlops_assets_tests.standins.aws.server import ROLE

    return {
        "MLOPS_REDSHIFT_HOST": redshift.host,
        "MLOPS_REDSHIFT_PORT": str(redshift.port),
        "MLOPS_REDSHIFT_DATABASE": redshift.database,
        "MLOPS_REDSHIFT_USER": redshift.user,
        "MLOPS_REDSHIFT_PASSWORD": redshift.password,
        "MLOPS_REDSHIFT_IAM_ROLE": ROLE,
        "SSL_CERT_FILE": str(redshift.ca),
    }


@contextmanager
def gcp() -> Iterator[dict[str, str]]:
    """Cloud Storage with Pub/Sub, BigQuery and Vertex AI, and the settings that reach them."""
    from mlops_assets_tests.standins.gcp.server import BUCKET, LOCATION, GcpServer

    with GcpServer() as server:
        server.storage.objects.create_bucket(BUCKET, {"location": LOCATION.upper()})
        yield server.environment()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
