"""deploy/gcp and docs/gcp.md allow every call that a deployment makes, and hardly anything else.

Who calls is told apart: the orchestrator and the containers of jobs and model servers have accounts of their
own. What Vertex AI does itself (it mounts buckets, reads and writes a batch prediction's objects) counts as
the jobs' account here, which the jobs name; its own agent's permissions are Google's affair. No resource is
looked at: the roles are granted on the project, the bucket and the jobs' account as a whole.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from mlops_assets.platforms.gcp.arrival_events import PubSubQueue
from mlops_assets_tests.commands import Deployment
from mlops_assets_tests.end_to_end.small import declare, run
from mlops_assets_tests.factories import csv_text, home_rows
from mlops_assets_tests.standins.gcp.identity import JOBS, ORCHESTRATOR
from mlops_assets_tests.standins.gcp.permissions import ROLES, Asked, needed, work_of
from mlops_assets_tests.standins.gcp.server import BUCKET, LOCATION, PROJECT, GcpServer

pytestmark = pytest.mark.timeout(1_200)  # the deployment's whole life is set up in the first test
ROOT = Path(__file__).parents[2]
ROLE = yaml.safe_load((ROOT / "deploy/gcp/orchestrator-role.yaml").read_text())
TO_SCORE = b"region,square_feet,bedrooms,feet_per_room\nnorth,1000,2,500\n"
OURS = "projects/$PROJECT/roles/mlops_orchestrator"
# The commands of docs/gcp.md that grant a role; in its loop, `account` is each.
GRANT = re.compile(r"--member serviceAccount:\$(\w+) \\\n\s+--role (\S+)")
MEMBERS = {"ORCHESTRATOR": {ORCHESTRATOR}, "JOBS": {JOBS}, "account": {ORCHESTRATOR, JOBS}}
# What nobody asks for here, and why it is allowed.
NOT_SEEN = {
    "aiplatform.customJobs.cancel": "a run is cancelled (platforms/gcp/test_trainer.py)",
    "aiplatform.batchPredictionJobs.cancel": "scoring is interrupted (platforms/gcp/test_batch.py)",
}
# What is asked for, and why it is not allowed.
NOT_NEEDED = {
    (JOBS, "storage.buckets.get"): "the storage client's own look, for traces: it takes no for an answer",
}


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> set[Asked]:
    """What a deployment's life asks for: two runs, every command that changes something, doctor, an event."""
    deployment = Deployment(tmp_path_factory.mktemp("life"))
    declare(deployment, endpoint={"enabled": True})
    with GcpServer() as server:
        server.storage.objects.create_bucket(BUCKET, {"location": LOCATION.upper()})
        topic, subscription = (f"projects/{PROJECT}/{kind}/arrivals" for kind in ("topics", "subscriptions"))
        server.pubsub_client("Publisher").create_topic(name=topic)
        server.pubsub_client("Subscriber").create_subscription(name=subscription, topic=topic)
        settings = {**server.environment(), "MLOPS_VERTEX_SERVICE_ACCOUNT": server.jobs_account.email}
        root = settings["MLOPS_GCP_ROOT"]

        def put(name: str, data: bytes) -> None:
            path = server.storage.objects.scratch()
            path.write_bytes(data)
            server.storage.objects.put(BUCKET, f"mlops/{name}", path, {}, {})

        server.faults.asked.clear()  # what came before was no deployment's
        for name, rows in (("a.csv", 300), ("b.csv", 400)):
            put(f"landing/homes/{name}", csv_text(home_rows(rows)).encode())
            done = run(deployment, **settings)
            assert done.status == 0, done.stderr
        put("to_score/rows.csv", TO_SCORE)
        for command in (
            ("models",), ("rollback", "homes"), ("reject", "homes", "2"), ("endpoints", "stop", "homes"),
            ("endpoints", "restart", "homes"), ("quarantine", "homes"), ("doctor",),
            ("predict", "homes", "--data", f"{root}/to_score/rows.csv", "--out", f"{root}/scored/rows.csv"),
        ):  # fmt: skip
            ended = deployment.command(*command, **settings)
            assert ended.returncode == 0, ended.stdout + ended.stderr
        server.pubsub.publish(topic, {"eventType": "OBJECT_FINALIZE"})
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PUBSUB_EMULATOR_HOST", settings["PUBSUB_EMULATOR_HOST"])
            queue = PubSubQueue(subscription)
            queue.acknowledge([message.receipt for message in queue.pull(1)])
        jobs = [job.configuration for job in server.bigquery.jobs.all()]
        work = {(ORCHESTRATOR, item) for job in jobs for item in work_of(job)}
        calls = server.faults.asked | work
    return set(needed(calls))


def test_every_method_is_known(asked: set[Asked]) -> None:
    assert {(item.caller, item.method) for item in asked if not item.permission} == set()
    assert {item.caller for item in asked} == {ORCHESTRATOR, JOBS}


def test_what_is_not_known_is_told() -> None:
    statement = "EXPORT DATA OPTIONS (uri = 'gs://b/*') AS SELECT 1"
    work = work_of({"query": {"query": f"SELECT 1; {statement}"}})
    calls = [(JOBS, "storage.buckets.delete"), *((ORCHESTRATOR, item) for item in work)]
    unknown = [(item.caller, item.method) for item in needed(calls) if not item.permission]
    assert unknown == [(JOBS, "storage.buckets.delete"), (ORCHESTRATOR, statement)]


@pytest.mark.parametrize("caller", [ORCHESTRATOR, JOBS])
def test_every_call_is_allowed(asked: set[Asked], caller: str) -> None:
    allowed = {item for role in roles_of(caller) for item in permissions_of(role)}
    assert wanted(asked, caller) - allowed == set()


def test_what_our_role_allows_is_needed(asked: set[Asked]) -> None:
    assert permissions_of(OURS) - wanted(asked, ORCHESTRATOR) == set(NOT_SEEN)
    assert len(ROLE["includedPermissions"]) == len(permissions_of(OURS))


@pytest.mark.parametrize("caller", [ORCHESTRATOR, JOBS])
def test_no_smaller_role_of_google_would_do(asked: set[Asked], caller: str) -> None:
    granted = roles_of(caller)
    for role in granted - {OURS}:
        smaller = {other for other in ROLES if permissions_of(other) < permissions_of(role)}
        allowed = {item for other in granted - {role} | smaller for item in permissions_of(other)}
        assert wanted(asked, caller) - allowed, f"{role} is not needed beside {granted - {role} | smaller}"


def wanted(asked: set[Asked], caller: str) -> set[str]:
    """The permissions that a caller needs."""
    needs = {item.permission for item in asked if item.caller == caller}
    return {item for item in needs if (caller, item) not in NOT_NEEDED}


def roles_of(caller: str) -> set[str]:
    """The roles that docs/gcp.md tells to grant to a caller."""
    found = GRANT.findall((ROOT / "docs/gcp.md").read_text())
    return {role for member, role in found if caller in MEMBERS[member]}


def permissions_of(role: str) -> set[str]:
    return set(ROLE["includedPermissions"] if role == OURS else ROLES[role])
