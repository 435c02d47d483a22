"""The stand-in's own fidelity: gapic's clients and the high-level SDK use it as they use Vertex AI."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import aiplatform_v1 as v1

from mlops_assets_tests.standins import container
from mlops_assets_tests.standins.gcp.fixtures import Gcp
from mlops_assets_tests.standins.gcp.server import LOCATION, PROJECT
from mlops_assets_tests.standins.gcp.vertex import IMAGE
from mlops_assets_tests.waiting import eventually

PARENT = f"projects/{PROJECT}/locations/{LOCATION}"
SERVER = """
import json, os
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())
    def do_GET(self):
        assert self.path == os.environ["AIP_HEALTH_ROUTE"]
        self.answer({})
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert self.path == os.environ["AIP_PREDICT_ROUTE"]
        numbers = [sum(x[1:]) if isinstance(x, list) else x for x in asked["instances"]]
        self.answer({"predictions": [float(os.environ["FACTOR"]) * x for x in numbers]})
HTTPServer(("127.0.0.1", int(os.environ["AIP_HTTP_PORT"])), Handler).serve_forever()
"""


@pytest.fixture
def jobs(gcp: Gcp) -> Any:
    return gcp.server.vertex_client(v1.JobServiceClient)


@pytest.fixture
def start(gcp: Gcp, jobs: Any) -> Callable[..., str]:
    """Create a job that runs Python code; its name."""

    def create(code: str, *, args: tuple[str, ...] = (), **changes: Any) -> str:
        pool = {
            "machine_spec": {"machine_type": "n1-standard-4"},
            "replica_count": 1,
            "container_spec": {"image_uri": IMAGE, "command": ["python", "-c", code], "args": args},
        }
        job = {"display_name": gcp.bucket, "job_spec": {"worker_pool_specs": [pool], **changes}}
        return jobs.create_custom_job(parent=PARENT, custom_job=job).name

    return create


def ended(jobs: Any, name: str) -> Any:
    """The job once it is over."""
    over = ("JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED")
    eventually(lambda: jobs.get_custom_job(name=name).state.name in over)
    return jobs.get_custom_job(name=name)


@pytest.mark.parametrize("namespaces", ["allowed", "refused"])
def test_a_job_reads_and_writes_buckets_by_their_paths(
    gcp: Gcp, jobs: Any, start: Callable[..., str], namespaces: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if namespaces == "refused":
        monkeypatch.setattr(container, "isolated", lambda: False)
    elif not container.isolated():
        pytest.skip("unshare(1) is refused on this machine")
    bucket = gcp.server.storage_client().bucket(gcp.bucket)
    bucket.blob("in/x").upload_from_string("42")
    code = "import sys; base = sys.argv[1]; open(base + '/out', 'w').write(open(base + '/in/x').read() * 2)"
    job = ended(jobs, start(code, args=(f"/gcs/{gcp.bucket}",)))
    assert job.state.name == "JOB_STATE_SUCCEEDED"
    assert job.end_time > job.start_time >= job.create_time
    assert bucket.blob("out").download_as_bytes() == b"4242"


def test_a_job_knows_its_number_and_where_its_model_goes(
    gcp: Gcp, jobs: Any, start: Callable[..., str]
) -> None:
    code = "import os; print(os.environ['CLOUD_ML_JOB_ID'], os.environ['AIP_MODEL_DIR'])"
    base = {"output_uri_prefix": f"gs://{gcp.bucket}/out"}
    job = ended(jobs, start(code, base_output_directory=base))
    number = job.name.rpartition("/")[2]
    asked = {"resourceNames": [f"projects/{PROJECT}"], "filter": f'resource.labels.job_id="{number}"'}
    (entry,) = json.loads(gcp.server.vertex.logs.list(json.dumps(asked).encode()))["entries"]
    assert entry["jsonPayload"]["message"] == f"{number} gs://{gcp.bucket}/out/model/"


def test_a_failed_job_says_how_its_replica_ended(jobs: Any, start: Callable[..., str]) -> None:
    job = ended(jobs, start("raise SystemExit(3)"))
    assert job.state.name == "JOB_STATE_FAILED"
    assert "workerpool0-0 exited with a non-zero status of 3" in job.error.message


def test_a_job_that_is_over_cannot_be_cancelled_and_is_deleted_by_an_operation(
    gcp: Gcp, jobs: Any, start: Callable[..., str]
) -> None:
    name = ended(jobs, start("pass")).name
    with pytest.raises(exceptions.BadRequest, match="final state"):
        jobs.cancel_custom_job(name=name)
    operation = jobs.delete_custom_job(name=name)
    operation.result()
    with pytest.raises(exceptions.NotFound):
        jobs.get_custom_job(name=name)
    kept = gcp.server.vertex.resources.get(operation.operation.name)
    assert kept.done


def test_jobs_are_listed_by_filter_and_in_pages(gcp: Gcp, jobs: Any, start: Callable[..., str]) -> None:
    names = [start("pass") for _ in range(3)]
    asked = {"parent": PARENT, "filter": f'display_name="{gcp.bucket}"', "page_size": 2}
    pages = list(jobs.list_custom_jobs(request=asked).pages)
    assert [len(page.custom_jobs) for page in pages] == [2, 1]
    assert [job.name for page in pages for job in page.custom_jobs] == names[::-1]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"display_name": ""}, "display_name"),
        ({"labels": {"Upper": "x"}}, "Invalid labels"),
        ({"labels": {"a": "x" * 64}}, "Invalid labels"),
        ({"job_spec": {}}, "worker_pool_specs"),
    ],
)
def test_what_the_service_refuses_is_refused(jobs: Any, change: dict[str, Any], says: str) -> None:
    container_spec = {"image_uri": IMAGE, "command": ["true"]}
    pool = {"machine_spec": {"machine_type": "n1-standard-4"}, "container_spec": container_spec}
    job = {"display_name": "m", "job_spec": {"worker_pool_specs": [pool]}, **change}
    with pytest.raises(exceptions.BadRequest, match=says):
        jobs.create_custom_job(parent=PARENT, custom_job=job)


def test_what_is_not_served_is_an_error_that_names_it(gcp: Gcp, jobs: Any) -> None:
    with pytest.raises(exceptions.MethodNotImplemented, match="ListHyperparameterTuningJobs is not served"):
        list(jobs.list_hyperparameter_tuning_jobs(parent=PARENT))
    with pytest.raises(exceptions.MethodNotImplemented, match="ListPipelineJobs is not served"):
        list(gcp.server.vertex_client(v1.PipelineServiceClient).list_pipeline_jobs(parent=PARENT))
    with pytest.raises(exceptions.NotFound, match="is not found"):
        jobs.get_custom_job(name=f"{PARENT}/customJobs/1")


def test_the_sdk_runs_a_job(gcp: Gcp, vertex_sdk: Any) -> None:
    container_spec = {"image_uri": IMAGE, "command": ["python", "-c", "print('hello')"]}
    pool = {"machine_spec": {"machine_type": "n1-standard-4"}, "replica_count": 1}
    job = vertex_sdk.CustomJob(
        display_name=gcp.bucket, worker_pool_specs=[{**pool, "container_spec": container_spec}]
    )
    job.submit()
    until = time.monotonic() + 60
    while job.state.name not in ("JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED") and time.monotonic() < until:
        time.sleep(0.1)
    assert job.state.name == "JOB_STATE_SUCCEEDED"
    found = vertex_sdk.CustomJob.list(filter=f'display_name="{gcp.bucket}"')
    assert [item.name for item in found] == [job.name]


def test_the_sdk_registers_versions_and_serves_them_by_a_split_and_in_batches(
    gcp: Gcp, vertex_sdk: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def upload(factor: int, **options: Any) -> Any:
        return vertex_sdk.Model.upload(
            display_name="m",
            serving_container_image_uri=IMAGE,
            serving_container_command=["python", "-c", SERVER],
            serving_container_environment_variables={"FACTOR": str(factor)},
            serving_container_health_route="/up",
            serving_container_predict_route="/predict",
            artifact_uri=f"gs://{gcp.bucket}/model",
            **options,
        )

    first = upload(1, version_aliases=["champion"])
    second = upload(2, parent_model=first.resource_name, is_default_version=False, version_aliases=["next"])
    assert (first.version_id, second.version_id) == ("1", "2")
    registry = vertex_sdk.models.ModelRegistry(first.resource_name)
    registry.add_version_aliases(["champion"], "2")
    versions = {item.version_id: set(item.version_aliases) for item in registry.list_versions()}
    assert versions == {"1": {"default"}, "2": {"champion", "next"}}
    assert vertex_sdk.Model(f"{first.resource_name}@champion").version_id == "2"

    endpoint = vertex_sdk.Endpoint.create(display_name="e")
    endpoint.deploy(vertex_sdk.Model(f"{first.resource_name}@1"), machine_type="n1-standard-2")
    assert endpoint.predict(instances=[3]).predictions == [3.0]
    endpoint.deploy(
        vertex_sdk.Model(f"{first.resource_name}@2"), machine_type="n1-standard-2", traffic_percentage=50
    )
    answered = {endpoint.predict(instances=[3]).predictions[0] for _ in range(40)}
    assert answered == {3.0, 6.0}
    raw = gcp.server.vertex_client(v1.PredictionServiceClient).raw_predict(
        endpoint=endpoint.resource_name,
        http_body={"content_type": "application/json", "data": b'{"instances": [1]}'},
    )
    assert json.loads(raw.data)["predictions"][0] in (1.0, 2.0)
    endpoint.undeploy_all()
    endpoint.delete()

    monkeypatch.setattr(vertex_sdk.jobs, "_JOB_WAIT_TIME", 0.2)
    bucket = gcp.server.storage_client().bucket(gcp.bucket)
    bucket.blob("rows.csv").upload_from_string('name,a,b\n"x",1,2\n"y",3,4\n')
    batch = vertex_sdk.Model(f"{first.resource_name}@2").batch_predict(
        job_display_name="b",
        instances_format="csv",
        gcs_source=f"gs://{gcp.bucket}/rows.csv",
        gcs_destination_prefix=f"gs://{gcp.bucket}/out",
        machine_type="n1-standard-2",
    )
    lines = [
        json.loads(line)
        for blob in batch.iter_outputs()
        if "errors" not in blob.name
        for line in blob.download_as_text().splitlines()
    ]
    assert {line["instance"][0]: line["prediction"] for line in lines} == {"x": 6.0, "y": 14.0}
    assert (batch.completion_stats.successful_count, batch.completion_stats.failed_count) == (2, 0)
    first.delete()
    assert gcp.server.vertex.endpoints.containers == {}
