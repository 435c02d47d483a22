"""What holds for every test, and the stand-ins' fixtures; nothing of theirs is imported before one asks."""

import signal

from mlops_assets_tests.standins.aws.fixtures import aws, aws_server
from mlops_assets_tests.standins.gcp.fixtures import gcp, gcp_server, vertex_sdk

__all__ = ["aws", "aws_server", "gcp", "gcp_server", "vertex_sdk"]

# A shell starts what it puts in the background with interrupts ignored, and children inherit that: tests that
# interrupt would then wait for ever. What `make test` shows must not depend on how it was started.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
