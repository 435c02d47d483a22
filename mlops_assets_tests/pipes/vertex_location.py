"""A code location with one asset that is a Vertex AI job, for tests that run it in processes of their own.

The job waits for a file where `WAITS_FOR` names one, and then does what `DOES` says.
"""

import os
from typing import Any

import dagster as dg

from mlops_assets.pipes.vertex import PipesVertexClient
from mlops_assets_tests.standins.gcp.server import LOCATION, PROJECT
from mlops_assets_tests.standins.gcp.vertex import IMAGE

PROGRAM = """
import os, sys, time
from google.cloud import storage
from dagster_pipes import PipesGCSContextLoader, PipesGCSMessageWriter, open_dagster_pipes
client = storage.Client()
with open_dagster_pipes(
    context_loader=PipesGCSContextLoader(client), message_writer=PipesGCSMessageWriter(client, interval=0)
) as pipes:
    pipes.log.info("extra of %d characters" % len(pipes.extras.get("pad", "")))
    print("a line of the job", flush=True)
    open(os.environ["STARTED"], "w").close()
    while os.environ["WAITS_FOR"] and not os.path.exists(os.environ["WAITS_FOR"]):
        time.sleep(0.05)
    if os.environ["DOES"] == "fail":
        sys.exit("no column 'price'")
    pipes.report_asset_materialization(metadata={"rmse": 0.5})
"""


def job(**changes: Any) -> dict[str, Any]:
    """A custom job; the program's environment comes from this process's."""
    names = ("STARTED", "WAITS_FOR", "DOES")
    container = {
        "image_uri": os.environ.get("IMAGE", IMAGE),
        "command": ["python", "-c", PROGRAM],
        "env": [{"name": name, "value": os.environ.get(name, "")} for name in names],
    }
    machine = {"machine_type": "n1-standard-4", "accelerator_type": "NVIDIA_TESLA_T4", "accelerator_count": 1}
    return {
        "labels": {"bucket": os.environ["BUCKET"]},
        "job_spec": {
            "worker_pool_specs": [{"machine_spec": machine, "replica_count": 1, "container_spec": container}],
            "scheduling": {"timeout": {"seconds": int(os.environ.get("SECONDS", "60"))}, "strategy": "SPOT"},
        },
        **changes,
    }


def client(**changes: Any) -> PipesVertexClient:
    """A client of the stand-in that the environment names."""
    from google.auth import default
    from google.cloud.aiplatform_v1 import JobServiceClient

    credentials, _ = default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
    endpoint = os.environ["MLOPS_VERTEX_ENDPOINT"]
    jobs = JobServiceClient(
        credentials=credentials, transport="rest", client_options={"api_endpoint": endpoint}
    )
    return PipesVertexClient(
        project=PROJECT,
        location=LOCATION,
        bucket=os.environ["BUCKET"],
        jobs=jobs,
        logging_url=endpoint,
        poll_interval=0.2,
        **changes,
    )


@dg.asset
def model(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    """One job."""
    invocation = client().run(context=context, job=job(), extras={"pad": "x" * 20_000})
    return invocation.get_materialize_result()


in_process = dg.define_asset_job("in_process", selection=[model], executor_def=dg.in_process_executor)
multiprocess = dg.define_asset_job("multiprocess", selection=[model], executor_def=dg.multiprocess_executor)
defs = dg.Definitions(assets=[model], jobs=[in_process, multiprocess])
