"""A code location with one asset that is a SageMaker job, for tests that run it in processes of their own.

The job waits for a file where `WAITS_FOR` names one, and then does what `DOES` says.
"""

import os

import dagster as dg

from mlops_assets.pipes.sagemaker import PipesSageMakerClient
from mlops_assets_tests.standins.aws.server import IMAGE, ROLE

PROGRAM = """
import os, sys, time, boto3
from dagster_pipes import PipesS3ContextLoader, PipesS3MessageWriter, open_dagster_pipes
s3 = boto3.client("s3")
with open_dagster_pipes(
    context_loader=PipesS3ContextLoader(s3), message_writer=PipesS3MessageWriter(s3, interval=0)
) as pipes:
    pipes.log.info("extra of %d characters" % len(pipes.extras.get("pad", "")))
    print("a line of the job", flush=True)
    open(os.environ["STARTED"], "w").close()
    while os.environ["WAITS_FOR"] and not os.path.exists(os.environ["WAITS_FOR"]):
        time.sleep(0.05)
    if os.environ["DOES"] == "fail":
        open("/opt/ml/output/failure", "w").write("no column 'price'")
        sys.exit(3)
    pipes.report_asset_materialization(metadata={"rmse": 0.5})
"""


def request(**changes: object) -> dict[str, object]:
    """Parameters of the job; the program's environment comes from this process's."""
    return {
        "AlgorithmSpecification": {
            "TrainingImage": IMAGE,
            "TrainingInputMode": "File",
            "ContainerEntrypoint": ["python", "-c", PROGRAM],
        },
        "RoleArn": ROLE,
        "OutputDataConfig": {"S3OutputPath": f"s3://{os.environ['BUCKET']}/out"},
        "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
        "StoppingCondition": {"MaxRuntimeInSeconds": int(os.environ.get("SECONDS", "60"))},
        "Environment": {name: os.environ.get(name, "") for name in ("STARTED", "WAITS_FOR", "DOES")},
        **changes,
    }


@dg.asset
def model(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    """One job."""
    client = PipesSageMakerClient(bucket=os.environ["BUCKET"], poll_interval=0.2)
    invocation = client.run(context=context, request=request(), extras={"pad": "x" * 20_000})
    return invocation.get_materialize_result()


in_process = dg.define_asset_job("in_process", selection=[model], executor_def=dg.in_process_executor)
multiprocess = dg.define_asset_job("multiprocess", selection=[model], executor_def=dg.multiprocess_executor)
defs = dg.Definitions(assets=[model], jobs=[in_process, multiprocess])
